"""Says every few seconds that this process lives, so that nobody waits for what a dead one had in hand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from notifier.domain.errors import DatabaseUnavailable
from notifier.store import claims
from notifier.store.engine import OwnConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from sqlalchemy.engine import Engine

BEAT = 5.0  # seconds; after 30 of silence others take the process for dead

_log = structlog.get_logger(__name__)


class Pulse:
    """A thread of its own: nothing else may make it late. It beats until `end`, through the drain.

    in_hand returns the tokens of the batches being claimed or delivered.
    """

    def __init__(self, *, engine: Engine, in_hand: Callable[[], Sequence[UUID]], beat: float = BEAT) -> None:
        self._database = OwnConnection(engine)
        self._in_hand = in_hand
        self._beat = beat
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Let the thread end after the beat it is at."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._beat):
            tokens = self._in_hand()
            if not tokens:
                continue
            try:
                self._database.run(claims.keep, tokens)
            except DatabaseUnavailable as exc:
                _log.warning("pulse_missed", error=str(exc))
            except Exception:  # noqa: BLE001 - one beat may be missed, all of them not
                _log.exception("pulse_fault")
        self._database.close()
