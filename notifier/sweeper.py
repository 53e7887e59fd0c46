"""The safety net of one process: wakes senders, takes back lost rows, ends expired ones, measures what waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from notifier.repeating import Repeating
from notifier.store import sweep
from notifier.store.engine import OwnConnection
from notifier.store.stuck_rows import StuckRows

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from notifier.domain.outcomes import RetryPolicy
    from notifier.metrics import Metrics
    from notifier.vitals import Vitals

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounds:
    """Seconds between two rounds of each task."""

    look_after_senders: float = 0.0  # each second: the longest a due mail waits for a sender that nobody woke
    # And up to a second later: lost mails go on within 5 s of the end of their lease, or of their worker's silence.
    take_back: float = 4.0  # F7
    expire: float = 10.0
    tell_held: float = 10.0
    lanes: float = 60.0
    measure: float = 5.0


class Sweeper:
    """One thread per process; several processes share the work, because every task skips locked rows.

    look_after_senders is called once a second.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        policy: RetryPolicy,
        look_after_senders: Callable[[], None],
        vitals: Vitals,
        metrics: Metrics,
        clock: Callable[[], float],
        stopping: threading.Event,
        rounds: Rounds | None = None,
    ) -> None:
        self._database = OwnConnection(engine)
        self._policy = policy
        self._vitals = vitals
        self._metrics = metrics
        self._stuck = StuckRows(
            clock=clock, tell=lambda row_id, error: _log.error("mail_stuck", mail_id=row_id, error=error)
        )
        rounds = rounds or Rounds()
        tasks: list[tuple[float, Callable[[], None]]] = [
            (rounds.look_after_senders, look_after_senders),
            (rounds.take_back, self._take_back),
            (rounds.expire, self._expire),
            (rounds.tell_held, self._tell_held),
            (rounds.lanes, self._repair_lanes),
            (rounds.measure, self._measure),
        ]
        self._thread = Repeating(
            "sweeper",
            tasks,
            clock=clock,
            stopping=stopping,
            on_database_fault=vitals.check_failed,
            at_end=self._database.close,
        )

    def start(self) -> None:
        """Look once, so that the worker knows whether it is ready before anybody asks, and start the thread."""
        self._thread.attempt(self._measure)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.alive

    def _take_back(self) -> None:
        policy = self._policy
        found = self._database.run(
            sweep.take_back,
            max_attempts=policy.max_attempts,
            max_ambiguous=policy.max_ambiguous,
            ambiguous_delay=policy.ambiguous_delay,
            fail_ambiguous=policy.on_ambiguous == "fail",
            stuck=self._stuck,
        )
        if found.unsent or found.ambiguous:
            self._metrics.ambiguous_found(found.ambiguous)
            for reason, count in found.failed.items():
                self._metrics.mail_failed(reason, count)
            _log.warning(
                "mails_taken_back", unsent=found.unsent, ambiguous=found.ambiguous, failed=dict(found.failed)
            )

    def _expire(self) -> None:
        for reason in self._database.run(sweep.expire, stuck=self._stuck):
            self._metrics.mail_failed(reason)
            _log.warning("mail_expired", failure_reason=reason)

    def _tell_held(self) -> None:
        self._database.run(sweep.tell_held, stuck=self._stuck)

    def _repair_lanes(self) -> None:
        repaired = self._database.run(sweep.repair_lanes)
        if repaired:
            _log.warning("lanes_repaired", lanes=repaired)

    def _measure(self) -> None:
        backlog = self._database.run(sweep.backlog)
        self._metrics.backlog(backlog)
        self._vitals.checked(backlog=backlog)
