"""Which servers are being connected to, and which of them make a sender wait."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 0.5  # seconds; a living server has mostly greeted and logged us in by then


class SetUps:
    """Connections that are being set up; thread-safe. clock is monotonic.

    A thread that waits for a dead server can do nothing else for up to two minutes. So no further thread is
    sent to a server that hangs, and those that wait are stood in for (F36).
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._begun: dict[int, tuple[int, float]] = {}  # thread -> server and time

    @contextlib.contextmanager
    def to(self, server_id: int) -> Iterator[None]:
        """Wrap the set-up of one connection."""
        thread = threading.get_ident()
        with self._lock:
            self._begun[thread] = (server_id, self._clock())
        try:
            yield
        finally:
            with self._lock:
                del self._begun[thread]

    def hanging(self) -> list[int]:
        """Return the server of every set-up that takes longer than `PATIENCE`."""
        limit = self._clock() - PATIENCE
        with self._lock:
            return [server_id for server_id, begun in self._begun.values() if begun < limit]
