"""What the worker knows about its health: written by its threads, read by the health pages and sd_notify."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.domain.backlog import Backlog
    from notifier.metrics import ConsumerStateName

LIVE_LIMIT = 60.0  # seconds without a tick of the main loop; one intake transaction may take 30 (F39)
LONGEST_FAULT = 300  # characters of it that the pages show
CHECK_LIMIT = 30.0  # seconds after which a background check says nothing any more


@dataclass(frozen=True, kw_only=True, slots=True)
class _Facts:
    ticked: float
    consumer: ConsumerStateName = "connecting"
    consumer_fault: str | None = None
    draining: bool = False
    checked: float | None = None
    database_fault: str | None = None
    backlog: Backlog | None = None
    dead_letters: int | None = None
    dead_thread: str | None = None


class Vitals:
    """The health of one process; every method may be called from any thread and none does I/O.

    `clock` is monotonic and in seconds. Liveness is the age of the main loop's last tick, which it tells as long as
    every thread lives, and nothing else, so that an outage of broker or database restarts no worker. Readiness is read
    from the last background check.
    `clean` takes secrets and addresses out of the words of a fault.
    """

    def __init__(
        self, *, version: str, clock: Callable[[], float], clean: Callable[[str], str] = lambda text: text
    ) -> None:
        self.version = version
        self.clean = clean
        self._clock = clock
        self._started = clock()
        self._lock = Lock()
        self._facts = _Facts(ticked=self._started)

    def _set(self, **changes: object) -> None:
        with self._lock:
            self._facts = replace(self._facts, **changes)  # type: ignore[arg-type]

    def tick(self) -> None:
        """The main loop went round once more."""
        self._set(ticked=self._clock())

    def consumer_is(self, state: ConsumerStateName) -> None:
        """The broker consumer changed its state."""
        if state == "consuming":
            self._set(consumer=state, consumer_fault=None)
        else:
            self._set(consumer=state)

    def consumer_failed(self, fault: str) -> None:
        """This keeps the consumer from consuming."""
        self._set(consumer_fault=self._told(fault))

    def drain(self) -> None:
        """The worker stops: it is not ready from now on."""
        self._set(draining=True)

    def checked(self, *, backlog: Backlog) -> None:
        """A background check found the database at work."""
        self._set(checked=self._clock(), database_fault=None, backlog=backlog)

    def check_failed(self, fault: str) -> None:
        """A background check met this fault of the database."""
        self._set(checked=self._clock(), database_fault=self._told(fault), backlog=None)

    def dead_letters_are(self, count: int | None) -> None:
        """So many messages wait in the dead-letter queue; None when the broker could not say."""
        self._set(dead_letters=count)

    def died(self, thread: str) -> None:
        """This thread of the worker ended, which no thread should before the drain."""
        self._set(dead_thread=thread)

    def _told(self, fault: str) -> str:
        return " ".join(self.clean(fault).split())[:LONGEST_FAULT]

    def live(self) -> bool:
        """Say whether the main loop still goes round."""
        return self._clock() - self._facts.ticked <= LIVE_LIMIT

    def obstacles(self) -> list[str]:
        """Return why the worker is not ready, in plain words; empty when it is."""
        facts = self._facts
        found = []
        if facts.draining:
            found.append("draining")
        if facts.dead_thread is not None:
            found.append(
                f"the thread {facts.dead_thread} died: the log has the reason, a restart is the cure"
            )
        if facts.consumer != "consuming":
            fault = f": {facts.consumer_fault}" if facts.consumer_fault else ""
            found.append(f"not consuming ({facts.consumer}){fault}")
        if facts.checked is None:
            found.append("not checked yet")
        elif self._clock() - facts.checked > CHECK_LIMIT:
            found.append("last check too old")
        elif facts.database_fault is not None:
            found.append(facts.database_fault)
        return found

    def summary(self) -> dict[str, object]:
        """Return the facts for /healthz: plain JSON values, no addresses, no secrets."""
        facts = self._facts
        backlog = facts.backlog
        obstacles = self.obstacles()
        return {
            "version": self.version,
            "uptime_seconds": round(self._clock() - self._started, 3),
            "live": self.live(),
            "ready": not obstacles,
            "obstacles": obstacles,
            "consumer": facts.consumer,
            "database": facts.checked is not None and facts.database_fault is None,
            "pending": backlog.pending if backlog else None,
            "due": backlog.due if backlog else None,
            "oldest_pending_age_seconds": round(backlog.oldest_pending_age, 3) if backlog else None,
            "breakers_open": backlog.breakers_open if backlog else None,
            "dead_letters": facts.dead_letters,
        }
