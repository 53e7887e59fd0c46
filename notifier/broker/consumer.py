"""The consuming loop: connect, subscribe, hand over batches, settle; and again after every fault.

It never publishes and knows RabbitMQ only through `Link`, so that a fake link can drive every turn.
"""

from __future__ import annotations

import random
import time
from enum import Enum
from typing import TYPE_CHECKING

import structlog

from notifier.broker.backoff import Backoff
from notifier.broker.link import open_link
from notifier.broker.messages import Settle
from notifier.broker.put_off import PutOff
from notifier.domain.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DatabaseUnavailable,
    TopologyMismatch,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from notifier.broker.link import Held, Link
    from notifier.broker.messages import BrokerMessage
    from notifier.broker.topology import Topology

POLL_SECONDS = 0.5  # also how late a stop is seen, and the time between ticks
RECONNECT_CAP = 30.0  # seconds
FAILED_BATCH_CAP = 30.0  # seconds between batches that fail although the probe passes
PROBE_CAP = 8.0  # s: so that consuming is back within 10 s of the database (F15)
SETTLED_LINK_SECONDS = 10.0  # a link that lasted so long was a good one
NARROW = 1  # prefetch until a message that was never handed out before is settled

_log = structlog.get_logger(__name__)


class ConsumerState(Enum):
    """For readiness: only CONSUMING is ready. PAUSED means that the database is away."""

    CONNECTING = "connecting"
    CONSUMING = "consuming"
    PAUSED = "paused"
    DRAINING = "draining"
    STOPPED = "stopped"


