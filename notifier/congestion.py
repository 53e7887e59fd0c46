"""Whether the threads of this process already queue for the interpreter: one more would only queue, too."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CROWDED = 0.0002  # seconds without the lock, of which the pause is half: two or three other threads compute
_PAUSE = 0.000_01  # seconds; the kernel makes a tenth of a millisecond of it
_LONGEST = 0.005  # the interpreter's switch interval; what is longer is the machine's doing, and rare
# Seconds after which a sample says nothing more: whoever took it may be waiting for a slow server.
_FRESH = 0.1
_WEIGHT = 0.2  # of the newest sample in the running mean


def _let_go() -> None:
    # Gives the interpreter's lock away for so long that another thread can take it. Not time.sleep, which waits for a
    # time of the clock: clocks may jump.
    select.select((), (), (), _PAUSE)


class Congestion:
    """A running mean of how long a thread waits for the interpreter. Threads may share it; a lost sample is no loss.

    clock is monotonic.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, let_go: Callable[[], None] = _let_go
    ) -> None:
        self._clock = clock
        self._let_go = let_go
        self._waiting = 0.0
        self._sampled = float("-inf")

    @property
    def crowded(self) -> bool:
        """Whether the samples of late say so; False when there are none."""
        return self._waiting > CROWDED and self._clock() - self._sampled < _FRESH

    def give_way(self) -> None:
        """Let a thread that was just woken have the interpreter first."""
        self._let_go()

    def sample(self) -> None:
        """Queue once, and remember how long it took."""
        began = self._clock()
        self._let_go()
        self._sampled = self._clock()
        waited = min(self._sampled - began, _LONGEST)
        self._waiting += _WEIGHT * (waited - self._waiting)
