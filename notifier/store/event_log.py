"""The event log as people see it: find rows, look at one with all that explains it.

What changes rows on a person's behalf is in `log_changes`; what the worker does is in `claims` and `sweep`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from notifier.domain.errors import NotFound
from notifier.store import job_events
from notifier.store.log_filters import LogFilter, Ordering
from notifier.store.pages import Page, Slice, rows_and_total
from notifier.store.tables import customers, delivery_lanes, smtp_breakers
from notifier.store.tables import notification_events as log

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from notifier.domain.vocabulary import FailureReason, MailType, Rule, Status

__all__ = [
    "Breaker",
    "Detail",
    "LogFilter",
    "LogRow",
    "Ordering",
    "count",
    "find",
    "get",
    "matching_ids",
    "show",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class LogRow:
    """One mail (a row of notification_events; the columns' comments in schema.sql say what they mean)."""

    id: int
    job_event_id: int | None
    customer_id: int
    customer_name: str
    user_id: int | None
    recipient_email: str
    event_type: MailType
    rule: Rule | None
    subject: str
    status: Status
    error_message: str | None
    failure_reason: FailureReason | None
    job_id: int | None
    compliance_result_id: int | None
    message_id: str
    attempts: int
    next_attempt_at: datetime
    expires_at: datetime
    ambiguous_count: int
    smtp_code: int | None
    smtp_enhanced_code: str | None
    smtp_response: str | None
    generation: int
    resent_by: str | None
    trace_id: str | None
    created_at: datetime
    sent_at: datetime | None
    finished_at: datetime | None
    server_id: int | None
    note: str | None
    in_flight: bool
    locked_by: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Breaker:
    """The state of the customer's mail server now. open_until is None unless it is in the future."""

    server_id: int
    open_until: datetime | None
    trips: int
    proven: bool
    last_error: str | None
    last_fault_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Detail:
    """One mail with its job event (None for a test mail), its other generations and its server's breaker."""

    row: LogRow
    job_event: job_events.StoredEvent | None
    generations: tuple[LogRow, ...]
    breaker: Breaker | None


_COMPUTED = {
    "customer_name": customers.c.name.label("customer_name"),
    "in_flight": log.c.lock_token.is_not(None).label("in_flight"),
}
_COLUMNS: list[sa.ColumnElement[Any]] = [
    _COMPUTED[f.name] if f.name in _COMPUTED else log.c[f.name] for f in fields(LogRow)
]
_ROWS: sa.Select[Any] = sa.select(*_COLUMNS).join_from(log, customers, customers.c.id == log.c.customer_id)


def _log_row(row: sa.Row[Any]) -> LogRow:
    return LogRow(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def find(
    connection: Connection,
    wanted: LogFilter,
    *,
    ordering: Ordering = "-created_at",
    part: Slice = Slice(),  # noqa: B008 - frozen
) -> Page[LogRow]:
    """Return one page of the rows that match, and the number of them all."""
    query = _ROWS.where(*wanted.conditions()).order_by(*wanted.order(ordering))
    rows, total = rows_and_total(connection, query, part)
    return Page(items=tuple(_log_row(row) for row in rows), total=total)


def count(connection: Connection, wanted: LogFilter) -> int:
    """Return how many rows match."""
    return connection.execute(
        sa.select(sa.func.count()).select_from(log).where(*wanted.conditions())
    ).scalar_one()


def matching_ids(connection: Connection, wanted: LogFilter) -> list[int]:
    """Return the ids that match, oldest first: what a resend or a cancellation by filter is about."""
    query = sa.select(log.c.id).where(*wanted.conditions()).order_by(log.c.id)
    return list(connection.execute(query).scalars())


def get(connection: Connection, row_id: int, *, customer_ids: tuple[int, ...] | None = None) -> LogRow:
    """Return one row, of these customers if given. Raises NotFound."""
    wanted = LogFilter(ids=(row_id,), customer_ids=customer_ids)
    row = connection.execute(_ROWS.where(*wanted.conditions())).one_or_none()
    if row is None:
        msg = f"there is no mail {row_id} in the event log; notifier events list shows what there is"
        raise NotFound(msg)
    return _log_row(row)


def show(connection: Connection, row_id: int, *, customer_ids: tuple[int, ...] | None = None) -> Detail:
    """Return one row with everything that explains it. Raises NotFound."""
    row = get(connection, row_id, customer_ids=customer_ids)
    event = None if row.job_event_id is None else job_events.get(connection, row.job_event_id)
    return Detail(
        row=row,
        job_event=event,
        generations=_generations(connection, row),
        breaker=_breaker(connection, row.customer_id),
    )


def _generations(connection: Connection, row: LogRow) -> tuple[LogRow, ...]:
    if row.job_event_id is None:
        return ()
    key = sa.select(log.c.recipient_key).where(log.c.id == row.id).scalar_subquery()
    query = _ROWS.where(log.c.job_event_id == row.job_event_id, log.c.recipient_key == key)
    others = connection.execute(query.where(log.c.id != row.id).order_by(log.c.generation))
    return tuple(_log_row(other) for other in others)


def _breaker(connection: Connection, customer_id: int) -> Breaker | None:
    state = smtp_breakers.c
    query = (
        sa.select(
            state.server_id,
            sa.case((state.open_until > sa.func.now(), state.open_until)).label("open_until"),
            state.trips,
            state.proven,
            state.last_error,
            state.last_fault_at,
        )
        .join(delivery_lanes, delivery_lanes.c.server_id == state.server_id)
        .where(delivery_lanes.c.customer_id == customer_id)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Breaker(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
