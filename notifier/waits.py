"""What sender threads wait for: which servers do not let themselves be connected to, how many threads hang."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SET_UP = 0.5  # seconds; a living server has mostly greeted and logged us in by then
ANSWER = 5.0  # seconds; a living server has mostly taken a mail by then


class Waits:
    """Threads that wait for servers; thread-safe. clock is monotonic.

    A thread that waits for a dead server can do nothing else for minutes. So those that wait are stood in for, and no
    further thread is sent to a server that hangs while a connection is set up (F36). One that hangs in the middle of a
    mail may be busy with that mail alone, and is sent others.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[float, int | None]] = {}  # thread -> when it hangs, at which set-up

    @contextlib.contextmanager
    def set_up(self, server_id: int) -> Iterator[None]:
        """Wrap the set-up of one connection."""
        self._begin(SET_UP, server_id)
        try:
            yield
        finally:
            self._end()

    @contextlib.contextmanager
    def answer(self) -> Iterator[None]:
        """Wrap whatever else a server or the database may leave unanswered: a mail, the writing of results."""
        self._begin(ANSWER, None)
        try:
            yield
        finally:
            self._end()

    def _begin(self, patience: float, server_id: int | None) -> None:
        with self._lock:
            self._waiting[threading.get_ident()] = (self._clock() + patience, server_id)

    def _end(self) -> None:
        with self._lock:
            del self._waiting[threading.get_ident()]

    def unreachable(self) -> list[int]:
        """Return the server of every set-up that takes longer than `SET_UP`."""
        now = self._clock()
        with self._lock:
            return [server for ends, server in self._waiting.values() if server is not None and ends < now]

    def hanging(self) -> int:
        """Return how many threads wait for longer than is usual."""
        now = self._clock()
        with self._lock:
            return sum(ends < now for ends, _ in self._waiting.values())
