"""A page of a list, and how many rows there are in all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, and the number of all that match."""

    items: tuple[T, ...]
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """Which part of a list is wanted: `limit` items after the first `offset`."""

    limit: int = 50
    offset: int = 0


def rows_and_total(connection: Connection, query: sa.Select[Any], part: Slice) -> tuple[list[Row[Any]], int]:
    """Run an ordered query for one part of it, and count all its rows."""
    rows = list(connection.execute(query.limit(part.limit).offset(part.offset)))
    if rows and len(rows) < part.limit:
        return rows, part.offset + len(rows)  # the end of the list is on this page: nothing to count
    counted = query.order_by(None).with_only_columns(sa.func.count(), maintain_column_froms=True)
    return rows, connection.execute(counted).scalar_one()
