"""One connection with one channel and at most one consumer: what the consuming loop is written against.

`Link` is the contract, `PikaLink` keeps it on RabbitMQ. Only the thread that opened a link touches it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Protocol

import structlog

from notifier.broker.connection import broker_faults, close_connection, open_connection, parameters
from notifier.broker.messages import BrokerMessage, Settle, from_pika
from notifier.broker.topology import ensure_on
from notifier.domain.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from pika.frame import Method
    from pika.spec import Basic, BasicProperties

    from notifier.broker.topology import Topology

_log = structlog.get_logger(__name__)
_channel_numbers = count(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A broker message we have not settled yet. `channel` numbers every channel this process ever opened:
    a delivery tag means nothing on another one.
    """

    message: BrokerMessage
    tag: int
    channel: int


class Link(Protocol):
    """Every method raises BrokerUnavailable once the connection, the channel or the consumer is gone."""

    def subscribe(self, prefetch: int) -> None:
        """Start to receive, at most `prefetch` unsettled messages at a time."""

    def cancel(self) -> None:
        """Stop to receive. What is held stays held; what was still on its way goes back to the queue."""

    def poll(self, seconds: float) -> list[Held]:
        """Serve the connection, for at most `seconds` when nothing comes, and hand over what arrived."""

    def settle(self, settled: Sequence[tuple[Held, Settle]]) -> None:
        """Ack or reject messages. One of another channel, or settled before, is left alone."""

    def requeue_held(self) -> None:
        """Give all that is held back to the queue at once: one count each."""

    def close(self) -> None:
        """Close; never raises. What is still held goes back to the queue."""


class PikaLink:
    """A `Link` on a fresh RabbitMQ connection, with the topology ensured."""

    def __init__(self, connection: BlockingConnection, queue: str) -> None:
        self._connection = connection
        self._queue = queue
        self._number = next(_channel_numbers)
        self._channel: BlockingChannel = connection.channel()
        self._channel.add_on_cancel_callback(self._on_cancelled_by_broker)
        self._consumer_tag: str | None = None
        self._cancelled_by_broker = False
        self._arrived: list[Held] = []
        self._live_tags: set[int] = set()

    def subscribe(self, prefetch: int) -> None:
        """See `Link`."""
        with broker_faults(f"subscribing to {self._queue}"):
            self._channel.basic_qos(prefetch_count=prefetch)
            self._consumer_tag = self._channel.basic_consume(self._queue, self._on_message)

    def cancel(self) -> None:
        """See `Link`."""
        if self._consumer_tag is None:
            return
        with broker_faults(f"cancelling the consumer of {self._queue}"):
            # Take in first what pika has already read: it would send those back and at once get them again.
            self._connection.process_data_events(0)
            self._check()
            tag, self._consumer_tag = self._consumer_tag, None
            self._channel.basic_cancel(tag)

    def poll(self, seconds: float) -> list[Held]:
        """See `Link`."""
        if not self._arrived:
            with broker_faults("serving the connection"):
                self._connection.process_data_events(seconds)
        self._check()
        arrived, self._arrived = self._arrived, []
        return arrived

    def settle(self, settled: Sequence[tuple[Held, Settle]]) -> None:
        """See `Link`."""
        verdicts = {held.tag: verdict for held, verdict in settled if self._is_live(held)}
        if not verdicts:
            return
        last = max(verdicts)
        oldest = verdicts.keys() == {tag for tag in self._live_tags if tag <= last}
        self._live_tags -= verdicts.keys()
        with broker_faults("settling messages"):
            if oldest and all(verdict is Settle.ACK for verdict in verdicts.values()):
                self._channel.basic_ack(last, multiple=True)  # one frame and one write for the whole batch
                return
            for tag, verdict in verdicts.items():
                if verdict is Settle.ACK:
                    self._channel.basic_ack(tag)
                else:
                    self._channel.basic_reject(tag, requeue=False)

    def _is_live(self, held: Held) -> bool:
        if held.channel == self._number and held.tag in self._live_tags:
            return True
        _log.warning("stale_delivery_tag_dropped", tag=held.tag, channel=held.channel, current=self._number)
        return False

    def requeue_held(self) -> None:
        """See `Link`."""
        self._arrived.clear()
        if not self._live_tags:
            return
        self._live_tags.clear()
        with broker_faults("giving messages back"):
            self._channel.basic_nack(0, multiple=True, requeue=True)

    def close(self) -> None:
        """See `Link`."""
        close_connection(self._connection)

    def _check(self) -> None:
        """A closed channel and a cancelled consumer raise nothing by themselves."""
        if not self._channel.is_open:
            raise BrokerUnavailable("the broker closed the channel")
        if self._cancelled_by_broker:
            raise BrokerUnavailable(
                f"the broker cancelled the consumer: queue {self._queue} was deleted or moved"
            )

    def _on_cancelled_by_broker(self, _frame: Method[Basic.Cancel]) -> None:
        self._cancelled_by_broker = True

    def _on_message(
        self, _channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        tag = method.delivery_tag or 0
        message = from_pika(
            properties,
            body,
            exchange=method.exchange or "",
            routing_key=method.routing_key or "",
            redelivered=bool(method.redelivered),
        )
        self._live_tags.add(tag)
        self._arrived.append(Held(message=message, tag=tag, channel=self._number))


def open_link(url: str, topology: Topology, *, heartbeat: int) -> PikaLink:
    """Connect, ensure the topology and open the channel for consuming.

    Raises ConfigurationError and its kinds (see `connection` and `topology`), or BrokerUnavailable.
    """
    connection = open_connection(parameters(url, heartbeat=heartbeat, name="notifier intake"))
    try:
        ensure_on(connection, topology)
        with broker_faults("opening a channel"):
            return PikaLink(connection, topology.queue)
    except BaseException:
        close_connection(connection)
        raise
