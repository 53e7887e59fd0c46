"""The consuming loop on a real broker: lost connections, lost queues, poison, outages, drain."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from notifier.broker.consumer import Consumer, ConsumerState
from notifier.broker.link import PikaLink, open_link
from notifier.broker.messages import BrokerMessage, Settle
from notifier.broker.topology import ensure
from notifier.domain.errors import BrokerUnavailable, DatabaseUnavailable
from tests.broker_objects import BrokerObjects, broker_objects
from tests.support.tcp_proxy import TcpProxy
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from notifier.sandbox.rabbitmq_node import RabbitNode

pytestmark = pytest.mark.services


@pytest.fixture
def proxy(amqp_url: str) -> Iterator[TcpProxy]:
    parts = urlsplit(amqp_url)
    with TcpProxy((parts.hostname or "127.0.0.1", parts.port or 5672)) as running:
        yield running


def through(proxy: TcpProxy, url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl()


class Worker:
    """A consumer in a thread, with everything it saw."""

    def __init__(
        self,
        url: str,
        broker: BrokerObjects,
        on_batch: Callable[[list[bytes]], None] | None = None,
        *,
        heartbeat: int = 30,
    ) -> None:
        self.stop = threading.Event()
        self.settled: list[bytes] = []
        self.states: list[ConsumerState] = []
        self.database_away = threading.Event()
        self.failed_batches = 0
        self.fault: BaseException | None = None
        self._look = on_batch or (lambda _bodies: None)
        self._consumer = Consumer(
            url,
            broker.topology,
            prefetch=50,
            heartbeat=heartbeat,
            on_batch=self._on_batch,
            probe=self._probe,
            stop=self.stop,
            on_tick=lambda: None,
            on_state=self.states.append,
            on_fault=lambda _fault: None,
        )
        self.thread = threading.Thread(target=self._run, name="consumer")

    def _run(self) -> None:
        try:
            self._consumer.run()
        except BaseException as exc:  # noqa: BLE001 - whatever ends the loop is looked at by the test
            self.fault = exc

    def _on_batch(self, messages: Sequence[BrokerMessage]) -> list[Settle]:
        bodies = [one.body for one in messages]
        self._look(bodies)
        if self.database_away.is_set():
            self.failed_batches += 1
            raise DatabaseUnavailable("away")
        self.settled.extend(bodies)
        return [Settle.ACK] * len(bodies)

    def _probe(self) -> None:
        if self.database_away.is_set():
            raise DatabaseUnavailable("away")

    @property
    def consuming(self) -> bool:
        return bool(self.states) and self.states[-1] is ConsumerState.CONSUMING


@contextmanager
def working(worker: Worker) -> Iterator[Worker]:
    worker.thread.start()
    try:
        yield worker
    finally:
        worker.stop.set()
        worker.thread.join(timeout=30)
    assert not worker.thread.is_alive()
    assert worker.fault is None


def numbers(count: int) -> list[bytes]:
    return [b"%d" % one for one in range(count)]


def is_empty(broker: BrokerObjects) -> bool:
    return broker.waits_for(lambda: broker.depth(broker.topology.queue) == 0)


def test_everything_published_is_settled_once_in_order(broker: BrokerObjects) -> None:
    broker.publish(*numbers(300))
    with working(Worker(broker.url, broker)) as worker:
        assert broker.waits_for(lambda: len(worker.settled) == 300)
    assert worker.settled == numbers(300)
    assert is_empty(broker)


def test_connections_cut_under_load_lose_nothing(broker: BrokerObjects, proxy: TcpProxy) -> None:
    """F14: the loop comes back each time, and the old connection never keeps messages."""
    cuts = iter((20, 90, 160, 230))
    due = next(cuts)

    def cut_now_and_then(bodies: list[bytes]) -> None:
        nonlocal due
        if any(int(body) >= due for body in bodies):
            due = next(cuts, 10_000)
            proxy.cut()

    broker.publish(*numbers(300))
    with working(Worker(through(proxy, broker.url), broker, cut_now_and_then)) as worker:
        assert broker.waits_for(lambda: set(worker.settled) == set(numbers(300)))
        assert is_empty(broker)
    assert proxy.connections == 5
    assert len(worker.settled) <= 300 + 4 * 50  # at most the prefetch again after each cut
    assert broker.depth(broker.topology.dead_letter_queue) == 0


def test_a_silent_link_is_found_by_the_heartbeat(broker: BrokerObjects, proxy: TcpProxy) -> None:
    """F18: within 2 x heartbeat + 5 s."""
    with working(Worker(through(proxy, broker.url), broker, heartbeat=4)) as worker:
        assert broker.waits_for(lambda: worker.consuming)
        proxy.go_silent()
        started = time.monotonic()
        broker.publish(b"after")
        while not worker.settled and time.monotonic() - started < 2 * 4 + 5 + 1:
            broker.waits_for(lambda: bool(worker.settled))
        assert worker.settled == [b"after"]
        assert time.monotonic() - started <= 2 * 4 + 5 + 1  # and a second to come back


def test_a_deleted_queue_is_declared_again_and_consumed(broker: BrokerObjects) -> None:
    """F16."""
    with working(Worker(broker.url, broker)) as worker:
        assert broker.waits_for(lambda: worker.consuming)
        broker.channel.queue_delete(broker.topology.queue)
        assert broker.waits_for(lambda: worker.states.count(ConsumerState.CONSUMING) == 2)
        broker.publish(b"after")
        assert broker.waits_for(lambda: worker.settled == [b"after"])


def test_a_channel_closed_by_the_broker_is_noticed(broker: BrokerObjects) -> None:
    """F15: closed as an ack timeout closes it; pika itself says nothing."""
    link = open_link(broker.url, broker.topology, heartbeat=30)
    assert isinstance(link, PikaLink)
    link.subscribe(1)
    link._channel.basic_ack(4711)  # 406: the broker answers by closing the channel
    with pytest.raises(BrokerUnavailable, match=r"closed the channel|PRECONDITION_FAILED"):
        broker.waits_for(lambda: link.poll(0.1) != [])
    link.close()


def test_a_message_that_kills_its_worker_dies_alone(broker: BrokerObjects) -> None:
    """F20: each death drops the connection as a killed process does."""

    class Killed(BaseException):
        pass

    def die(bodies: list[bytes]) -> None:
        if b"5" in bodies:
            raise Killed

    broker.publish(*numbers(60))
    settled: list[bytes] = []
    deaths = 0
    for _restart in range(30):
        worker = Worker(broker.url, broker, die)
        worker.thread.start()
        broker.waits_for(lambda: not worker.thread.is_alive() or len(settled) + len(worker.settled) == 59)  # noqa: B023 - called at once
        worker.stop.set()
        worker.thread.join(timeout=30)
        settled.extend(worker.settled)
        if not isinstance(worker.fault, Killed):
            break
        deaths += 1
    dead = broker.topology.dead_letter_queue
    assert broker.waits_for(lambda: broker.depth(dead) == 1)
    assert [body for body, _properties in broker.take(dead)] == [b"5"]
    assert deaths == 21
    assert sorted(settled) == sorted(set(numbers(60)) - {b"5"})


def test_an_outage_of_the_database_costs_one_return_and_the_link_stays(broker: BrokerObjects) -> None:
    """F22: given back once, then again in order on the same connection."""
    worker = Worker(broker.url, broker)
    worker.database_away.set()
    broker.publish(*numbers(20))
    with working(worker):
        assert broker.waits_for(lambda: ConsumerState.PAUSED in worker.states)
        assert broker.waits_for(lambda: broker.depth(broker.topology.queue) == 20)
        worker.database_away.clear()
        assert broker.waits_for(lambda: sorted(worker.settled) == sorted(numbers(20)))
    assert worker.failed_batches == 1
    assert worker.states.count(ConsumerState.CONNECTING) == 1


def test_an_idle_worker_stops_at_its_next_turn(broker: BrokerObjects) -> None:
    worker = Worker(broker.url, broker)
    with working(worker):
        assert broker.waits_for(lambda: worker.consuming)
        started = time.monotonic()
        worker.stop.set()
        worker.thread.join(timeout=10)
        assert time.monotonic() - started <= 5  # it takes one turn of half a second, on an idle machine
    assert worker.states[-2:] == [ConsumerState.DRAINING, ConsumerState.STOPPED]


def test_a_stop_under_load_gives_back_what_was_not_begun(broker: BrokerObjects) -> None:
    """Nothing is lost, nothing is settled twice."""

    def stop_at_30(bodies: list[bytes]) -> None:
        if b"30" in bodies:
            first.stop.set()

    first = Worker(broker.url, broker, stop_at_30)
    broker.publish(*numbers(200))
    with working(first):
        first.thread.join(timeout=10)
    with working(Worker(broker.url, broker)) as second:
        assert broker.waits_for(lambda: len(first.settled) + len(second.settled) >= 200)
        assert is_empty(broker)
    assert sorted(first.settled + second.settled) == sorted(numbers(200))


@pytest.mark.xdist_group("own_rabbitmq")
def test_a_killed_broker_is_found_again_and_nothing_is_lost(own_rabbitmq: RabbitNode) -> None:
    """F12: kill -9, then the same node again.

    The orderly restart before it is needed: RabbitMQ 3.10 writes the names of new quorum queues to disk minutes
    later or when it stops, and a queue it did not write does not answer after a kill.
    """
    with broker_objects(own_rabbitmq.url) as broker:
        ensure(broker.url, broker.topology)
        own_rabbitmq.stop()
        own_rabbitmq.start()
        broker.reconnect()
        broker.publish(*numbers(50))
        worker = Worker(broker.url, broker)
        with working(worker):
            assert broker.waits_for(lambda: len(worker.settled) == 50)
            broker.publish(*numbers(50))
            own_rabbitmq.kill()
            wait_until(lambda: not worker.consuming, what="the loss to be noticed")
            own_rabbitmq.start()
            started = time.monotonic()
            wait_until(lambda: worker.consuming, timeout=35, what="consuming again")
            wait_until(lambda: set(worker.settled) == set(numbers(50)), what="everything settled")
            assert time.monotonic() - started <= 35
