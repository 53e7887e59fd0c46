"""`notifier preferences`, `explain` and `preview` on a real database."""

from __future__ import annotations

import contextlib
import json
from email import message_from_string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notifier.broker.messages import BrokerMessage
from notifier.config import load
from notifier.crashpoints import Crashpoint
from notifier.intake import Intake
from notifier.message_ids import new_uuid
from notifier.metrics import Metrics
from notifier.planning import Planner
from notifier.tracing import Tracer
from notifier.wiring import planning_rules
from tests.store_rows import add_customer, add_user, one

if TYPE_CHECKING:
    import pytest
    from sqlalchemy.engine import Connection, Engine

    from tests.support.command_line import CommandLine

HEADER = "customer_id,user_id,event_type,enabled,email_address,job_types"
SAMPLE = Path(__file__).parents[2] / "docs" / "events" / "job_failed.json"


def event_for(customer: int, folder: Path) -> Path:
    """A job_failed event (job type config_backup) of this customer, in a file."""
    event = json.loads(SAMPLE.read_text(encoding="utf-8"))
    event["data"]["customer_id"] = customer
    file = folder / "event.json"
    file.write_text(json.dumps(event), encoding="utf-8")
    return file


def take_in(engine: Engine, file: Path) -> int:
    """Let the intake have the event; returns its id in the inbox."""
    intake = Intake(
        engine=engine,
        planner=Planner(
            rules=planning_rules(load(None, {})),
            subject=lambda _document, _customer: "A job failed",
            new_uuid=new_uuid,
        ),
        max_event_bytes=262144,
        on_new_mails=lambda: None,
        metrics=Metrics(version="test"),
        tracer=Tracer(),
        crashpoint=Crashpoint(),
    )
    with contextlib.closing(intake):
        intake.handle([BrokerMessage(body=file.read_bytes())])
    with engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT max(id) FROM job_events").scalar_one())


# -- preferences ---------------------------------------------------------------------------------------------------


