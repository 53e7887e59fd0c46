"""`notifier run`, `init-db` and `maintain`: the real process where signals and exit codes count."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from notifier.encryption import generate_key
from tests.broker_objects import BrokerObjects, broker_objects
from tests.store_rows import add_customer, add_event, add_mail, one
from tests.support.command_line import CANARY
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from tests.services import Database
    from tests.support.command_line import CommandLine

NOTIFIER = (sys.executable, "-m", "notifier")


@pytest.fixture
def objects(amqp_url: str, cli: CommandLine) -> Iterator[BrokerObjects]:
    """This test's own broker objects, which the commands use."""
    with broker_objects(amqp_url) as made:
        cli.use_broker(amqp_url, made.topology)
        cli.configure({"HEALTH__PORT": "0", "SMTP__TRANSPORT": "dummy"})
        yield made


def run(cli: CommandLine) -> subprocess.CompletedProcess[str]:
    """`notifier run` that is expected to end by itself."""
    return subprocess.run(
        [*NOTIFIER, "run"],
        cwd=cli.folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_worker_warns_of_a_crash_point_consumes_and_ends_with_0_on_sigterm(
    cli: CommandLine, objects: BrokerObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER_CRASHPOINT", "on_event:none")
    log = cli.folder / "log"
    with (
        log.open("wb") as stream,
        subprocess.Popen([*NOTIFIER, "run"], cwd=cli.folder, env=dict(os.environ), stderr=stream) as worker,
    ):
        try:
            wait_until(lambda: objects.exists(objects.topology.queue), 40, "the worker to make its queue")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(40) == 0
        finally:
            worker.kill()
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert lines[0]["event"] == "crashpoint_set"
    assert (lines[0]["level"], lines[0]["place"]) == ("warning", "on_event:none")
    assert (lines[-1]["event"], lines[-1]["complete"]) == ("worker_stopped", True)


def test_a_worker_warns_once_of_stored_passwords_that_no_key_reads(
    cli: CommandLine, connection: Connection, objects: BrokerObjects
) -> None:
    for _ in range(2):
        server = (
            "smtp",
            "set",
            add_customer(connection),
            "--host",
            "h.example",
            "--from-email",
            "a@b.example",
        )
        assert cli(*server, "--username", "u", "--password-stdin", stdin=CANARY).code == 0
    # The broker refuses it, so that it ends by itself.
    cli.configure({"RABBITMQ__URL": f"amqp://nobody:hunter22@{objects.url.rpartition('@')[2]}"})
    for keys, told in (
        (cli.key, []),
        ("", ["the stored password cannot be read: security.encryption_keys is empty"]),
        (generate_key(), ["the stored password cannot be read with the keys in security.encryption_keys"]),
    ):
        cli.configure({"SECURITY__ENCRYPTION_KEYS": keys})
        lines = [json.loads(line) for line in run(cli).stderr.splitlines() if line.startswith("{")]
        warned = [line for line in lines if line["event"] == "smtp_passwords_unreadable"]
        assert [line["reason"].partition(";")[0] for line in warned] == told


def test_a_worker_without_a_database_ends_with_1_and_says_what_to_check(cli: CommandLine) -> None:
    cli.configure({"DATABASE__URL": "postgresql://notifier:hunter22@127.0.0.1:1/none"})
    done = run(cli)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert "check database.url and that the server is up" in done.stderr
    assert "hunter22" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_the_broker_refuses_ends_with_78(cli: CommandLine, objects: BrokerObjects) -> None:
    host = objects.url.rpartition("@")[2]
    cli.configure({"RABBITMQ__URL": f"amqp://nobody:hunter22@{host}"})
    done = run(cli)
    assert done.returncode == 78
    assert "refused the login: check user and password in rabbitmq.url" in done.stderr
    assert "hunter22" not in done.stderr


def test_a_worker_on_an_empty_database_ends_with_78_and_names_init_db(
    cli: CommandLine, objects: BrokerObjects, empty_database: Database
) -> None:
    del objects
    cli.configure({"DATABASE__URL": empty_database.url})
    assert cli("run").code == 78
    assert "make it with: notifier init-db" in cli("events", "list").err


def test_a_worker_with_a_wrong_setting_ends_with_78(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.configure({"SMTP__HOST": "smtp.example.com", "SMTP__FROM_EMAIL": "a@b.example"})
    for variable, value, told in (
        ("NOTIFIER_CRASHPOINT", "nowhere", "'nowhere' is no crash point"),
        ("NOTIFIER_SMTP__CA_FILE", "none.pem", "smtp.ca_file: "),
        ("NOTIFIER_DELIVERY__LEASE", "soon", "delivery.lease"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            result = cli("run")
        assert result.code == 78
        assert told in result.err


def test_init_db_makes_the_schema_once_and_may_be_run_again(
    cli: CommandLine, empty_database: Database
) -> None:
    cli.configure({"DATABASE__URL": empty_database.url})
    made = cli("init-db", "--json").json
    assert (made["result"], made["applied"]) == ("created", ["schema.sql"])
    assert cli("init-db").out == f"the schema was up to date already: version {made['version']}\n"
    assert cli("events", "list").out == "no mails\n"


def test_init_db_in_a_database_of_somebody_else_changes_nothing(
    cli: CommandLine, empty_database: Database
) -> None:
    empty_database.execute("CREATE TABLE customers (id int)")
    cli.configure({"DATABASE__URL": empty_database.url})
    result = cli("init-db")
    assert result.code == 78
    assert "objects of the same names: customers" in result.err


def test_maintain_deletes_what_is_old_and_keeps_what_waits(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    for status, age in (("sent", 91), ("failed", 91), ("pending", 91), ("sent", 89)):
        event = add_event(connection, customer, age_days=age)
        add_mail(connection, customer, event, status=status, age_days=age)
    done = cli("maintain", "--json").json
    assert (done["older_than_days"], done["job_events"], done["log_rows"]) == (90, 2, 2)
    assert one(connection, "SELECT count(*) FROM notification_events") == 2
    assert cli("maintain", "--days", 30, "--json").json["log_rows"] == 1
    assert one(connection, "SELECT status FROM notification_events") == "pending"


def test_the_installed_program_and_the_module_are_the_same(tmp_path: Path) -> None:
    script = str(Path(sys.executable).with_name("notifier"))
    done = [
        subprocess.run([*start, "publish"], cwd=tmp_path, capture_output=True, check=False, timeout=60)
        for start in ([script], list(NOTIFIER))
    ]
    assert {one.returncode for one in done} == {2}
    assert done[0].stderr == done[1].stderr
