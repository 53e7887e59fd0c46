"""Deleting what is old (`notifier maintain`), as the owner role, beside running workers.

Small batches, each a transaction of its own, so that no lock is held for long. A job event goes with its log rows,
and never while one of them is pending. Nothing here waits for a row: what others hold is left for the next time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection, Engine

ROWS = 500  # of one batch

Kind = Literal["job_events", "test_mails", "rejected_events", "api_tokens"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deleted:
    """How many rows went. `log_rows` are mails, test mails among them."""

    job_events: int = 0
    log_rows: int = 0
    rejected_events: int = 0
    api_tokens: int = 0


# A resend keeps its job event: what counts is the event's arrival and the last end of its mails. The lock on the event
# keeps a resend out, whose foreign key wants to lock it too.
_LOCK_EVENTS = """
SELECT j.id FROM job_events j
WHERE j.received_at < now() - %(days)s * interval '1 day' AND NOT EXISTS (
    SELECT FROM notification_events n WHERE n.job_event_id = j.id
        AND (n.status = 'pending' OR n.finished_at >= now() - %(days)s * interval '1 day'))
ORDER BY j.received_at LIMIT %(rows)s FOR UPDATE OF j SKIP LOCKED
"""

# A second look: a resend may have come between the two statements.
_DELETE_MAILS = """
DELETE FROM notification_events WHERE id IN (
    SELECT n.id FROM notification_events n WHERE n.job_event_id = ANY(%(ids)s) AND NOT EXISTS (
        SELECT FROM notification_events m WHERE m.job_event_id = n.job_event_id
            AND (m.status = 'pending' OR m.finished_at >= now() - %(days)s * interval '1 day'))
    FOR UPDATE OF n SKIP LOCKED)
"""

_DELETE_EVENTS = """
DELETE FROM job_events j WHERE j.id = ANY(%(ids)s)
    AND NOT EXISTS (SELECT FROM notification_events n WHERE n.job_event_id = j.id)
"""

_DELETE: dict[str, str] = {
    "test_mails": """
DELETE FROM notification_events WHERE id IN (
    SELECT id FROM notification_events
    WHERE event_type = 'test' AND finished_at < now() - %(days)s * interval '1 day'
        AND created_at < now() - %(days)s * interval '1 day'
    ORDER BY created_at LIMIT %(rows)s FOR UPDATE SKIP LOCKED)
""",
    "rejected_events": """
DELETE FROM rejected_events WHERE id IN (
    SELECT id FROM rejected_events WHERE received_at < now() - %(days)s * interval '1 day'
    ORDER BY received_at LIMIT %(rows)s FOR UPDATE SKIP LOCKED)
""",
    "api_tokens": """
DELETE FROM api_tokens WHERE id IN (
    SELECT id FROM api_tokens WHERE least(expires_at, revoked_at) < now() - %(days)s * interval '1 day'
    LIMIT %(rows)s FOR UPDATE SKIP LOCKED)
""",
}


def purge(
    engine: Engine, *, days: int, progress: Callable[[Deleted], None] = lambda _: None, rows: int = ROWS
) -> Deleted:
    """Delete what is older than `days`; returns how much that was. `progress` gets the sum after each batch.

    Every batch is a transaction, so it may be stopped at any moment and run again.
    """
    total = Deleted()
    for kind in KINDS:
        found = rows
        while found >= rows:
            with engine.begin() as connection:
                found, batch = delete_batch(connection, kind, days=days, rows=rows)
            total = replace(
                total,
                job_events=total.job_events + batch.job_events,
                log_rows=total.log_rows + batch.log_rows,
                rejected_events=total.rejected_events + batch.rejected_events,
                api_tokens=total.api_tokens + batch.api_tokens,
            )
            progress(total)
    return total


def delete_batch(connection: Connection, kind: Kind, *, days: int, rows: int = ROWS) -> tuple[int, Deleted]:
    """Delete one batch; returns how many rows it looked at (fewer than `rows`: nothing is left), and what went."""
    parameters = {"days": days, "rows": rows}
    if kind == "job_events":
        return _delete_job_events(connection, parameters)
    gone = connection.exec_driver_sql(_DELETE[kind], parameters).rowcount
    return gone, replace(Deleted(), **{"log_rows" if kind == "test_mails" else kind: gone})


def _delete_job_events(connection: Connection, parameters: dict[str, int]) -> tuple[int, Deleted]:
    ids = list(connection.exec_driver_sql(_LOCK_EVENTS, parameters).scalars())
    mails = connection.exec_driver_sql(_DELETE_MAILS, {"ids": ids, **parameters}).rowcount
    events = connection.exec_driver_sql(_DELETE_EVENTS, {"ids": ids}).rowcount
    return len(ids), Deleted(job_events=events, log_rows=mails)
