"""When a worker counts the dead letters: each count is a connection of its own to the broker."""

from __future__ import annotations


class DeadLetterWatch:
    """Counts are due once in `interval` seconds, and in two rounds after a rejection by this process.

    Two, because the broker's own count may lack the last seconds.
    """

    def __init__(self, *, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._known = (0, 0)  # rejections as of the last two rounds, the older first

    def due(self, *, rejections: int, now: float) -> bool:
        """Say whether to count in this round. `rejections` only grows; `now` is monotonic and in seconds."""
        older, newer = self._known
        self._known = (newer, rejections)
        if rejections == older and now < self._next:
            return False
        self._next = now + self._interval
        return True