def test_a_preference_is_set_listed_and_deleted(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    user = add_user(connection, role="operator", access_to=customer)
    key = ("--customer", customer, "--user", user, "--event-type", "job_failed")
    saved = cli("preferences", "set", *key, "--email", "noc@acme.example", "--job-type", "a", "--json").json
    assert (saved["email_address"], saved["job_types"], saved["enabled"]) == ("noc@acme.example", ["a"], True)
    again = cli("preferences", "set", *key, "--disabled", "--json").json
    assert (again["id"], again["enabled"], again["email_address"]) == (saved["id"], False, None)
    assert [row["id"] for row in cli("preferences", "list", "--disabled", "--json").json] == [saved["id"]]
    assert cli("preferences", "list", "--enabled").out == "no preferences\n"
    assert cli("preferences", "delete", *key).out == f"deleted {saved['id']}\n"
    assert cli("preferences", "delete", saved["id"]).code == 1
    assert cli("preferences", "delete", "--user", user).code == 2


def test_a_preference_that_the_role_may_not_have_is_refused(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    user = add_user(connection, role="viewer", access_to=customer)
    key = ("--customer", customer, "--user", user, "--event-type", "job_failed")
    result = cli("preferences", "set", *key)
    assert result.code == 2
    assert result.err.startswith("notifier: event_type: the role viewer of ")
    assert cli("preferences", "set", *key[:4], "--event-type", "none").code == 2


def test_one_faulty_line_and_nothing_of_a_file_is_written(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    user = add_user(connection, role="operator", access_to=customer)
    lines = [
        HEADER,
        f"{customer},{user},job_success,yes,,config_backup;config_deploy",
        f"{customer},{user},job_failed,perhaps,,",
        f"{customer},{user},job_partial,yes,nobody,",
        f"{customer},{user},job_success,no,,",
        f"{customer},999,job_success,no,,",
        f"{customer},{user},job_success",
    ]
    result = cli("preferences", "import", "-", stdin="\n".join(lines))
    assert result.code == 1
    assert [line.split(": ")[1] for line in result.err.splitlines()] == [
        "line 3",
        "line 4",
        "line 5",
        "line 6",
        "line 7",
    ]
    assert one(connection, "SELECT count(*) FROM notification_preferences") == 0
    good = "\n".join(lines[:2])
    dry = cli("preferences", "import", "-", "--dry-run", stdin=good)
    assert (dry.code, dry.out) == (0, "1 lines are right; nothing was written (--dry-run)\n")
    assert one(connection, "SELECT count(*) FROM notification_preferences") == 0
    assert cli("preferences", "import", "-", "--json", stdin=good).json == {"saved": 1, "checked": 1}
    assert one(connection, "SELECT job_types FROM notification_preferences") == [
        "config_backup",
        "config_deploy",
    ]


def test_what_is_exported_can_be_imported_again(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection, 'Ac;me, "Ltd"')
    for address in (None, "noc@acme.example"):
        user = add_user(connection, role="admin", access_to=customer)
        args = ("--email", address) if address else ("--job-type", "a", "--job-type", "b")
        cli("preferences", "set", "--customer", customer, "--user", user, "--type", "job_failed", *args)
    before = cli("preferences", "list", "--json").json

    def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k not in {"id", "created_at", "updated_at"}} for row in rows]

    for form in ("csv", "json"):
        file = cli.folder / f"out.{form}"
        assert cli("preferences", "export", "--format", form, "--out", file).code == 0
        assert cli("preferences", "export", "--format", form).out == file.read_text(encoding="utf-8")
        connection.exec_driver_sql("DELETE FROM notification_preferences")
        assert cli("preferences", "import", file).out == "2 preferences saved\n"
        assert comparable(cli("preferences", "list", "--json").json) == comparable(before)


# -- explain -------------------------------------------------------------------------------------------------------


def test_every_user_is_explained_in_plain_words(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    cli.configure({"SMTP__HOST": "smtp.example.com", "SMTP__FROM_EMAIL": "a@b.example"})
    users = {
        "role_default": add_user(connection, role="admin", email="a@x.example", access_to=customer),
        "same_address": add_user(connection, role="admin", email="a@x.example", access_to=customer),
        "no_address": add_user(connection, role="admin", email=None, access_to=customer),
        "not_subscribed": add_user(connection, role="operator", access_to=customer),
        "role_not_allowed": add_user(connection, role="viewer", access_to=customer),
        "inactive": add_user(connection, role="admin", is_active=False, access_to=customer),
        "no_access": add_user(connection, role="admin"),
        "preference_disabled": add_user(connection, role="admin", access_to=customer),
        "job_type_filtered": add_user(connection, role="admin", access_to=customer),
        "preference_enabled": add_user(connection, role="operator", email="o@x.example", access_to=customer),
    }
    for rule, enabled, types in (
        ("preference_disabled", False, None),
        ("job_type_filtered", True, ["config_deploy"]),
        ("preference_enabled", True, None),
        ("no_access", True, None),
    ):
        connection.exec_driver_sql(
            "INSERT INTO notification_preferences (user_id, customer_id, event_type, enabled, job_types)"
            " VALUES (%(u)s, %(c)s, 'job_failed', %(e)s, %(t)s)",
            {"u": users[rule], "c": customer, "e": enabled, "t": types},
        )
    file = event_for(customer, cli.folder)
    found = cli("explain", file, "--json").json
    by_user = {entry["user_id"]: entry for entry in found["users"]}
    assert {rule: by_user[user]["rule"] for rule, user in users.items()} == {rule: rule for rule in users}
    assert {entry["rule"] for entry in found["users"] if entry["mail"]} == {
        "role_default",
        "preference_enabled",
    }
    told = cli("explain", file).out
    assert "through the mail server of the [smtp] section, smtp.example.com:587, which is switched on" in told
    assert "wants job_failed only about config_deploy, and this is config_backup" in told
    assert "another user with the address a@x.example gets the mail" in told
    assert "2 of 10 users would get a mail" in told
    only = cli("explain", file, "--user", users["inactive"], "--json").json["users"]
    assert [entry["why"] for entry in only] == ["the account is not active"]


def test_a_stored_event_shows_what_was_decided_then_and_what_now(
    cli: CommandLine, connection: Connection, engine: Engine
) -> None:
    cli.configure({"SMTP__HOST": "smtp.example.com", "SMTP__FROM_EMAIL": "a@b.example"})
    customer = add_customer(connection)
    user = add_user(connection, role="admin", access_to=customer)
    event = take_in(engine, event_for(customer, cli.folder))
    connection.exec_driver_sql("UPDATE users SET is_active = false")
    (entry,) = cli("explain", event, "--json").json["users"]
    assert (entry["mail"], entry["rule"]) == (False, "inactive")
    assert (entry["then"]["user_id"], entry["then"]["rule"], entry["then"]["selected"]) == (
        user,
        "role_default",
        True,
    )
    row = one(connection, "SELECT id FROM notification_events")
    assert entry["log_row"]["id"] == row
    told = cli("explain", event).out.splitlines()
    head, line = told[-3:-1]
    assert line[head.index("then") :].startswith("yes (role_default)")
    assert line[head.index("in the log") :].startswith(f"{row}: failed (no_smtp_config)")
    assert head.endswith("  why")  # what is long stands where nothing must line up with it


def test_a_server_that_cannot_be_used_is_the_first_thing_told(
    cli: CommandLine, connection: Connection
) -> None:
    customer = add_customer(connection)
    add_user(connection, role="admin", access_to=customer)
    file = event_for(customer, cli.folder)
    assert "no mail can be sent: the customer has no SMTP configuration" in cli("explain", file).out
    cli("smtp", "set", customer, "--host", "smtp.acme.example", "--from-email", "a@acme.example")
    connection.exec_driver_sql(
        "UPDATE smtp_breakers SET open_until = now() + interval '1 hour', last_error = 'login refused'"
    )
    told = cli("explain", file).out
    assert "its own mail server, smtp.acme.example:587, which is not tried until 20" in told
    assert "login refused" in told
    cli("smtp", "set", customer, "--no-enabled")
    found = cli("explain", file, "--json").json
    assert found["users"][0]["mail"] is False
    assert "is disabled" in found["users"][0]["why"]


def test_what_cannot_be_explained_is_named(cli: CommandLine, connection: Connection) -> None:
    assert "no job event 7 in the inbox" in cli("explain", 7).err
    assert "no job event 99999999999999999999" in cli("explain", "9" * 20).err
    assert "there is no customer 99" in cli("explain", event_for(99, cli.folder)).err
    file = event_for(add_customer(connection), cli.folder)
    assert "there is no user 5" in cli("explain", file, "--user", 5).err
    file.write_text(file.read_text() + "\n" + file.read_text())
    assert "has 2 events; give a file with one" in cli("explain", file).err


# -- preview -------------------------------------------------------------------------------------------------------


def test_a_preview_is_the_mail_of_the_first_recipient_in_every_form(
    cli: CommandLine, connection: Connection, engine: Engine
) -> None:
    customer = add_customer(connection, "Acme")
    add_user(connection, role="admin", email="anna@acme.example", access_to=customer)
    cli("smtp", "set", customer, "--host", "smtp.acme.example", "--from-email", "jobs@acme.example")
    event = take_in(engine, event_for(customer, cli.folder))
    subject = cli("preview", event, "--format", "subject").out.strip()
    message = message_from_string(cli("preview", event, "--format", "eml").out)
    assert (message["To"], message["Subject"]) == ("anna@acme.example", subject)
    assert "<jobs@acme.example>" in str(message["From"])
    assert message.get_content_type() == "multipart/alternative"
    assert "Acme" in cli("preview", event).out
    assert cli("preview", event, "--format", "html").out.startswith("<!DOCTYPE html>")
    assert one(connection, "SELECT count(*) FROM notification_events WHERE status = 'sent'") == 0


def test_a_preview_for_a_user_or_customer_is_theirs_and_says_who_would_not_get_it(
    cli: CommandLine, connection: Connection
) -> None:
    customer, other = add_customer(connection, "Acme"), add_customer(connection, "Globex")
    user = add_user(connection, role="operator", email="otto@acme.example", access_to=customer)
    file = event_for(customer, cli.folder)
    result = cli("preview", file, "--user", user, "--format", "eml")
    assert message_from_string(result.out)["To"] == "otto@acme.example"
    assert "would not get this mail (not_subscribed)" in result.err
    assert "Globex" in cli("preview", file, "--customer", other, "--format", "subject").out
    assert cli("preview", file, "--customer", 99).code == 1
    assert cli("preview", file, "--user", 99).code == 1


def test_a_file_is_previewed_without_a_database(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.configure({"DATABASE__URL": "postgresql://notifier@127.0.0.1:1/none"})
    result = cli("preview", SAMPLE, "--out", cli.folder / "mails")
    assert result.code == 0
    assert "so the names and the sender are made up" in result.err
    written = sorted(path.suffix for path in (cli.folder / "mails").iterdir())
    assert written == [".eml", ".html", ".txt", ".txt"]
    opened: list[str] = []

    def starts(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr("webbrowser.open", starts)
    assert cli("preview", SAMPLE, "--open", "--out", cli.folder / "mails").code == 0
    assert opened[0].startswith("file://")
    assert opened[0].endswith(".html")
    assert cli("preview", 1).code == 1


def test_where_there_is_no_browser_the_preview_says_so_and_names_the_page(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.configure({"DATABASE__URL": "postgresql://notifier@127.0.0.1:1/none"})
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    result = cli("preview", SAMPLE, "--open", "--out", cli.folder)
    assert result.code == 1
    assert "no browser could be started here; open the page yourself: " in result.err
    assert "shown in the browser" not in result.err


def test_secrets_that_a_job_printed_are_masked_in_the_preview_of_a_file(
    cli: CommandLine, connection: Connection
) -> None:
    customer = add_customer(connection)
    file = event_for(customer, cli.folder)
    event = json.loads(file.read_text())
    event["data"]["job"]["error"] = "snmp-server community s3cretRO ro"
    file.write_text(json.dumps(event))
    for form in ("text", "html", "eml"):
        assert "s3cretRO" not in cli("preview", file, "--format", form).out
