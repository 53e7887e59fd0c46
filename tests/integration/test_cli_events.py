"""`notifier events` on a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from notifier.cli import bulk_changes
from tests.store_rows import add_customer, add_event, add_mail, one

if TYPE_CHECKING:
    import pytest
    from sqlalchemy.engine import Connection

    from tests.support.command_line import CommandLine


def test_a_list_shows_what_the_filters_name_newest_first(cli: CommandLine, connection: Connection) -> None:
    acme, beta = add_customer(connection), add_customer(connection)
    old = add_mail(connection, acme, add_event(connection, acme), status="failed", age_days=3)
    new = add_mail(connection, acme, add_event(connection, acme), status="sent", job_id=7)
    other = add_mail(connection, beta, add_event(connection, beta))

    def ids(*args: object) -> list[int]:
        return [row["id"] for row in cli("events", "list", "--json", *args).json]

    assert set(ids()) == {old, new, other}
    assert ids("--customer", acme) == [new, old]
    assert ids("--customer", acme, "--order", "created_at") == [old, new]
    assert ids("--status", "failed", "--reason", "permanent_smtp") == [old]
    assert ids("--job", 7, "--type", "job_failed") == [new]
    assert ids("--customer", acme, "--since", "2d") == [new]
    assert ids("--customer", acme, "--until", (datetime.now(UTC) - timedelta(days=2)).isoformat()) == [old]
    assert ids("--compliance-result", 1) == []


def test_a_page_says_that_there_is_more_and_how_to_see_it(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    event = add_event(connection, customer)
    for _ in range(3):
        add_mail(connection, customer, event)
    first = cli("events", "list", "--limit", 2)
    assert len(first.out.splitlines()) == 3
    assert first.err == "1-2 of 3; go on with --offset 2\n"
    assert cli("events", "list", "--limit", 2, "--offset", 2).err == ""


def test_an_empty_list_is_no_error(cli: CommandLine) -> None:
    assert cli("events", "list").out == "no mails\n"
    assert cli("events", "list", "--json").json == []


def test_a_customer_that_does_not_exist_is_not_taken_for_one_without_rows(
    cli: CommandLine, connection: Connection
) -> None:
    customer = add_customer(connection)
    for kind in ("events", "preferences"):
        assert cli(kind, "list", "--customer", customer).code == 0
        result = cli(kind, "list", "--customer", customer, "--customer", 99)
        assert (result.code, result.err) == (1, "notifier: there is no customer 99\n")


def test_one_mail_is_shown_with_its_event_and_its_other_generations(
    cli: CommandLine, connection: Connection
) -> None:
    customer = add_customer(connection)
    event = add_event(connection, customer)
    mail = add_mail(connection, customer, event, status="failed")
    again = cli("events", "resend", mail, "--json").json["done"][0]["new_id"]
    shown = cli("events", "show", mail)
    assert "failure_reason        permanent_smtp" in shown.out
    assert f"generation 1: {again}, pending" in shown.out
    assert f"notifier explain {event}" in shown.out
    found = cli("events", "show", again, "--json").json
    assert (found["generation"], [row["id"] for row in found["generations"]]) == (1, [mail])
    assert found["job_event"]["id"] == event
    assert "document" not in found["job_event"]


def test_a_mail_is_shown_with_the_server_that_its_customer_has_now(
    cli: CommandLine, connection: Connection
) -> None:
    customer = add_customer(connection)
    mail = add_mail(connection, customer, add_event(connection, customer))

    def now() -> str:
        return cli("events", "show", mail).out.splitlines()[-1].removeprefix("mails of this customer now: ")

    assert now().startswith("no mail can be sent: the customer has no SMTP configuration")
    cli("smtp", "set", customer, "--host", "smtp.acme.example", "--from-email", "a@acme.example")
    assert now().startswith("through its own mail server, smtp.acme.example:587, which is switched on")
    connection.exec_driver_sql(
        "UPDATE smtp_breakers SET open_until = '2030-02-03 04:05:06.789+00', last_error = 'login refused'"
    )
    assert now().endswith("which is not tried until 2030-02-03T04:05:06Z: login refused")
    cli("smtp", "set", customer, "--no-enabled")
    assert "is disabled" in now()
    assert cli("events", "show", mail, "--json").json["server"]["problem"].startswith("the customer's SMTP")


def test_a_mail_that_does_not_exist_is_named_with_the_cure(cli: CommandLine) -> None:
    result = cli("events", "show", 7)
    assert result.code == 1
    assert (
        result.err
        == "notifier: there is no mail 7 in the event log; notifier events list shows what there is\n"
    )


def test_an_id_out_of_range_is_wrong_usage(cli: CommandLine) -> None:
    for bad in ("0", "-1", "9223372036854775808", "x"):
        assert cli("events", "show", "--", bad).code == 2


def test_a_resend_by_id_makes_a_new_row_that_names_who_asked(
    cli: CommandLine, connection: Connection
) -> None:
    customer = add_customer(connection)
    mail = add_mail(connection, customer, add_event(connection, customer), status="sent")
    result = cli("events", "resend", mail, "--by", "anna")
    assert result.code == 0
    new = one(connection, "SELECT max(id) FROM notification_events")
    assert f"{mail} is sent again as {new}" in result.out
    row = connection.exec_driver_sql(
        "SELECT status, generation, resent_by, message_id FROM notification_events WHERE id = %(id)s",
        {"id": new},
    ).one()
    assert row[:3] == ("pending", 1, "anna")
    assert row.message_id.endswith("@example.org>")


def test_a_pending_mail_is_not_resent_and_the_reason_is_told(
    cli: CommandLine, connection: Connection
) -> None:
    customer = add_customer(connection)
    mail = add_mail(connection, customer, add_event(connection, customer))
    result = cli("events", "resend", mail)
    assert (result.code, result.out) == (1, "resend: 0 done, 1 left\n")
    assert f"{mail} was left: it is still pending" in result.err


def test_a_resend_by_filter_takes_failed_mails_only_and_in_batches(
    cli: CommandLine, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_changes, "BATCH", 2)
    customer = add_customer(connection)
    event = add_event(connection, customer)
    failed = {add_mail(connection, customer, event, status="failed") for _ in range(5)}
    add_mail(connection, customer, event, status="sent")
    done = cli("events", "resend", "--customer", customer, "--yes", "--json").json
    assert {entry["id"] for entry in done["done"]} == failed
    assert done["left"] == []
    assert one(connection, "SELECT count(*) FROM notification_events WHERE status = 'pending'") == 5


def test_a_dry_run_names_the_mails_and_does_nothing(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    mail = add_mail(connection, customer, add_event(connection, customer), status="failed")
    result = cli("events", "resend", "--customer", customer, "--dry-run", "--json")
    assert [row["id"] for row in result.json] == [mail]
    assert result.err == "would resend 1, leave 0; nothing was done (--dry-run)\n"
    assert one(connection, "SELECT count(*) FROM notification_events") == 1


def test_a_dry_run_counts_only_what_can_be_done_and_says_why_not_the_rest(
    cli: CommandLine, connection: Connection
) -> None:
    customer = add_customer(connection)
    event = add_event(connection, customer)
    failed, again = (add_mail(connection, customer, event, status="failed") for _ in range(2))
    newer = int(cli("events", "resend", again, "--json").json["done"][0]["new_id"])
    result = cli("events", "resend", failed, again, newer, 999, "--dry-run", "--json")
    assert (result.code, [row["id"] for row in result.json]) == (1, [failed])
    assert result.err.splitlines() == [
        f"{again} would be left: it was resent before, as mail {newer} (pending)",
        f"{newer} would be left: it is still pending: it will be sent by itself",
        "999 would be left: there is no mail 999",
        "would resend 1, leave 3; nothing was done (--dry-run)",
    ]
    result = cli("events", "resend", "--customer", customer, "--dry-run")
    assert (result.code, result.err.splitlines()[-1]) == (
        0,
        "would resend 1, leave 1; nothing was done (--dry-run)",
    )
    result = cli("events", "cancel", newer, failed, "--dry-run", "--json")
    assert (result.code, [row["id"] for row in result.json]) == (1, [newer])
    assert f"{failed} would be left: it is failed, which is final" in result.err
    assert one(connection, "SELECT count(*) FROM notification_events") == 3


def test_many_mails_are_changed_only_after_a_yes(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    add_mail(connection, customer, add_event(connection, customer))
    result = cli("events", "cancel", "--customer", customer)
    assert result.code == 2
    assert "add --yes" in result.err
    assert one(connection, "SELECT status FROM notification_events") == "pending"


def test_a_change_needs_either_ids_or_a_filter(cli: CommandLine) -> None:
    for args in ((), (1, "--customer", 1)):
        result = cli("events", "resend", *args)
        assert result.code == 2
        assert "by their ids, or by a filter" in result.err


def test_a_cancelled_mail_ends_failed_and_one_in_flight_is_left(
    cli: CommandLine, connection: Connection
) -> None:
    customer = add_customer(connection)
    event = add_event(connection, customer)
    waiting, flying = add_mail(connection, customer, event), add_mail(connection, customer, event)
    connection.exec_driver_sql(
        "UPDATE notification_events SET lock_token = gen_random_uuid(), lease_until = now() + interval '1 hour'"
        " WHERE id = %(id)s",
        {"id": flying},
    )
    result = cli("events", "cancel", "--customer", customer, "--yes", "--by", "otto")
    assert (result.code, result.out) == (0, "cancel: 1 done, 1 left\n")
    assert result.err == f"{flying} was left: a worker is sending it at this moment\n"
    row = connection.exec_driver_sql(
        "SELECT status, failure_reason, error_message FROM notification_events WHERE id = %(id)s",
        {"id": waiting},
    ).one()
    assert tuple(row) == ("failed", "cancelled", "cancelled by otto")
