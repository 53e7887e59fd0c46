"""Waiting longer after each failure, with full jitter so that replicas do not return in step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Backoff:
    """Delays in seconds: chance() times 1, 2, 4 ... `cap`. `chance` returns a number in [0, 1)."""

    def __init__(self, *, cap: float, chance: Callable[[], float]) -> None:
        self._cap = cap
        self._chance = chance
        self.failures = 0

    def next(self) -> float:
        """Count one more failure and return the delay that follows it."""
        ceiling = min(self._cap, 2.0 ** min(self.failures, 30))
        self.failures += 1
        return self._chance() * ceiling

    def reset(self) -> None:
        """The next delay is a first one again."""
        self.failures = 0
