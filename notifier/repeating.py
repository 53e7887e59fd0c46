"""A thread that does its tasks again and again, whatever becomes of a single round."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from notifier.domain.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

POLL = 1.0  # seconds between two looks at what is due

_log = structlog.get_logger(__name__)


class Repeating:
    """Does each of `tasks`, (seconds, task), again so long after its end, until `stopping`; all of them at the start.

    clock is monotonic. on_database_fault is told why a task could not be done, at_end called when the thread ends.
    """

    def __init__(
        self,
        name: str,
        tasks: Sequence[tuple[float, Callable[[], None]]],
        *,
        clock: Callable[[], float],
        stopping: threading.Event,
        on_database_fault: Callable[[str], None] = lambda _fault: None,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._tasks = tasks
        self._clock = clock
        self._stopping = stopping
        self._on_database_fault = on_database_fault
        self._at_end = at_end
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        due = [self._clock()] * len(self._tasks)
        while not self._stopping.is_set():
            for number, (interval, task) in enumerate(self._tasks):
                if self._clock() >= due[number]:
                    self.attempt(task)
                    due[number] = self._clock() + interval
            self._stopping.wait(POLL)
        self._at_end()

    def attempt(self, task: Callable[[], None]) -> None:
        """Do a task once, now; a fault is logged."""
        try:
            task()
        except DatabaseUnavailable as exc:
            _log.warning("task_failed", thread=self._thread.name, task=task.__name__, error=str(exc))
            self._on_database_fault(str(exc))
        except Exception:  # noqa: BLE001 - the next round may do better
            _log.exception("task_fault", thread=self._thread.name, task=task.__name__)
