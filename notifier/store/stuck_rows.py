"""Changes many rows at a time although some of them may refuse: these are found by halves, and left out for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from notifier.domain.errors import DatabaseUnavailable, DataRejected
from notifier.store.engine import about_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

STUCK_SECONDS = 600.0

_ROWS = 500
_MOST_FAULTS = 64  # of one call; where every row is stuck, finding out takes one or two faults for each

T = TypeVar("T")


class StuckRows:
    """Rows that could not be updated, left out for ten minutes so that they hold up no others.

    clock is monotonic; tell gets the id and the reason of each, whenever it turns out to be stuck.
    """

    def __init__(self, *, clock: Callable[[], float], tell: Callable[[int, str], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._until: dict[int, float] = {}

    def add(self, row_id: int, reason: str) -> None:
        """Leave a row out from now on."""
        self._until[row_id] = self._clock() + STUCK_SECONDS
        self._tell(row_id, reason)

    def ids(self) -> list[int]:
        """Return what is left out now."""
        now = self._clock()
        self._until = {row_id: until for row_id, until in self._until.items() if until > now}
        return list(self._until)


def change_found(
    connection: Connection, wanted: str, change: Callable[[list[int]], T], stuck: StuckRows
) -> list[T]:
    """Change the rows that the query `wanted` finds; returns what `change` returned for each part of them.

    The query gives ids: at most `rows` of them, and none of the array `stuck`.
    They are one part, unless some cannot be changed: then ever smaller ones, and whatever fails alone is stuck.
    """
    rows = connection.exec_driver_sql(wanted, {"rows": _ROWS, "stuck": stuck.ids()})
    ids: list[int] = list(rows.scalars())
    parts = [ids] if ids else []
    done: list[T] = []
    faults = 0
    while parts and faults < _MOST_FAULTS:
        part = parts.pop()
        try:
            done.append(change(part))
        except (DatabaseUnavailable, DataRejected) as fault:
            if not about_rows(fault):
                raise
            faults += 1
            if len(part) == 1:
                stuck.add(part[0], str(fault))
            else:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
    return done
