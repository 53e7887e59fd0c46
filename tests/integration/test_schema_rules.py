"""What the database itself refuses, whoever asks (docs/reliability.md), and what its triggers keep true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifier.domain.errors import DataRejected
from tests.store_rows import add_customer, add_event, add_mail, add_user, number, one

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

# Each breaks one rule of a mail that is pending and free; the constraint that must catch it.
BROKEN_MAILS = {
    "a status of another name": (
        "status = 'queued', finished_at = now()",
        "notification_events_status_check",
    ),
    "a reason of another name": (
        "status = 'failed', finished_at = now(), failure_reason = 'bored'",
        "notification_events_failure_reason_check",
    ),
    "sent without a time": ("status = 'sent', finished_at = now()", "ck_sent"),
    "pending with a time of sending": ("sent_at = now()", "ck_sent"),
    "ended without a time": ("status = 'sent', sent_at = now()", "ck_final"),
    "pending with an end": ("finished_at = now()", "ck_final"),
    "failed without a reason": ("status = 'failed', finished_at = now()", "ck_failed"),
    "pending with a reason of failure": ("failure_reason = 'auth'", "ck_failed"),
    "sent with an error": (
        "status = 'sent', sent_at = now(), finished_at = now(), error_message = 'x'",
        "ck_no_error",
    ),
    "a token without a lease": ("lock_token = gen_random_uuid()", "ck_lock"),
    "a lease without a token": ("lease_until = now()", "ck_lock"),
    "ended but locked": (
        "status = 'sent', sent_at = now(), finished_at = now(), lock_token = gen_random_uuid(), lease_until = now()",
        "ck_unlock",
    ),
    "handed over without a lock": ("handoff_at = now()", "ck_handoff"),
    "negative attempts": ("attempts = -1", "notification_events_attempts_check"),
    "an endless error": ("error_message = repeat('x', 1001)", "notification_events_error_message_check"),
    "an endless reply": ("smtp_response = repeat('x', 501)", "notification_events_smtp_response_check"),
    "no SMTP code": ("smtp_code = 99", "notification_events_smtp_code_check"),
    "a job event of nobody": ("job_event_id = NULL", "ck_event"),
    "a test mail with a job event": ("event_type = 'test'", "ck_event"),
}


@pytest.fixture
def mail(connection: Connection) -> int:
    customer = add_customer(connection)
    return add_mail(connection, customer, add_event(connection, customer))


@pytest.mark.parametrize("case", BROKEN_MAILS)
def test_a_mail_cannot_be_in_a_state_that_makes_no_sense(
    connection: Connection, mail: int, case: str
) -> None:
    change, constraint = BROKEN_MAILS[case]
    with pytest.raises(DataRejected, match=constraint):
        connection.exec_driver_sql(f"UPDATE notification_events SET {change} WHERE id = {mail}")  # noqa: S608


@pytest.mark.parametrize("end", ["sent", "failed"])
@pytest.mark.parametrize(
    "change",
    [
        "status = 'pending', failure_reason = NULL, sent_at = NULL, finished_at = NULL",
        "status = 'failed', failure_reason = 'expired', sent_at = NULL",
        "status = 'sent', failure_reason = NULL, sent_at = now()",
        "finished_at = now() + interval '1 hour'",
        "message_id = '<other@example.org>'",
        "recipient_email = 'eve@example.org'",
        "failure_reason = 'expired'",
    ],
)
def test_an_ended_mail_is_final(connection: Connection, end: str, change: str) -> None:
    customer = add_customer(connection)
    row = add_mail(connection, customer, add_event(connection, customer), status=end)
    with pytest.raises(DataRejected, match=r"final; resend it instead|ck_"):
        connection.exec_driver_sql(f"UPDATE notification_events SET {change} WHERE id = {row}")  # noqa: S608
    assert one(connection, "SELECT status FROM notification_events WHERE id = %(id)s", id=row) == end


def test_a_mail_cannot_tell_of_another_customers_event(connection: Connection) -> None:
    ours, theirs = add_customer(connection), add_customer(connection)
    event = add_event(connection, theirs)
    with pytest.raises(DataRejected, match="foreign key"):
        add_mail(connection, ours, event)


def test_one_event_makes_one_mail_per_recipient_and_generation(connection: Connection) -> None:
    customer = add_customer(connection)
    event = add_event(connection, customer)
    add_mail(connection, customer, event, address="anna@example.org")
    with pytest.raises(DataRejected, match="uq_notification"):
        add_mail(connection, customer, event, address="anna@example.org")


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ("event_id = repeat('x', 201)", "job_events_event_id_check"),
        ("event_id = ''", "job_events_event_id_check"),
        ("payload_sha256 = '\\x00'", "job_events_payload_sha256_check"),
        ("outcome = 'lost'", "job_events_outcome_check"),
    ],
)
def test_a_job_event_cannot_be_of_no_use(connection: Connection, columns: str, constraint: str) -> None:
    event = add_event(connection, add_customer(connection))
    with pytest.raises(DataRejected, match=constraint):
        connection.exec_driver_sql(f"UPDATE job_events SET {columns} WHERE id = {event}")  # noqa: S608


def test_plain_sql_that_asks_for_both_kinds_of_tls_gets_implicit_tls(connection: Connection) -> None:
    customer = add_customer(connection)
    connection.exec_driver_sql(
        "INSERT INTO smtp_configs (customer_id, host, use_tls, use_ssl, from_email) "
        "VALUES (%(c)s, 'smtp.example.org', true, true, 'alerts@example.org')",
        {"c": customer},
    )
    row = connection.exec_driver_sql("SELECT use_tls, use_ssl FROM smtp_configs").one()
    assert tuple(row) == (False, True)


@pytest.mark.parametrize(("table", "name"), [("customers", "name"), ("users", "username")])
def test_a_generated_id_is_above_all_ids_that_were_given(
    connection: Connection, table: str, name: str
) -> None:
    def insert(columns: str, rows: str) -> list[int]:
        statement = f"INSERT INTO {table} ({columns}) VALUES {rows} ON CONFLICT DO NOTHING RETURNING id"  # noqa: S608 - our own names
        return list(connection.exec_driver_sql(statement).scalars())

    (generated,) = insert(name, "('a')")
    given = generated + 1
    insert(f"id, {name}", f"({given + 40}, 'b'), ({given}, 'c')")
    assert insert(name, "('d')") == [given + 41]
    insert(f"id, {name}", f"({given + 1}, 'e')")
    assert insert(f"id, {name}", f"({given + 90}, 'e')") == []
    assert insert(name, "('f'), ('g')") == [given + 42, given + 43]


def _roles(connection: Connection, customer: int) -> dict[str, int]:
    query = "SELECT role, users FROM customer_role_counts WHERE customer_id = %(c)s AND users <> 0"
    return {row.role: row.users for row in connection.exec_driver_sql(query, {"c": customer})}


def test_role_counts_follow_every_change_of_users_and_access(connection: Connection) -> None:
    customer = add_customer(connection)
    users = [add_user(connection, role="viewer", access_to=customer) for _ in range(3)]
    admin = add_user(connection, role="admin", access_to=customer)
    assert _roles(connection, customer) == {"viewer": 3, "admin": 1}
    connection.exec_driver_sql("UPDATE users SET role = 'operator' WHERE id = %(u)s", {"u": users[0]})
    assert _roles(connection, customer) == {"viewer": 2, "operator": 1, "admin": 1}
    connection.exec_driver_sql("UPDATE users SET is_active = false WHERE id = %(u)s", {"u": admin})
    assert _roles(connection, customer) == {"viewer": 2, "operator": 1}
    connection.exec_driver_sql("UPDATE users SET is_active = true WHERE id = %(u)s", {"u": admin})
    connection.exec_driver_sql("DELETE FROM users WHERE id = %(u)s", {"u": users[1]})
    connection.exec_driver_sql("DELETE FROM customer_users WHERE user_id = %(u)s", {"u": users[2]})
    assert _roles(connection, customer) == {"operator": 1, "admin": 1}
    connection.exec_driver_sql("UPDATE customer_users SET role = 'viewer'")
    assert _roles(connection, customer) == {"operator": 1, "admin": 1}
    connection.exec_driver_sql("DELETE FROM customers WHERE id = %(c)s", {"c": customer})
    assert number(connection, "SELECT count(*) FROM customer_role_counts") == 0


def test_a_changed_server_is_tried_again_at_once_and_its_version_changes(connection: Connection) -> None:
    customer = add_customer(connection)
    connection.exec_driver_sql(
        "INSERT INTO smtp_configs (customer_id, host, from_email) "
        "VALUES (%(c)s, 'smtp.example.org', 'alerts@example.org')",
        {"c": customer},
    )
    server = number(connection, "SELECT id FROM smtp_configs")
    connection.exec_driver_sql("UPDATE smtp_breakers SET open_until = now() + interval '1 hour', trips = 4")
    connection.exec_driver_sql("UPDATE delivery_lanes SET next_due_at = now() + interval '1 hour'")
    version = one(connection, "SELECT updated_at FROM smtp_configs")
    connection.exec_driver_sql("UPDATE smtp_configs SET port = 2525")
    breaker = connection.exec_driver_sql(
        "SELECT open_until < now() AS closed, trips, proven FROM smtp_breakers WHERE server_id = %(s)s",
        {"s": server},
    ).one()
    assert tuple(breaker) == (True, 0, False)
    assert (
        one(connection, "SELECT next_due_at <= now() AND server_id = %(s)s FROM delivery_lanes", s=server)
        is True
    )
    assert one(connection, "SELECT updated_at FROM smtp_configs") != version
    connection.exec_driver_sql("DELETE FROM smtp_configs")
    assert one(connection, "SELECT server_id FROM delivery_lanes") == 0
    assert list(connection.exec_driver_sql("SELECT server_id FROM smtp_breakers").scalars()) == [0]
