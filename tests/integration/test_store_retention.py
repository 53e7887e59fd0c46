"""maintain deletes what is old, and nothing that is still needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifier.store import inbox, retention
from tests.store_rows import add_customer, add_event, add_mail, add_user, number

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_TOKENS = """
INSERT INTO api_tokens (user_id, name, token_hash, expires_at, revoked_at)
SELECT u.id, t.name, sha256(t.name::bytea), t.expires_at, t.revoked_at FROM users u, (VALUES
    ('good', NULL, NULL), ('expired', now() - interval '91 days', NULL), ('just expired', now(), NULL),
    ('revoked', now() + interval '1 day', now() - interval '91 days')) AS t (name, expires_at, revoked_at)
"""
_TEST_MAILS = """
INSERT INTO notification_events (customer_id, recipient_email, recipient_key, event_type, subject, status,
    failure_reason, message_id, expires_at, created_at, finished_at)
SELECT %(c)s, 'a@b.example', 'a@b.example', 'test', 'x', 'failed', 'auth', m, at, at, at
FROM (VALUES ('<1@b.example>', now() - interval '91 days'), ('<2@b.example>', now() - interval '89 days')) AS t (m, at)
"""


def _events(connection: Connection) -> set[int]:
    return set(connection.exec_driver_sql("SELECT id FROM job_events").scalars())


def test_an_old_event_goes_with_its_mails_and_a_young_one_stays(
    engine: Engine, connection: Connection
) -> None:
    customer = add_customer(connection)
    old, young = add_event(connection, customer, age_days=91), add_event(connection, customer, age_days=89)
    for event, age in ((old, 91), (young, 89)):
        add_mail(connection, customer, event, status="sent", age_days=age)
        add_mail(connection, customer, event, status="failed", age_days=age)
    assert retention.purge(engine, days=90) == retention.Deleted(job_events=1, log_rows=2)
    assert _events(connection) == {young}
    assert number(connection, "SELECT count(*) FROM notification_events") == 2


@pytest.mark.parametrize("reason", ["a pending mail", "a resend that ended lately"])
def test_an_old_event_stays_whole_while_it_is_needed(
    engine: Engine, connection: Connection, reason: str
) -> None:
    customer = add_customer(connection)
    event = add_event(connection, customer, age_days=200)
    add_mail(connection, customer, event, status="sent", age_days=200)
    status = "pending" if reason == "a pending mail" else "sent"
    add_mail(connection, customer, event, status=status, age_days=1)
    assert retention.purge(engine, days=90) == retention.Deleted()
    assert number(connection, "SELECT count(*) FROM notification_events") == 2


def test_an_old_event_without_mails_goes_too(engine: Engine, connection: Connection) -> None:
    add_event(connection, add_customer(connection), age_days=91)
    assert retention.purge(engine, days=90).job_events == 1


def test_old_rejections_test_mails_and_dead_tokens_go(engine: Engine, connection: Connection) -> None:
    customer = add_customer(connection)
    for body in (b"a" * 32, b"b" * 32):
        inbox.reject(
            connection,
            [inbox.Rejection(reason="bad_json", detail="x", event_id=None, body_sha256=body, body_head=b"")],
        )
    connection.exec_driver_sql(
        "UPDATE rejected_events SET received_at = now() - interval '91 days' WHERE id = 1"
    )
    add_user(connection)
    connection.exec_driver_sql(_TOKENS)
    connection.exec_driver_sql(_TEST_MAILS, {"c": customer})
    deleted = retention.purge(engine, days=90)
    assert deleted == retention.Deleted(log_rows=1, rejected_events=1, api_tokens=2)


def test_batches_are_small_and_their_progress_is_told(engine: Engine, connection: Connection) -> None:
    customer = add_customer(connection)
    for _ in range(7):
        event = add_event(connection, customer, age_days=91)
        add_mail(connection, customer, event, status="sent", age_days=91)
    told: list[int] = []
    retention.purge(engine, days=90, rows=3, progress=lambda sum_so_far: told.append(sum_so_far.job_events))
    assert told[:3] == [3, 6, 7]
    assert _events(connection) == set()


def test_what_somebody_holds_is_left_for_the_next_time(engine: Engine, connection: Connection) -> None:
    """A resend that is just being written must neither wait for maintain nor lose its event."""
    customer = add_customer(connection)
    event = add_event(connection, customer, age_days=91)
    mail = add_mail(connection, customer, event, status="failed", age_days=91)
    with engine.begin() as somebody:
        somebody.exec_driver_sql(f"SELECT FROM notification_events WHERE id = {mail} FOR UPDATE")
        assert retention.purge(engine, days=90) == retention.Deleted()
    assert retention.purge(engine, days=90) == retention.Deleted(job_events=1, log_rows=1)
