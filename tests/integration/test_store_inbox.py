"""What becomes of events that come more than once, on a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.store import inbox
from tests.store_rows import add_customer, number

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def event(customer: int, event_id: str, content: bytes = b"one", *, mails: int = 1) -> inbox.NewEvent:
    return inbox.NewEvent(
        customer_id=customer,
        source="webnet",
        event_id=event_id,
        event_type="job_failed",
        payload={"content": content.decode()},
        payload_sha256=content.ljust(32, b"."),
        occurred_at=None,
        outcome="accepted",
        decisions={},
        job_id=1,
        compliance_result_id=None,
        trace_id=None,
        expire_after=60.0,
        mails=tuple(
            inbox.NewMail(
                user_id=user,
                recipient_email=f"user{user}@example.org",
                recipient_key=f"user{user}@example.org",
                rule="role_default",
                subject=f"About {content.decode()}",
                message_id=f"<{customer}.{event_id}.{content.decode()}.{user}@example.org>",
                failure_reason=None,
                error=None,
            )
            for user in range(mails)
        ),
    )


def test_of_equal_events_in_one_batch_the_first_is_stored_with_its_mails(connection: Connection) -> None:
    customer = add_customer(connection)
    batch = [
        event(customer, "b"),
        event(customer, "a", b"one"),
        event(customer, "a", b"two", mails=3),
        event(customer, "a", b"one", mails=2),
    ]
    assert inbox.add(connection, batch) == ["stored", "stored", "conflict", "duplicate"]
    assert number(connection, "SELECT count(*) FROM job_events") == 2
    subjects = connection.exec_driver_sql("SELECT subject FROM notification_events").scalars().all()
    assert subjects == ["About one", "About one"]


def test_an_event_that_is_known_adds_nothing_whatever_else_is_in_the_batch(connection: Connection) -> None:
    customer, other = add_customer(connection), add_customer(connection)
    assert inbox.add(connection, [event(customer, "a")]) == ["stored"]
    batch = [
        event(customer, "a", b"two"),
        event(customer, "a"),
        event(other, "a", mails=2),
        event(customer, "b", mails=0),
    ]
    assert inbox.add(connection, batch) == ["conflict", "duplicate", "stored", "stored"]
    assert number(connection, "SELECT count(*) FROM notification_events") == 3


def test_only_customers_with_new_mails_are_woken(connection: Connection) -> None:
    busy, silent = add_customer(connection), add_customer(connection)
    inbox.add(connection, [event(busy, "a"), event(silent, "a", mails=0)])
    due = "SELECT customer_id FROM delivery_lanes WHERE next_due_at <= clock_timestamp()"
    assert connection.exec_driver_sql(due).scalars().all() == [busy]


def test_nothing_is_an_empty_batch(connection: Connection) -> None:
    assert inbox.add(connection, []) == []
