"""Under the least rights everything works, and no secret shows in any log, row, page, mail or output."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest

from notifier.cli.program import main
from tests.acceptance.world import failed_job, world
from tests.services import execute
from tests.support.smtp_script import say
from tests.support.smtp_server import Options
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.world import World
    from tests.services import Database

# Roles belong to the whole cluster: two processes that make them at once would be in each other's way.
pytestmark = pytest.mark.xdist_group("database_roles")

WORDS = "Kanari3nvogel"  # in every secret below
SECRETS = {
    "smtp password": f"smtp {WORDS}!",
    "wrong smtp password": f"wrong {WORDS}!",
    "smtp section": f"section {WORDS}!",
    "database": f"db-{WORDS}",
    "broker": f"mq-{WORDS}",
    "signing key": f"signing-{WORDS}-" + "x" * 40,
    "job output": f"job{WORDS}",
}


def _login(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{user}:{quote(password)}@{parts.hostname}:{parts.port}").geturl()


@pytest.fixture(name="least")
def _least(
    empty_database: Database, postgres_url: str, amqp_url: str, tmp_path: Path
) -> Iterator[tuple[World, dict[str, str]]]:
    """A world set up as the documentation says, and the database URL of each role: owner, admin, worker, reader."""
    logins = {name: f"{empty_database.name}_{name}" for name in ("owner", "admin", "worker", "reader")}
    urls = {name: _login(empty_database.url, user, SECRETS["database"]) for name, user in logins.items()}
    with contextlib.ExitStack() as stack:
        for user in logins.values():
            execute(postgres_url, f"CREATE ROLE {user} LOGIN PASSWORD '{SECRETS['database']}'")
            stack.callback(execute, postgres_url, f"DROP ROLE {user}")
        execute(postgres_url, f"ALTER DATABASE {empty_database.name} OWNER TO {logins['owner']}")
        stack.callback(execute, empty_database.url, f"DROP OWNED BY {', '.join(logins.values())}")
        stack.callback(execute, postgres_url, f"ALTER DATABASE {empty_database.name} OWNER TO CURRENT_USER")
        made = stack.enter_context(world(empty_database, amqp_url, tmp_path))
        made.settings["database__url"] = urls["owner"]
        made.command("init-db")
        made.settings["database__url"] = empty_database.url
        made.command("init-db", "--roles")
        for name in ("admin", "worker", "reader"):
            execute(postgres_url, f"GRANT notifier_{name} TO {logins[name]}")
        made.settings["database__url"] = urls["worker"]
        yield made, urls


def _forms(secret: str) -> list[str]:
    """The ways in which a secret could show."""
    plain = [secret, quote(secret, safe=""), json.dumps(secret)[1:-1]]
    encoded = [base64.b64encode(text.encode()).decode().rstrip("=") for text in (secret, f"\0jobs\0{secret}")]
    return plain + encoded


def _tables(world: World) -> str:
    """Every row of every table as text."""
    names = world.ask("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    return "\n".join(
        f"{name}: {row[0]}"
        for (name,) in names
        for row in world.ask(f'SELECT t::text FROM "{name}" AS t')  # noqa: S608 - names of the catalogue
    )


def _mails(world: World) -> str:
    found = []
    for mail in (mail for server in world.servers for mail in server.mails):
        found.append(mail.data.decode("utf-8", "replace"))
        parsed = email.message_from_bytes(mail.data, policy=email.policy.default)
        found += [str(part.get_content()) for part in parsed.walk() if not part.is_multipart()]
        found += [f"{name}: {value}" for name, value in parsed.items()]
    return "\n".join(found)


COMMANDS = (
    ["check"],
    ["smtp", "list"],
    ["smtp", "show", "1"],
    ["smtp", "test", "1", "--to", "someone@reader.example"],
    ["smtp", "test", "2", "--to", "someone@reader.example"],
    ["events", "list"],
    ["events", "show", "1"],
    ["dead-letters", "list"],
    ["dead-letters", "show", "--all"],
    ["preferences", "list"],
    ["explain", "event.json"],
    ["preview", "event.json"],
)


def _outputs(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, str]:
    """What the commands print, for machines and for people, on both streams."""
    for name, value in world.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(world.folder)
    found = {}
    for command in COMMANDS:
        for arguments in (command, [*command, "--json"]):
            main(arguments)
            shown = capsys.readouterr()
            found[" ".join(arguments)] = shown.out + shown.err
    return found


def test_no_secret_shows_anywhere(
    least: tuple[World, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world, urls = least
    login = Options(
        mechanisms=("PLAIN", "LOGIN"), users={"jobs": SECRETS["smtp password"]}, require_auth=True
    )
    good = world.customer(world.smtp(login), username="jobs", password=SECRETS["smtp password"], admins=3)
    bad = world.customer(world.smtp(login), username="jobs", password=SECRETS["wrong smtp password"])
    good.server.on("rcpt", say(f"550 5.1.1 jobs:{SECRETS['smtp password']} may not write there"), times=1)
    bad.server.on("auth", say(f"535 5.7.8 no: {SECRETS['wrong smtp password']} is wrong"))
    section = world.smtp(
        Options(mechanisms=("PLAIN",), users={"jobs": SECRETS["smtp section"]}, require_auth=True)
    )
    section.on("dot", say(f"451 4.3.0 {SECRETS['smtp section']}?"), times=1)
    default = world.customer(section)
    world.database.execute("DELETE FROM smtp_configs WHERE customer_id = %s", (default.id,))
    world.settings |= {
        "smtp__host": "127.0.0.1",
        "smtp__port": str(section.port),
        "smtp__use_tls": "false",
        "smtp__username": "jobs",
        "smtp__password": SECRETS["smtp section"],
        "smtp__from_email": "section@sender.example",
        "security__signing_keys": json.dumps([SECRETS["signing key"]]),
        "links__unsubscribe": "https://pages.example/u/{token}",
        "logging__level": "debug",
    }
    worker = world.worker().ready()
    told = SECRETS["job output"]
    text = f"neighbor 10.0.0.1 password 7 {told}\nsnmp-server community {told} RO\ndb_password={told}\nftp://backup:{told}@10.0.0.9/conf"
    facts: dict[str, Any] = {
        "error": text,
        "log_excerpt": text,
        "summary": {"api_token": told, "lines": [f"enable secret 5 {told}"]},
    }
    for customer in (good, bad, default):
        world.fail_job(customer, 7, **facts)
    unreadable = failed_job(good, 8, **facts)[:-2]
    conflict = failed_job(good, 7, error=text + " again")
    for body in (unreadable, conflict):
        world.publish(body)
    world.wait_final(good, 3)
    world.wait_final(default, 1)
    world.wait_log(bad, lambda found: len(found) == 1 and "535" in str(found[0]["error_message"]), 60)
    wait_until(lambda: world.ask("SELECT count(*) FROM rejected_events") == [(2,)], 60, "the rejections")

    (world.folder / "event.json").write_bytes(failed_job(good, 9, **facts))
    world.settings["database__url"] = urls["admin"]
    seen = _outputs(world, monkeypatch, capsys)
    seen |= {path: worker.get(path)[1] for path in ("/livez", "/readyz", "/healthz", "/metrics")}
    seen |= {"tables": _tables(world), "mails": _mails(world)}
    wrong_broker = _login(world.amqp_url, "nobody", SECRETS["broker"]) + "/%2F"
    refused = world.tried("run", rabbitmq__url=wrong_broker, database__url=urls["worker"])
    assert refused.returncode == 78
    absent = urls["worker"].replace(str(urlsplit(urls["worker"]).port), "1")
    unreachable = world.tried("run", database__url=absent)
    assert unreachable.returncode == 1
    unknown = world.tried(
        "run", database__url=urls["worker"] + "?password=" + SECRETS["database"], smtp__port="none"
    )
    assert unknown.returncode == 78
    seen |= {"refused": refused.stderr, "unreachable": unreachable.stderr, "misconfigured": unknown.stderr}
    assert worker.terminate() == 0
    seen |= {"log": worker.log.read_text()}

    secrets = {**SECRETS, "encryption key": world.key}
    broker = urlsplit(world.amqp_url).password or ""
    if broker != "guest":  # the well-known login is a word of many texts
        secrets["broker in use"] = broker
    leaks = [
        (name, where)
        for name, secret in secrets.items()
        for where, shown in seen.items()
        if any(form in shown for form in _forms(secret))
    ]
    assert leaks == []
    assert not [where for where, shown in seen.items() if WORDS in shown]
    assert all(seen.values())
    assert good.server.mails
    assert section.mails


def test_the_worker_needs_no_right_but_its_own(least: tuple[World, dict[str, str]]) -> None:
    world, urls = least
    customer = world.customer(admins=3)
    customer.server.on("rcpt", say("451 4.3.0 later"), times=1)
    broken = world.customer(port=1)
    worker = world.worker().ready()
    for number in range(1, 11):
        world.fail_job(customer, number)
    world.fail_job(broken, 1)
    world.publish(b"not an event")
    rows = world.wait_final(customer, 30)
    assert {row["status"] for row in rows} == {"sent"}
    world.wait_log(broken, lambda found: bool(found and found[0]["error_message"]), 60)

    world.settings["database__url"] = urls["admin"]
    world.command("smtp", "set", str(broken.id), "--port", str(broken.server.port))
    world.wait_final(broken, 1)
    world.settings["database__url"] = urls["reader"]
    world.command("events", "list", "--json")
    for role, refused in (
        ("worker", "DELETE FROM notification_events"),
        ("reader", "SELECT password FROM smtp_configs"),
    ):
        with pytest.raises(Exception, match="permission denied"):
            execute(urls[role], refused)
    assert worker.terminate() == 0
    wait_until(lambda: world.depth(world.topology.dead_letter_queue) == 1, 60, "the dead letter")
    verdict = world.verdict(dead_expected=1)
    assert (verdict.extra, verdict.violations) == (0, ())
    assert not [
        line for line in worker.lines() if line["level"] == "error" or "permission denied" in json.dumps(line)
    ]
