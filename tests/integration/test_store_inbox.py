"""What becomes of events that come more than once, on a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.store import inbox
from tests.store_rows import add_customer, new_event, number

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def test_of_equal_events_in_one_batch_the_first_is_stored_with_its_mails(connection: Connection) -> None:
    customer = add_customer(connection)
    batch = [
        new_event(customer, "b"),
        new_event(customer, "a", b"one"),
        new_event(customer, "a", b"two", mails=3),
        new_event(customer, "a", b"one", mails=2),
    ]
    assert inbox.add(connection, batch) == ["stored", "stored", "conflict", "duplicate"]
    assert number(connection, "SELECT count(*) FROM job_events") == 2
    subjects = connection.exec_driver_sql("SELECT subject FROM notification_events").scalars().all()
    assert subjects == ["About one", "About one"]


def test_an_event_that_is_known_adds_nothing_whatever_else_is_in_the_batch(connection: Connection) -> None:
    customer, other = add_customer(connection), add_customer(connection)
    assert inbox.add(connection, [new_event(customer, "a")]) == ["stored"]
    batch = [
        new_event(customer, "a", b"two"),
        new_event(customer, "a"),
        new_event(other, "a", mails=2),
        new_event(customer, "b", mails=0),
    ]
    assert inbox.add(connection, batch) == ["conflict", "duplicate", "stored", "stored"]
    assert number(connection, "SELECT count(*) FROM notification_events") == 3


def test_only_customers_with_new_mails_are_woken(connection: Connection) -> None:
    busy, silent = add_customer(connection), add_customer(connection)
    inbox.add(connection, [new_event(busy, "a"), new_event(silent, "a", mails=0)])
    due = "SELECT customer_id FROM delivery_lanes WHERE next_due_at <= clock_timestamp()"
    assert connection.exec_driver_sql(due).scalars().all() == [busy]


def test_nothing_is_an_empty_batch(connection: Connection) -> None:
    assert inbox.add(connection, []) == []
