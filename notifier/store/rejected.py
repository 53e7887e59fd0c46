"""Broker messages that could not be accepted, as people see them (`inbox.reject` writes them)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import sqlalchemy as sa

from notifier.domain.errors import NotFound
from notifier.store.pages import Page, Slice, rows_and_total
from notifier.store.tables import rejected_events as rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from notifier.domain.vocabulary import RejectionReason


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """A row of rejected_events. `body_head` is the masked beginning of the body."""

    id: int
    received_at: datetime
    reason: RejectionReason
    detail: str
    event_id: str | None
    body_sha256: bytes
    body_head: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectedFilter:
    """Which rejections. What is None does not limit; `since` (inclusive), `until` are about received_at."""

    reason: RejectionReason | None = None
    event_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """Yield the WHERE conditions."""
        if self.reason is not None:
            yield rejected.c.reason == self.reason
        if self.event_id is not None:
            yield rejected.c.event_id == self.event_id
        if self.since is not None:
            yield rejected.c.received_at >= self.since
        if self.until is not None:
            yield rejected.c.received_at < self.until


_ROWS = sa.select(*(rejected.c[f.name] for f in fields(Rejected)))


def find(
    connection: Connection,
    wanted: RejectedFilter,
    *,
    part: Slice = Slice(),  # noqa: B008 - frozen
) -> Page[Rejected]:
    """Return one page of the rejections that match, newest first."""
    query = _ROWS.where(*wanted.conditions()).order_by(rejected.c.received_at.desc(), rejected.c.id.desc())
    rows, total = rows_and_total(connection, query, part)
    return Page(items=tuple(_rejected(row) for row in rows), total=total)


def get(connection: Connection, rejected_id: int) -> Rejected:
    """Return one rejection. Raises NotFound."""
    row = connection.execute(_ROWS.where(rejected.c.id == rejected_id)).one_or_none()
    if row is None:
        msg = f"there is no rejected event {rejected_id}"
        raise NotFound(msg)
    return _rejected(row)


def by_body(connection: Connection, hashes: Iterable[bytes]) -> dict[bytes, Rejected]:
    """Return the latest rejection of each of these bodies (their SHA-256): joins them with the dead letters."""
    known = sa.literal(list(set(hashes)), sa.ARRAY(sa.LargeBinary))
    query = _ROWS.where(rejected.c.body_sha256 == sa.any_(known)).order_by(rejected.c.id)
    found = (_rejected(row) for row in connection.execute(query))
    return {one.body_sha256: one for one in found}


def _rejected(row: sa.Row[tuple[object, ...]]) -> Rejected:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    binary = {name: bytes(values[name]) for name in ("body_sha256", "body_head")}
    return Rejected(**values | binary)
