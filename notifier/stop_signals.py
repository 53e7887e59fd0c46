"""SIGTERM and SIGINT become calls in a thread of their own.

Python runs a signal's handler in the main thread, between any two of its instructions, also while it holds a lock. A
handler that logs or sets an event may need that same lock and wait for ever. So the handler only puts the number on a
queue that allows it.
"""

from __future__ import annotations

import signal
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While the block lasts, the first signal calls `on_stop` with its number and each further one `on_repeat`.

    Only the main thread may enter and leave.
    """

    def __init__(self, *, on_stop: Callable[[int], None], on_repeat: Callable[[], None]) -> None:
        self._on_stop = on_stop
        self._on_repeat = on_repeat
        self._came: SimpleQueue[int | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._came.put(None)
        self._thread.join()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._came.put(number)

    def _run(self) -> None:
        first = True
        while (number := self._came.get()) is not None:
            if first:
                self._on_stop(number)
                first = False
            else:
                self._on_repeat()
