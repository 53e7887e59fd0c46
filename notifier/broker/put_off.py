"""Messages whose customer cannot be written for now: they wait, unsettled, and hold up no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.broker.messages import Settle
from notifier.domain.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifier.broker.link import Held

PAUSE = 5.0  # seconds until a message that was put off is handed over again
MOST = 500  # such messages at a time; more of them are an outage


class PutOff:
    """The messages of one connection that were put off; clock is monotonic.

    They count in the prefetch of the subscription that brought them, but not in that of the next one.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: dict[int, tuple[float, Held]] = {}  # delivery tag -> when it is handed over again
        self._in_prefetch: set[int] = set()

    def due(self, most: int) -> list[Held]:
        """Return what is to be handed over again now, at most so many."""
        now = self._clock()
        return [one for due, one in self._waiting.values() if due <= now][:most]

    def handled(self, batch: Sequence[Held], verdicts: Sequence[Settle]) -> None:
        """Keep what of a batch was put off, and nothing else of it.

        Raises DatabaseUnavailable when that are too many.
        """
        due = self._clock() + PAUSE
        for one, verdict in zip(batch, verdicts, strict=True):
            known = self._waiting.pop(one.tag, None) is not None
            if verdict is not Settle.LATER:
                self._in_prefetch.discard(one.tag)
                continue
            self._waiting[one.tag] = (due, one)
            if not known:
                self._in_prefetch.add(one.tag)
        if len(self._waiting) > MOST:
            raise DatabaseUnavailable(f"database: {len(self._waiting)} events cannot be written")

    def crowds(self, prefetch: int) -> bool:
        """Tell whether they leave others less than half of the prefetch."""
        return 2 * len(self._in_prefetch) >= prefetch

    def subscribed(self) -> None:
        """A new subscription has begun, none of which they take."""
        self._in_prefetch.clear()
