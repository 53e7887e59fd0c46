"""The sender threads: who wakes them, which of them may try an unproven server, and how they stop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from notifier.domain.errors import DatabaseUnavailable, LaneFault
from notifier.store.engine import OwnConnection

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from sqlalchemy.engine import Engine

    from notifier.claiming import Claimer
    from notifier.congestion import Congestion
    from notifier.delivery import Delivery
    from notifier.metrics import Metrics
    from notifier.waits import Waits

_DATABASE_PAUSES = (0.1, 0.25, 0.5, 1.0, 2.0)
SPARES_PER_SENDER = 4

_log = structlog.get_logger(__name__)


def _never() -> bool:
    return False


class Wakeups:
    """Tokens for idle threads: each wakes one. Never more than there are threads, so that none is stale for long."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tokens = 0
        self._ended = False
        self._changed = threading.Condition()

    def wake(self, count: int = 1) -> None:
        """Wake this many threads, or let the next ones pass without waiting."""
        with self._changed:
            self._tokens = min(self._most, self._tokens + count)
            self._changed.notify(count)

    def wait(self) -> None:
        """Wait for a token and take it; after `end` nobody waits."""
        with self._changed:
            while self._tokens == 0 and not self._ended:
                self._changed.wait()
            self._tokens = max(0, self._tokens - 1)

    def end(self) -> None:
        """Wake everybody for good."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class UnprovenSlots:
    """How many senders may be with a server that had no success since its last fault: half of them (F36)."""

    def __init__(self, senders: int) -> None:
        self._free = max(1, senders // 2)
        self._refused = False
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take a slot if one is free."""
        with self._lock:
            self._refused = self._refused or self._free == 0
            if self._free == 0:
                return False
            self._free -= 1
            return True

    def give_back(self) -> bool:
        """Free a slot; True when somebody was refused one since the last time, and should look again."""
        with self._lock:
            self._free += 1
            refused, self._refused = self._refused, False
            return refused


class Senders:
    """Runs `count` threads, each the same loop: claim a batch, deliver it, and wait when there is none.

    A thread that found more than its batch wakes another one, so that a backlog is soon everybody's and a single mail
    is one thread's. While threads queue for the interpreter it does not, since the other one would make all of them
    slower, unless its own batch has to connect first or goes to a slow server.
    A thread that waits for a server that hangs is stood in for by a spare one, up to four times `count`. stopping ends
    the loop between two batches.
    """

    def __init__(
        self,
        *,
        count: int,
        engine: Engine,
        claimer: Claimer,
        delivery: Delivery,
        waits: Waits,
        congestion: Congestion,
        metrics: Metrics,
        clock: Callable[[], float],
        new_uuid: Callable[[], UUID],
        stopping: threading.Event,
    ) -> None:
        self._engine = engine
        self._claimer = claimer
        self._delivery = delivery
        self._waits = waits
        self._congestion = congestion
        self._metrics = metrics
        self._clock = clock
        self._new_uuid = new_uuid
        self._stopping = stopping
        self._wakeups = Wakeups(count)
        self._unproven = UnprovenSlots(count)
        # Daemons: a thread that hangs in a system call must not keep a draining process alive.
        self._threads = [
            threading.Thread(target=self._run, args=(_never,), name=f"sender-{n}", daemon=True)
            for n in range(count)
        ]
        self._spares: list[threading.Thread] = []
        self._in_hand: set[UUID] = set()
        self._in_hand_lock = threading.Lock()

    def start(self) -> None:
        """Start the threads; each looks for work at once."""
        for thread in self._threads:
            thread.start()
        self.wake(len(self._threads))

    def wake(self, count: int = 1) -> None:
        """Mails may be due: let this many idle threads look."""
        self._wakeups.wake(count)

    def new_mails(self) -> None:
        """Mails were written: let an idle thread look, unless those at work will find them as soon as it could."""
        if not (self._in_hand and self._congestion.crowded):
            self.wake()
            # The caller has only log lines and an ack left to write; the thread it woke would wait for those.
            self._congestion.give_way()

    def look_after(self) -> None:
        """Once a second: let an idle thread look for work, and stand in for those that wait for a dead server."""
        self.wake()
        self._spares = [thread for thread in self._spares if thread.is_alive()]
        room = SPARES_PER_SENDER * len(self._threads) - len(self._spares)
        for _ in range(min(room, self._wanted_spares() - len(self._spares))):
            spare = threading.Thread(
                target=self._run, args=(self._too_many,), name="spare-sender", daemon=True
            )
            spare.start()
            self._spares.append(spare)

    def _too_many(self) -> bool:
        """Tell whether a spare thread is no longer needed."""
        return self._wanted_spares() < len(self._spares)

    def _wanted_spares(self) -> int:
        """Two for each thread that hangs: servers seldom die one by one, and the next one may hang, too."""
        return 2 * self._waits.hanging()

    def join(self, timeout: float) -> bool:
        """Wait until every thread has ended after `stopping`; False when some had not after timeout seconds."""
        threads = [*self._threads, *self._spares]
        self._wakeups.end()
        ends = self._clock() + timeout
        for thread in threads:
            if thread.ident is not None:  # it was started
                thread.join(max(0.0, ends - self._clock()))
        return not any(thread.is_alive() for thread in threads)

    def in_hand(self) -> list[UUID]:
        """Return the tokens of the batches that threads claim or deliver just now."""
        with self._in_hand_lock:
            return list(self._in_hand)

    @property
    def alive(self) -> bool:
        """Whether every thread runs."""
        return all(thread.is_alive() for thread in self._threads)

    def _run(self, may_go: Callable[[], bool]) -> None:
        database = OwnConnection(self._engine)
        faults = 0
        while not self._stopping.is_set():
            try:
                worked = self._turn(database)
                faults = 0
            except DatabaseUnavailable as exc:
                pause = _DATABASE_PAUSES[min(faults, len(_DATABASE_PAUSES) - 1)]
                faults += 1
                _log.warning("sender_database_fault", error=str(exc), retry_in=pause)
                self._metrics.link_lost("database")
                self._stopping.wait(pause)
                continue
            except Exception:  # noqa: BLE001 - a fault nobody foresaw costs this batch some time, not the process this thread
                _log.exception("sender_fault")
                self._stopping.wait(_DATABASE_PAUSES[-1])
                continue
            if not worked:
                if may_go():
                    break
                self._wakeups.wait()
        database.close()

    def _turn(self, database: OwnConnection) -> bool:
        """Claim and deliver one batch; False when nothing was due. Raises DatabaseUnavailable."""
        token = self._new_uuid()
        unproven = self._unproven.take()
        with self._in_hand_lock:
            self._in_hand.add(token)
        try:
            claimed_at = self._clock()
            try:
                batch = self._claimer.claim(database, token, unproven=unproven)
            except LaneFault as fault:
                self._claimer.pass_over(database, fault)
                return True
            if batch is None:
                return self._claimer.lane_was_locked(database, unproven=unproven)
            if batch.proven and unproven:
                unproven = self._leave_slot()
            self._delivery.deliver(database, batch, claimed_at, share=self.wake)
            return True
        finally:
            with self._in_hand_lock:
                self._in_hand.remove(token)
            if unproven:
                self._leave_slot()

    def _leave_slot(self) -> bool:
        if self._unproven.give_back():
            self.wake()
        return False
