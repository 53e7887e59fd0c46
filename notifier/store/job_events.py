"""The inbox as people see it: which job events came, and who was chosen for them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from notifier.domain.errors import NotFound
from notifier.store.pages import Page, Slice, rows_and_total
from notifier.store.tables import job_events as inbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from notifier.domain.vocabulary import InboxOutcome


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEvent:
    """One job event. `document` is the CloudEvent, secrets masked; `decisions` as in docs/contract.md."""

    id: int
    customer_id: int
    source: str
    event_id: str
    event_type: str
    occurred_at: datetime | None
    received_at: datetime
    outcome: InboxOutcome
    decisions: dict[str, Any]
    document: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class EventSummary:
    """One line of a list of job events. `job_id` as in the event log, None without a job."""

    id: int
    customer_id: int
    source: str
    event_id: str
    event_type: str
    job_id: int | None
    occurred_at: datetime | None
    received_at: datetime
    outcome: InboxOutcome


@dataclass(frozen=True, kw_only=True, slots=True)
class EventFilter:
    """Which job events. What is None does not limit; `since` (inclusive), `until` are about received_at."""

    customer_ids: tuple[int, ...] | None = None
    event_id: str | None = None
    event_type: str | None = None
    job_id: int | None = None
    outcome: InboxOutcome | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """Yield the WHERE conditions."""
        if self.customer_ids is not None:
            yield inbox.c.customer_id == sa.any_(sa.literal(list(self.customer_ids), sa.ARRAY(sa.BigInteger)))
        equal = {
            inbox.c.event_id: self.event_id,
            inbox.c.event_type: self.event_type,
            inbox.c.job_id: self.job_id,
            inbox.c.outcome: self.outcome,
        }
        yield from (column == value for column, value in equal.items() if value is not None)
        if self.since is not None:
            yield inbox.c.received_at >= self.since
        if self.until is not None:
            yield inbox.c.received_at < self.until


_DETAIL = sa.select(
    *(inbox.c[f.name] for f in fields(StoredEvent) if f.name != "document"), inbox.c.payload.label("document")
)
_SUMMARY = sa.select(*(inbox.c[f.name] for f in fields(EventSummary)))


def get(
    connection: Connection, job_event_id: int, *, customer_ids: tuple[int, ...] | None = None
) -> StoredEvent:
    """Return one job event with its document, of these customers if given. Raises NotFound."""
    limits = EventFilter(customer_ids=customer_ids).conditions()
    row = connection.execute(_DETAIL.where(inbox.c.id == job_event_id, *limits)).one_or_none()
    if row is None:
        msg = f"there is no job event {job_event_id} in the inbox"
        raise NotFound(msg)
    return StoredEvent(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def find(
    connection: Connection,
    wanted: EventFilter,
    *,
    part: Slice = Slice(),  # noqa: B008 - frozen
) -> Page[EventSummary]:
    """Return one page of the job events that match, newest first."""
    query = _SUMMARY.where(*wanted.conditions()).order_by(inbox.c.received_at.desc(), inbox.c.id.desc())
    rows, total = rows_and_total(connection, query, part)
    items = tuple(EventSummary(**row._mapping) for row in rows)  # noqa: SLF001 - SQLAlchemy's public name
    return Page(items=items, total=total)
