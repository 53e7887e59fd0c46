"""A row that cannot be updated holds up no other: it is found, told, left out for a while, and tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifier.domain.errors import DatabaseUnavailable
from notifier.store import sweep
from tests.integration.test_claim_fairness import claim, customer_with
from tests.store_rows import mend, spoil

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

STATES = ["XX001", "XX002", "23514", "22021", "P0001", "58030"]


class Watch:
    """A clock, and what was told of stuck rows."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[tuple[int, str]] = []
        self.stuck = sweep.StuckRows(
            clock=lambda: self.now, tell=lambda row_id, reason: self.told.append((row_id, reason))
        )


@pytest.fixture
def watch() -> Watch:
    return Watch()


def _ids(connection: Connection, condition: str) -> list[int]:
    query = f"SELECT id FROM notification_events WHERE {condition} ORDER BY id"  # noqa: S608 - a condition of this file
    return list(connection.exec_driver_sql(query).scalars())


def _late(connection: Connection, mails: int) -> list[int]:
    """Mails of one customer, all past their time, the first one first."""
    customer_with(connection, mails)
    connection.exec_driver_sql(
        "UPDATE notification_events SET expires_at = now() - interval '1 hour' + id * interval '1 second'"
    )
    return _ids(connection, "true")


def _lost(connection: Connection, mails: int) -> list[int]:
    """Mails whose worker fell silent before it sent them."""
    customer_with(connection, mails)
    batch = claim(connection)
    assert batch is not None
    connection.exec_driver_sql("UPDATE delivery_batches SET alive_until = now() - interval '1 second'")
    return [mail.id for mail in batch.mails]


def _held(connection: Connection, mails: int) -> list[int]:
    """Mails behind an open breaker that do not say so yet."""
    customer_with(connection, mails)
    connection.exec_driver_sql(
        "UPDATE smtp_breakers SET open_until = now() + interval '1 hour', last_error = 'no route to host'"
    )
    return _ids(connection, "true")


def _take_back(connection: Connection, watch: Watch) -> object:
    return sweep.take_back(
        connection,
        max_attempts=5,
        max_ambiguous=2,
        ambiguous_delay=300,
        fail_ambiguous=False,
        stuck=watch.stuck,
    )


def _expire(connection: Connection, watch: Watch) -> object:
    return sweep.expire(connection, stuck=watch.stuck)


def _tell_held(connection: Connection, watch: Watch) -> object:
    return sweep.tell_held(connection, stuck=watch.stuck)


TASKS = pytest.mark.parametrize(
    ("prepare", "task", "undone"),
    [
        (_late, _expire, "status = 'pending'"),
        (_lost, _take_back, "lock_token IS NOT NULL"),
        (_held, _tell_held, "error_message IS NULL"),
    ],
    ids=["expire", "take back", "tell held"],
)


@pytest.mark.parametrize("state", STATES)
@TASKS
def test_the_others_are_done_in_the_same_round(
    connection: Connection,
    watch: Watch,
    prepare: Callable[[Connection, int], list[int]],
    task: Callable[[Connection, Watch], object],
    undone: str,
    state: str,
) -> None:
    ids = prepare(connection, 9)
    spoil(connection, ids[0], ids[5], state=state)
    task(connection, watch)
    assert _ids(connection, undone) == [ids[0], ids[5]]
    assert sorted(row_id for row_id, _ in watch.told) == [ids[0], ids[5]]
    assert all(f"row {row_id} cannot be written" in reason for row_id, reason in watch.told)


@TASKS
def test_a_stuck_row_is_told_once_and_tried_again_after_a_while(
    connection: Connection,
    watch: Watch,
    prepare: Callable[[Connection, int], list[int]],
    task: Callable[[Connection, Watch], object],
    undone: str,
) -> None:
    ids = prepare(connection, 3)
    spoil(connection, ids[1])
    for _ in range(3):
        task(connection, watch)
    assert len(watch.told) == 1
    watch.now += sweep.STUCK_SECONDS
    task(connection, watch)
    assert len(watch.told) == 2
    mend(connection)
    watch.now += sweep.STUCK_SECONDS
    task(connection, watch)
    assert _ids(connection, undone) == []


def test_where_every_row_is_stuck_a_round_ends_and_the_next_ones_come_to_the_others(
    connection: Connection, watch: Watch
) -> None:
    ids = _late(connection, 120)
    spoil(connection, *ids[:100])
    _expire(connection, watch)
    assert 0 < len(watch.told) < 100
    for _ in range(5):
        _expire(connection, watch)
    assert _ids(connection, "status = 'pending'") == ids[:100]


@pytest.mark.parametrize("state", ["57P03", "53100", "40P01", "57014"])
def test_a_fault_that_is_not_about_a_row_ends_the_round(
    connection: Connection, watch: Watch, state: str
) -> None:
    """What the whole database cannot do now, it is not asked for row by row."""
    ids = _late(connection, 4)
    spoil(connection, ids[0], state=state)
    with pytest.raises(DatabaseUnavailable):
        _expire(connection, watch)
    assert watch.told == []
