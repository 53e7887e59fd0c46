"""A broker in memory: one queue and its dead letters, on a clock of its own. It keeps the `Link` contract."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from notifier.broker.link import Held
from notifier.broker.messages import BrokerMessage, Settle
from notifier.domain.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DELIVERY_LIMIT = 20


@dataclass(kw_only=True, slots=True)
class Queued:
    number: int
    body: bytes
    returns: int = 0


class FakeBroker:
    """Every return counts, as on RabbitMQ 3.10: the 21st return makes a dead letter."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ready: deque[Queued] = deque()
        self.dead: list[Queued] = []
        self.acked: list[bytes] = []
        self.links: list[FakeLink] = []
        self.connect_faults: deque[Exception] = deque()
        self.connects: list[float] = []
        self._numbers = count()
        self._plans: list[tuple[float, Callable[[], None]]] = []

    def publish(self, *bodies: bytes) -> None:
        self.ready.extend(Queued(number=next(self._numbers), body=body) for body in bodies)

    def connect(self) -> FakeLink:
        assert all(link.closed for link in self.links), (
            "the old connection is closed before the new one opens"
        )
        self.connects.append(self.now)
        if self.connect_faults:
            raise self.connect_faults.popleft()
        link = FakeLink(self)
        self.links.append(link)
        return link

    def at(self, when: float, action: Callable[[], None]) -> None:
        self._plans.append((when, action))

    def pass_time(self, seconds: float) -> None:
        """Move the clock, stopping at each planned moment on the way."""
        end = self.now + seconds
        for when, action in sorted(self._plans, key=lambda plan: plan[0]):
            if when <= end:
                self._plans.remove((when, action))
                self.now = max(self.now, when)
                action()
        self.now = max(self.now, end)

    def drop_connections(self) -> None:
        for link in self.links:
            link.lose("the connection was reset")

    def delete_queue(self) -> None:
        self.ready.clear()
        for link in self.links:
            link.lose("the consumer was cancelled")

    def give_back(self, returned: list[Queued]) -> None:
        for queued in sorted(returned, key=lambda one: one.number, reverse=True):
            queued.returns += 1
            if queued.returns > DELIVERY_LIMIT:
                self.dead.append(queued)
            else:
                self.ready.appendleft(queued)


class FakeLink:
    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._number = len(broker.links) + 1
        self._tags = count(1)
        self._prefetch = 0
        self._earlier: set[int] = set()  # held since an earlier subscription
        self._lost: str | None = None
        self.held: dict[int, Queued] = {}
        self.subscriptions: list[int] = []
        self.closed = False

    def lose(self, reason: str) -> None:
        if not self.closed and self._lost is None:
            self._lost = reason
            self._return_held()

    def subscribe(self, prefetch: int) -> None:
        self._check()
        self.subscriptions.append(prefetch)
        self._prefetch = prefetch
        self._earlier = set(self.held)

    def cancel(self) -> None:
        self._check()
        self._prefetch = 0

    def poll(self, seconds: float) -> list[Held]:
        self._check()
        arrived = self._deliver()
        if not arrived:
            self._broker.pass_time(seconds)
            self._check()
            arrived = self._deliver()
        return arrived

    def settle(self, settled: Sequence[tuple[Held, Settle]]) -> None:
        self._check()
        for held, verdict in settled:
            if held.channel != self._number or held.tag not in self.held:
                continue
            queued = self.held.pop(held.tag)
            if verdict is Settle.ACK:
                self._broker.acked.append(queued.body)
            else:
                self._broker.dead.append(queued)

    def requeue_held(self) -> None:
        self._check()
        self._return_held()

    def close(self) -> None:
        self.closed = True
        self._return_held()

    def _deliver(self) -> list[Held]:
        arrived = []
        while self._broker.ready and len(self.held.keys() - self._earlier) < self._prefetch:
            queued = self._broker.ready.popleft()
            tag = next(self._tags)
            self.held[tag] = queued
            message = BrokerMessage(body=queued.body, redelivered=queued.returns > 0)
            arrived.append(Held(message=message, tag=tag, channel=self._number))
        return arrived

    def _return_held(self) -> None:
        returned, self.held = list(self.held.values()), {}
        self._broker.give_back(returned)

    def _check(self) -> None:
        if self._lost is not None:
            raise BrokerUnavailable(self._lost)