class Consumer:
    """Feeds broker messages to `on_batch` until `stop` is set; `run` belongs to one thread.

    `on_batch` answers one Settle per message, in order, after its commit. One that it puts off stays unsettled, holds
    up no other, and is handed over again in a while. It and `probe` raise
    DatabaseUnavailable when the database is away: all messages go back once, `probe` is asked with backoff,
    then consuming starts again. Any other exception of `on_batch` ends `run`, messages unsettled.
    `on_tick` is called at least once a second while nothing blocks; `on_state` at each change, `on_fault` with the
    words of whatever keeps it from consuming.
    `wait` sleeps that many seconds and says whether the stop came; `clock` is monotonic.
    """

    def __init__(
        self,
        url: str,
        topology: Topology,
        *,
        prefetch: int,
        heartbeat: int,
        on_batch: Callable[[Sequence[BrokerMessage]], Sequence[Settle]],
        probe: Callable[[], None],
        stop: threading.Event,
        on_tick: Callable[[], None],
        on_state: Callable[[ConsumerState], None],
        on_fault: Callable[[str], None],
        connect: Callable[[], Link] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._connect = connect or (lambda: open_link(url, topology, heartbeat=heartbeat))
        self._prefetch = prefetch
        self._on_batch = on_batch
        self._probe = probe
        self._stop = stop
        self._on_tick = on_tick
        self._on_state = on_state
        self._on_fault = on_fault
        self._clock = clock
        self._wait = wait or stop.wait
        self._chance = chance
        self._state: ConsumerState | None = None
        self._reconnect = Backoff(cap=RECONNECT_CAP, chance=chance)
        self._failed_batches = Backoff(cap=FAILED_BATCH_CAP, chance=chance)
        self._database_away = False
        self._pause_for = 0.0
        self._was_connected = False

    def run(self) -> None:
        """Consume until `stop` is set, then drain.

        Raises ConfigurationError kinds: at the first connection all of them, later only TopologyMismatch;
        by then a refused login is more likely a broker that is being set up again.
        """
        try:
            while not self._stop.is_set():
                self._report(ConsumerState.CONNECTING)
                self._on_tick()
                try:
                    self._one_link()
                except TopologyMismatch:
                    raise
                except (BrokerUnavailable, ConfigurationError) as exc:
                    if isinstance(exc, ConfigurationError) and not self._was_connected:
                        raise
                    self._sit_out(exc)
        finally:
            self._report(ConsumerState.STOPPED)

    def _sit_out(self, fault: Exception) -> None:
        if self._stop.is_set():
            return
        self._on_fault(str(fault))
        self._report(ConsumerState.CONNECTING)
        delay = self._reconnect.next()
        _log.warning(
            "broker_connection_lost",
            error=str(fault),
            retry_in=round(delay, 1),
            failures=self._reconnect.failures,
        )
        due = self._clock() + delay
        while (rest := due - self._clock()) > 0 and not self._wait(min(rest, POLL_SECONDS)):
            self._on_tick()

    def _one_link(self) -> None:
        """Live through one connection. It is closed before the next one opens."""
        link = self._connect()
        opened = self._clock()
        try:
            self._was_connected = True
            self._consume(link)
            self._drain(link)
        finally:
            link.close()
            if self._clock() - opened >= SETTLED_LINK_SECONDS:
                self._reconnect.reset()

    def _consume(self, link: Link) -> None:
        """Subscribe, and again after each pause, until the stop."""
        while not self._stop.is_set():
            if self._database_away and not self._await_database(link):
                return
            link.subscribe(NARROW)
            self._report(ConsumerState.CONSUMING)
            self._feed(link)

    def _feed(self, link: Link) -> None:
        """Handle batch after batch. Returns at the stop, or when the database went away."""
        held: list[Held] = []
        put_off = PutOff(self._clock)
        narrow = self._prefetch > NARROW
        while not self._stop.is_set():
            self._on_tick()
            held.extend(link.poll(0 if held else POLL_SECONDS))
            again = put_off.due(self._prefetch)
            batch = again or next_batch(held, self._prefetch)
            if not batch:
                continue
            try:
                verdicts = self._on_batch([one.message for one in batch])
                put_off.handled(batch, verdicts)
            except DatabaseUnavailable as exc:
                self._pause(link, exc)
                return
            settled = [one for one in zip(batch, verdicts, strict=True) if one[1] is not Settle.LATER]
            widen = narrow and not again and not batch[0].message.redelivered
            if widen:
                # Before the ack: with prefetch 1 nothing else can be on its way, so nothing bounces.
                link.cancel()
            link.settle(settled)
            if not again:
                del held[: len(batch)]
            self._reconnect.reset()
            if settled:
                self._batch_committed()
            narrow = narrow and not widen
            prefetch = NARROW if narrow else self._prefetch
            if widen or put_off.crowds(prefetch):
                link.cancel()
                link.subscribe(prefetch)
                put_off.subscribed()

    def _batch_committed(self) -> None:
        if self._failed_batches.failures > 1:
            _log.info("intake_resumed")  # now it is true: see _await_database
        self._failed_batches.reset()

    def _pause(self, link: Link, fault: DatabaseUnavailable) -> None:
        """Give everything back, once."""
        self._database_away = True
        self._pause_for = self._failed_batches.next()
        self._on_fault(str(fault))
        self._report(ConsumerState.PAUSED)
        _log.warning("intake_paused", error=str(fault), probe_in=round(self._pause_for, 1))
        link.cancel()
        link.requeue_held()

    def _await_database(self, link: Link) -> bool:
        """Probe with backoff, serving heartbeats. False: the stop came first."""
        self._report(ConsumerState.PAUSED)
        probes = Backoff(cap=PROBE_CAP, chance=self._chance)
        delay, self._pause_for = self._pause_for, 0.0
        while self._serve(link, delay):
            try:
                self._probe()
            except DatabaseUnavailable as exc:
                delay = probes.next()
                self._on_fault(str(exc))
                _log.warning("database_probe_failed", error=str(exc), retry_in=round(delay, 1))
            else:
                self._database_away = False
                # After a second batch failed, the probe alone proves nothing.
                if self._failed_batches.failures <= 1:
                    _log.info("intake_resumed")
                return True
        return False

    def _serve(self, link: Link, seconds: float) -> bool:
        """Keep the connection alive for so long. False: the stop came."""
        due = self._clock() + seconds
        while not self._stop.is_set():
            self._on_tick()
            rest = due - self._clock()
            link.poll(max(0.0, min(rest, POLL_SECONDS)))
            if rest <= 0:
                return True
        return False

    def _drain(self, link: Link) -> None:
        """The batch in hand is finished; the rest goes back for another worker."""
        self._report(ConsumerState.DRAINING)
        link.cancel()
        link.requeue_held()

    def _report(self, state: ConsumerState) -> None:
        if state is not self._state:
            self._state = state
            self._on_state(state)


def next_batch(held: Sequence[Held], prefetch: int) -> list[Held]:
    """What to hand over next: the oldest first, up to `prefetch`, but a redelivered message alone."""
    batch: list[Held] = []
    for one in held[:prefetch]:
        if one.message.redelivered:
            return batch or [one]
        batch.append(one)
    return batch
