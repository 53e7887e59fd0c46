"""What is done with a batch touches the rows of that batch, however many other mails wait.

Plans are kept per session and were made when little waited: what they read is counted after much has come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifier.store import claims
from tests.store_rows import customer_with, number
from tests.store_work import SENT, claim, take_back

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

_MANY = 20_000
_OTHERS = """
INSERT INTO notification_events (job_event_id, customer_id, user_id, recipient_email, recipient_key, event_type, rule,
    subject, message_id, next_attempt_at, expires_at)
SELECT m.job_event_id, m.customer_id, 1, 'r' || n || '@example.org', 'r' || n || '@example.org', m.event_type,
    m.rule, m.subject, '<other-' || n || '@example.org>', now() + n * interval '1 second', now() + interval '1 day'
FROM notification_events m, generate_series(1, %(many)s) AS n WHERE m.id = %(model)s
"""
_BLOCKS = """
SELECT heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit
FROM pg_statio_user_tables WHERE relname = 'notification_events'
"""


def _stamp(connection: Connection, batch: claims.Batch) -> None:
    ids = [mail.id for mail in batch.mails]
    assert claims.stamp(connection, token=batch.token, ids=ids, lease=480) == frozenset(ids)


def _record(connection: Connection, batch: claims.Batch) -> None:
    settlements = {mail.id: SENT for mail in batch.mails}
    found = claims.record(connection, token=batch.token, settlements=settlements, notes={})
    assert found == frozenset(settlements)


def _release(connection: Connection, batch: claims.Batch) -> None:
    claims.release(connection, token=batch.token)


def _take_back(connection: Connection, batch: claims.Batch) -> None:
    connection.exec_driver_sql(
        "UPDATE delivery_batches SET alive_until = now() - interval '1 second' WHERE token = %(t)s",
        {"t": str(batch.token)},
    )
    found = take_back(connection)
    assert found.unsent == len(batch.mails)


def _blocks(connection: Connection) -> int:
    connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    return number(connection, _BLOCKS)


def _claimed(connection: Connection, mails: int) -> claims.Batch:
    """A batch of a new customer."""
    connection.exec_driver_sql("UPDATE delivery_lanes SET next_due_at = 'infinity'")
    customer_with(connection, mails)
    batch = claim(connection)
    assert batch is not None
    assert len(batch.mails) == mails
    return batch


def test_others_that_wait_cost_a_claim_nothing(connection: Connection) -> None:
    first = _claimed(connection, 3)
    connection.exec_driver_sql(_OTHERS, {"many": _MANY, "model": first.mails[0].id})
    before = _blocks(connection)
    _claimed(connection, 3)
    assert _blocks(connection) - before < 150


@pytest.mark.parametrize(("work", "most"), [(_stamp, 40), (_record, 120), (_release, 60), (_take_back, 200)])
def test_others_that_wait_cost_a_batch_nothing(
    connection: Connection, work: Callable[[Connection, claims.Batch], None], most: int
) -> None:
    """In blocks of a batch of three; the others fill more than a thousand."""
    first = _claimed(connection, 3)
    work(connection, first)
    connection.exec_driver_sql(_OTHERS, {"many": _MANY, "model": first.mails[0].id})

    batch = _claimed(connection, 3)
    before = _blocks(connection)
    work(connection, batch)
    assert _blocks(connection) - before < most
