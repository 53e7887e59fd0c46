"""The safety net of one process: wakes senders, takes back lost rows, ends expired ones, measures what waits."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from notifier.dead_letter_watch import DeadLetterWatch
from notifier.domain.errors import DatabaseUnavailable
from notifier.store import sweep
from notifier.store.engine import OwnConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from notifier.domain.outcomes import RetryPolicy
    from notifier.metrics import Metrics
    from notifier.smtp.pool import Pool
    from notifier.vitals import Vitals

POLL = 1.0  # seconds: the longest a due mail waits for a sender that nobody woke

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounds:
    """Seconds between two rounds of each task."""

    # And up to a POLL later: lost mails go on within 5 s of the end of their lease, or of their worker's silence.
    take_back: float = 4.0  # F7
    expire: float = 10.0
    tell_held: float = 10.0
    lanes: float = 60.0
    measure: float = 5.0
    dead_letters: float = 5.0
    dead_letters_unasked: float = 60.0  # where this process rejected nothing


class Sweeper:
    """One thread per process; several processes share the work, because every task skips locked rows.

    look_after_senders is called once a second. count_dead_letters may return None when the broker cannot say.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        policy: RetryPolicy,
        pool: Pool,
        look_after_senders: Callable[[], None],
        count_dead_letters: Callable[[], int | None],
        vitals: Vitals,
        metrics: Metrics,
        clock: Callable[[], float],
        stopping: threading.Event,
        rounds: Rounds | None = None,
    ) -> None:
        self._database = OwnConnection(engine)
        self._policy = policy
        self._pool = pool
        self._look_after_senders = look_after_senders
        self._count_dead_letters = count_dead_letters
        self._vitals = vitals
        self._metrics = metrics
        self._clock = clock
        self._stopping = stopping
        self._dead_letters: int | None = None
        rounds = rounds or Rounds()
        self._letter_watch = DeadLetterWatch(interval=rounds.dead_letters_unasked)
        self._tasks: list[tuple[float, Callable[[], None]]] = [
            (rounds.take_back, self._take_back),
            (rounds.expire, self._expire),
            (rounds.tell_held, self._tell_held),
            (rounds.lanes, self._repair_lanes),
            (rounds.dead_letters, self._look_at_dead_letters),
            (rounds.measure, self._measure),
        ]
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Look once, so that the worker knows whether it is ready before anybody asks, and start the thread."""
        self._attempt(self._measure)
        self._thread.start()

    def _run(self) -> None:
        due = [self._clock()] * len(self._tasks)
        while not self._stopping.is_set():
            for number, (interval, task) in enumerate(self._tasks):
                if self._clock() >= due[number]:
                    self._attempt(task)
                    due[number] = self._clock() + interval
            self._pool.close_idle()
            self._look_after_senders()
            self._stopping.wait(POLL)
        self._database.close()

    def _attempt(self, task: Callable[[], None]) -> None:
        try:
            task()
        except DatabaseUnavailable as exc:
            _log.warning("sweep_failed", task=task.__name__, error=str(exc))
            self._vitals.check_failed(str(exc))
        except Exception:  # noqa: BLE001 - the net must not tear because of one round
            _log.exception("sweep_fault", task=task.__name__)

    def _take_back(self) -> None:
        policy = self._policy
        found = self._database.run(
            sweep.take_back,
            max_attempts=policy.max_attempts,
            max_ambiguous=policy.max_ambiguous,
            ambiguous_delay=policy.ambiguous_delay,
            fail_ambiguous=policy.on_ambiguous == "fail",
        )
        if found.unsent or found.ambiguous:
            self._metrics.ambiguous_found(found.ambiguous)
            for reason, count in found.failed.items():
                self._metrics.mail_failed(reason, count)
            _log.warning(
                "mails_taken_back", unsent=found.unsent, ambiguous=found.ambiguous, failed=dict(found.failed)
            )

    def _expire(self) -> None:
        for reason in self._database.run(sweep.expire):
            self._metrics.mail_failed(reason)
            _log.warning("mail_expired", failure_reason=reason)

    def _tell_held(self) -> None:
        self._database.run(sweep.tell_held)

    def _repair_lanes(self) -> None:
        repaired = self._database.run(sweep.repair_lanes)
        if repaired:
            _log.warning("lanes_repaired", lanes=repaired)

    def _look_at_dead_letters(self) -> None:
        if not self._letter_watch.due(rejections=self._metrics.rejections, now=self._clock()):
            return
        self._dead_letters = self._count_dead_letters()
        if self._dead_letters is not None:
            self._metrics.dead_letters(self._dead_letters)

    def _measure(self) -> None:
        backlog = self._database.run(sweep.backlog)
        self._metrics.backlog(backlog)
        self._vitals.checked(backlog=backlog, dead_letters=self._dead_letters)
