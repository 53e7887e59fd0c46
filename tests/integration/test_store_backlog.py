"""What the background check counts, for metrics and health."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifier.store import sweep
from tests.store_rows import add_customer, add_event, add_mail
from tests.store_work import stuck_rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

HOUR = 3600


def pending(connection: Connection, *, server: int, hours: float, due_in: float | None = None) -> int:
    """A pending mail of a new customer of this server, made `hours` ago; due since then, or in that many hours."""
    customer = add_customer(connection)
    mail = add_mail(connection, customer, add_event(connection, customer), age_days=hours / 24)
    connection.exec_driver_sql(
        "UPDATE delivery_lanes SET server_id = %(s)s WHERE customer_id = %(c)s", {"s": server, "c": customer}
    )
    if due_in is not None:
        connection.exec_driver_sql(
            "UPDATE notification_events SET next_attempt_at = now() + %(h)s * interval '1 hour' WHERE id = %(m)s",
            {"h": due_in, "m": mail},
        )
    return mail


def breaker(connection: Connection, server: int, *, trips: int, opens_until: str) -> None:
    connection.exec_driver_sql(
        "INSERT INTO smtp_breakers (server_id, trips, open_until) VALUES (%(s)s, %(t)s, now() + %(u)s::interval)",
        {"s": server, "t": trips, "u": opens_until},
    )


def test_nothing_pending_has_no_age(connection: Connection) -> None:
    found = sweep.backlog(connection)
    assert (found.pending, found.due, found.oldest_pending_age) == (0, 0, 0)
    assert (found.oldest_due_age, found.oldest_held_age, found.breakers_open) == (0, 0, 0)


def test_a_mail_behind_an_open_breaker_is_held_and_wants_no_sender(connection: Connection) -> None:
    breaker(connection, 7, trips=3, opens_until="15 min")
    pending(connection, server=7, hours=5)
    pending(connection, server=0, hours=2, due_in=1)  # waits for its next try
    pending(connection, server=0, hours=1)
    found = sweep.backlog(connection)
    assert (found.pending, found.due, found.breakers_open) == (3, 2, 1)
    assert found.oldest_pending_age == pytest.approx(5 * HOUR, abs=60)
    assert found.oldest_held_age == pytest.approx(5 * HOUR, abs=60)
    assert found.oldest_due_age == pytest.approx(1 * HOUR, abs=60)


def test_behind_a_half_open_breaker_a_mail_wants_a_sender_since_the_breaker_lets_it(
    connection: Connection,
) -> None:
    breaker(connection, 7, trips=3, opens_until="-10 min")
    pending(connection, server=7, hours=5)
    found = sweep.backlog(connection)
    assert found.breakers_open == 0
    assert found.oldest_held_age == pytest.approx(5 * HOUR, abs=60)
    assert found.oldest_due_age == pytest.approx(600, abs=60)


def test_a_mail_in_the_hands_of_a_sender_is_not_due(connection: Connection) -> None:
    mail = pending(connection, server=0, hours=3)
    connection.exec_driver_sql(
        "UPDATE notification_events SET lock_token = gen_random_uuid(), locked_by = 'w', server_id = 0,"
        " lease_until = now() + interval '1 min' WHERE id = %(m)s",
        {"m": mail},
    )
    found = sweep.backlog(connection)
    assert (found.pending, found.due, found.oldest_due_age) == (1, 0, 0)


def test_a_mail_that_an_open_breaker_holds_says_why_and_one_that_is_held_by_nothing_says_nothing(
    connection: Connection,
) -> None:
    """Taken in just as the breaker opened, it was told by nobody."""
    breaker(connection, 7, trips=1, opens_until="15 min")
    breaker(connection, 8, trips=1, opens_until="-1 min")
    connection.exec_driver_sql(
        "UPDATE smtp_breakers SET last_error = 'smtp.example answered the login with 535'"
    )
    held, free = pending(connection, server=7, hours=1), pending(connection, server=8, hours=1)
    other = pending(connection, server=7, hours=1)
    connection.exec_driver_sql(
        "UPDATE notification_events SET error_message = 'its own' WHERE id = %(m)s", {"m": other}
    )
    assert sweep.tell_held(connection, stuck=stuck_rows()) == 1
    assert sweep.tell_held(connection, stuck=stuck_rows()) == 0
    rows = connection.exec_driver_sql("SELECT id, error_message FROM notification_events")
    assert {row.id: row.error_message for row in rows} == {
        held: "smtp.example answered the login with 535",
        free: None,
        other: "its own",
    }
