"""Exchanges, queues and bindings, exactly as the contract names them (docs/contract.md).

Looking is passive and on a channel of its own, because a refused declare closes the channel.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pika.exceptions import ChannelClosedByBroker

from notifier.broker.connection import broker_faults, connected, describe
from notifier.domain.errors import BrokerRefused, BrokerUnavailable, ConfigurationError, TopologyMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

DEAD_LETTER_KEY = "dead"
ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED = 403, 404, 406

_DIFFERENCE = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for .*?received (?P<ours>.*?),? but current is (?P<theirs>.*)$"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Topology:
    """The names of docs/contract.md. With `declare` false nothing is ever created or compared."""

    exchange: str = "job.events"
    queue: str = "notifier.job-events.v1"
    binding_keys: tuple[str, ...] = ("#",)
    dead_letter_exchange: str = "notifier.dlx"
    dead_letter_queue: str = "notifier.dead-letter.v1"
    declare: bool = True

    @property
    def queue_arguments(self) -> dict[str, object]:
        """The arguments of the main queue."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": 20,
            "x-dead-letter-exchange": self.dead_letter_exchange,
            "x-dead-letter-routing-key": DEAD_LETTER_KEY,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }

    @property
    def dead_letter_arguments(self) -> dict[str, object]:
        """The arguments of the dead-letter queue: looking at a letter counts as a delivery, so the limit is
        out of reach; -1 would lose letters instead.
        """
        return {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Item:
    """One exchange or queue. `foreign`: it belongs to the publishers, so existing is enough."""

    kind: Literal["exchange", "queue"]
    name: str
    setting: str
    exchange_type: Literal["topic", "direct"] = "direct"
    arguments: Mapping[str, object] | None = None
    foreign: bool = False

    def look(self, channel: BlockingChannel) -> None:
        if self.kind == "exchange":
            channel.exchange_declare(self.name, passive=True)
        else:
            channel.queue_declare(self.name, passive=True)

    def make(self, channel: BlockingChannel) -> None:
        if self.kind == "exchange":
            channel.exchange_declare(self.name, self.exchange_type, durable=True)
        else:
            channel.queue_declare(self.name, durable=True, arguments=dict(self.arguments or {}))


def ensure(url: str, topology: Topology) -> None:
    """Bring the topology about over a connection of its own; see `ensure_on`."""
    with connected(url, name="notifier set-up") as link:
        ensure_on(link, topology)


def ensure_on(connection: BlockingConnection, topology: Topology) -> None:
    """Create what is missing, dead letters first: one always finds its queue.

    Equal objects stay untouched. Raises TopologyMismatch (exists with other arguments), BrokerRefused
    (no permission), ConfigurationError (missing while `declare` is false), BrokerUnavailable.
    """
    dead_exchange, dead_queue, main_queue, exchange = _items(topology)
    for item in (dead_exchange, dead_queue):
        _ensure_item(connection, item, declare=topology.declare)
    if topology.declare:
        _bind(connection, dead_queue, dead_exchange, DEAD_LETTER_KEY)
    for item in (main_queue, exchange):
        _ensure_item(connection, item, declare=topology.declare)
    if topology.declare:
        for key in topology.binding_keys:
            _bind(connection, main_queue, exchange, key)


def verify(url: str, topology: Topology) -> list[str]:
    """Say what a worker would stumble over, one sentence each, and change nothing.

    A missing object is a problem only when `declare` is false: else the worker creates it. Bindings cannot
    be read over AMQP; with `declare` false arguments are not compared either.
    """
    try:
        with connected(url, name="notifier check") as connection:
            return [problem for item in _items(topology) for problem in _problems(connection, item, topology)]
    except ConfigurationError as exc:
        return list(exc.problems)
    except BrokerUnavailable as exc:
        return [str(exc)]


def _problems(connection: BlockingConnection, item: _Item, topology: Topology) -> Sequence[str]:
    try:
        if _exists(connection, item):
            _compare(connection, item, declare=topology.declare)
            return ()
    except ConfigurationError as exc:
        return exc.problems
    return () if topology.declare else (_missing(item),)


def _items(topology: Topology) -> tuple[_Item, _Item, _Item, _Item]:
    """Dead-letter exchange, dead-letter queue, main queue, main exchange."""
    return (
        _Item(kind="exchange", name=topology.dead_letter_exchange, setting="rabbitmq.dead_letter_exchange"),
        _Item(
            kind="queue",
            name=topology.dead_letter_queue,
            setting="rabbitmq.dead_letter_queue",
            arguments=topology.dead_letter_arguments,
        ),
        _Item(
            kind="queue",
            name=topology.queue,
            setting="rabbitmq.queue",
            arguments=topology.queue_arguments,
        ),
        _Item(
            kind="exchange",
            name=topology.exchange,
            setting="rabbitmq.exchange",
            exchange_type="topic",
            foreign=True,
        ),
    )


def _ensure_item(connection: BlockingConnection, item: _Item, *, declare: bool) -> None:
    if _exists(connection, item):
        _compare(connection, item, declare=declare)
    elif declare:
        _on_channel(connection, item, item.make)
    else:
        raise ConfigurationError([_missing(item)])


def _exists(connection: BlockingConnection, item: _Item) -> bool:
    try:
        _on_channel(connection, item, item.look)
    except _Absent:
        return False
    return True


def _compare(connection: BlockingConnection, item: _Item, *, declare: bool) -> None:
    """Declare what exists again: equal does nothing, different is answered 406."""
    if declare and not item.foreign:
        _on_channel(connection, item, item.make)


def _bind(connection: BlockingConnection, queue: _Item, exchange: _Item, key: str) -> None:
    def bind(channel: BlockingChannel) -> None:
        channel.queue_bind(queue.name, exchange.name, routing_key=key)

    _on_channel(connection, queue, bind)


class _Absent(Exception):
    """The broker answered 404."""


def _on_channel(connection: BlockingConnection, item: _Item, act: Callable[[BlockingChannel], None]) -> None:
    with (
        broker_faults(f"setting up {item.kind} {item.name}"),
        _answers(item),
        connection.channel() as channel,
    ):
        act(channel)


@contextmanager
def _answers(item: _Item) -> Iterator[None]:
    """Translate the three refusals that close a channel."""
    try:
        yield
    except ChannelClosedByBroker as exc:
        if exc.reply_code == NOT_FOUND:
            raise _Absent(describe(exc)) from exc
        if exc.reply_code == ACCESS_REFUSED:
            raise BrokerRefused(
                [
                    (
                        f"the broker user has no permission for {item.kind} {item.name} ({describe(exc)}):"
                        " grant it, or let another user set up the topology and set rabbitmq.declare = false"
                    )
                ]
            ) from exc
        if exc.reply_code == PRECONDITION_FAILED:
            raise TopologyMismatch([_mismatch(item, exc.reply_text)]) from exc
        raise


def _mismatch(item: _Item, reply_text: str) -> str:
    found = _DIFFERENCE.search(reply_text)
    difference = (
        f"{found['argument']}: notifier needs {found['ours'].removeprefix('the value ')},"
        f" the broker has {found['theirs']}"
        if found
        else reply_text
    )
    return (
        f"{item.kind} {item.name} exists with other arguments ({difference}):"
        f" delete it when it is empty, or give {item.setting} a new name"
    )


def _missing(item: _Item) -> str:
    return (
        f"{item.kind} {item.name} ({item.setting}) does not exist and rabbitmq.declare is false:"
        " create it, or set rabbitmq.declare = true"
    )
