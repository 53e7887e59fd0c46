"""Exchanges and queues of one test's own on a real broker, and a look at what is in them."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from pika.exceptions import ChannelClosedByBroker

from notifier.broker.connection import close_connection, connected, open_connection, parameters
from notifier.broker.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingConnection
    from pika.spec import BasicProperties

PATIENCE = 10.0  # s


class BrokerObjects:
    """Names nobody else uses, on the broker at `url`, and a connection to look through."""

    def __init__(self, url: str, connection: BlockingConnection) -> None:
        mark = f"test-{uuid4().hex[:10]}"
        self.url = url
        self.topology = Topology(
            exchange=f"{mark}.events",
            queue=f"{mark}.queue",
            dead_letter_exchange=f"{mark}.dlx",
            dead_letter_queue=f"{mark}.dead",
        )
        self._use(connection)

    def _use(self, connection: BlockingConnection) -> None:
        self._connection = connection
        self.channel = connection.channel()
        self.channel.confirm_delivery()

    def reconnect(self) -> None:
        """Look through a new connection, after the broker was down."""
        self.close()
        self._use(_connect(self.url))

    def close(self) -> None:
        close_connection(self._connection)

    def publish(self, *bodies: bytes, properties: BasicProperties | None = None) -> None:
        for body in bodies:
            self.channel.basic_publish(self.topology.exchange, "job_failed", body, properties, mandatory=True)

    def depth(self, queue: str) -> int:
        count: int = self.channel.queue_declare(queue, passive=True).method.message_count
        return count

    def take(self, queue: str) -> list[tuple[bytes, BasicProperties]]:
        """Empty a queue."""
        taken: list[tuple[bytes, BasicProperties]] = []
        while True:
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            if method is None or properties is None:
                return taken
            taken.append((body or b"", properties))

    def waits_for(self, condition: Callable[[], bool]) -> bool:
        """Whether `condition` comes true in time; the connection is served meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._connection.process_data_events(0.02)
        return True

    def exists(self, queue: str) -> bool:
        try:
            with self._connection.channel() as channel:
                channel.queue_declare(queue, passive=True)
        except ChannelClosedByBroker:
            return False
        return True


@contextmanager
def broker_objects(url: str) -> Iterator[BrokerObjects]:
    objects = BrokerObjects(url, _connect(url))
    try:
        yield objects
    finally:
        objects.close()
        _delete(url, objects.topology)


def _connect(url: str) -> BlockingConnection:
    return open_connection(parameters(url, heartbeat=60, name="notifier tests"))


def _delete(url: str, topology: Topology) -> None:
    """Over a new connection: the test may have broken the other one."""
    with connected(url, name="notifier tests") as connection, connection.channel() as channel:
        for queue in (topology.queue, topology.dead_letter_queue):
            channel.queue_delete(queue)
        for exchange in (topology.exchange, topology.dead_letter_exchange):
            channel.exchange_delete(exchange)
