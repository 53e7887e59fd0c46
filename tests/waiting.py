"""Wait for a condition with a deadline; no test sleeps for a guessed time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], T], timeout: float = 30.0, what: str = "the condition") -> T:
    """Ask `condition` until its answer is true, and return that answer.

    Raises AssertionError saying what was awaited, how long, and the last answer or error.
    """
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            answer = condition()
            if answer:
                return answer
            last = answer
        except (AssertionError, OSError) as error:  # not there yet, as long as there is time
            last = error
        if time.monotonic() >= deadline:
            msg = f"waited {timeout:g} s for {what}; the last answer was {last!r}"
            raise AssertionError(msg)
        time.sleep(_POLL_SECONDS)  # the one place where tests wait for a condition


def wait_out(seconds: float, what: str) -> None:
    """Let so much time pass because the fault lasts so long, or because nothing may happen meanwhile."""
    ends = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= ends, seconds + 5, what)
