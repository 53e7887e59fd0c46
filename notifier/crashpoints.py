"""Places where the process kills itself, for tests of what survives (`NOTIFIER_CRASHPOINT`).

after_claim, after_stamp, after_dot, after_250   on the way of a mail
after_commit                                     intake: rows committed, broker message not yet acked
on_event:<id>                                    intake: when the event with this id is met
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from notifier.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE = "NOTIFIER_CRASHPOINT"
PLACES = ("after_claim", "after_stamp", "after_dot", "after_250", "after_commit")
_ON_EVENT = "on_event:"


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Crashpoint:
    """The one place this process was told to die at; normally none.

    Raises ConfigurationError for a place that does not exist.
    """

    def __init__(self, place: str | None = None, *, die: Callable[[], None] = _die) -> None:
        if place and place not in PLACES and not place.startswith(_ON_EVENT):
            choices = ", ".join((*PLACES, f"{_ON_EVENT}<id>"))
            raise ConfigurationError([f"{VARIABLE}: {place!r} is no crash point; choose one of {choices}"])
        self.place = place or None
        self._die = die

    def at(self, place: str) -> None:
        """Die if this is the place."""
        if place == self.place:
            self._die()

    def on_event(self, event_id: str) -> None:
        """Die if this is the event."""
        if self.place == f"{_ON_EVENT}{event_id}":
            self._die()
