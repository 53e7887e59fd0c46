"""What every `Link` keeps, the one in memory and the one on RabbitMQ."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import pytest

from notifier.broker.link import open_link
from notifier.broker.messages import Settle
from notifier.domain.errors import BrokerUnavailable
from tests.broker_objects import PATIENCE, BrokerObjects, broker_objects
from tests.fake_broker import FakeBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notifier.broker.link import Held, Link


class Side(Protocol):
    """One broker, seen from outside the link."""

    def publish(self, *bodies: bytes) -> None: ...
    def open(self) -> Link: ...
    def has_ready(self, count: int) -> bool: ...
    def dead(self) -> list[bytes]: ...
    def delete_queue(self) -> None: ...


class FakeSide:
    def __init__(self) -> None:
        self._broker = FakeBroker()
        self.publish = self._broker.publish
        self.delete_queue = self._broker.delete_queue

    def open(self) -> Link:
        return self._broker.connect()

    def has_ready(self, count: int) -> bool:
        return len(self._broker.ready) == count

    def dead(self) -> list[bytes]:
        return [one.body for one in self._broker.dead]


class RealSide:
    def __init__(self, objects: BrokerObjects) -> None:
        self._objects = objects
        self._links: list[Link] = []

    def publish(self, *bodies: bytes) -> None:
        self._objects.publish(*bodies)

    def open(self) -> Link:
        link = open_link(self._objects.url, self._objects.topology, heartbeat=30)
        self._links.append(link)
        return link

    def has_ready(self, count: int) -> bool:
        queue = self._objects.topology.queue
        return self._objects.waits_for(lambda: self._objects.depth(queue) == count)

    def dead(self) -> list[bytes]:
        queue = self._objects.topology.dead_letter_queue
        self._objects.waits_for(lambda: self._objects.depth(queue) > 0)
        return [body for body, _properties in self._objects.take(queue)]

    def delete_queue(self) -> None:
        self._objects.channel.queue_delete(self._objects.topology.queue)

    def close_links(self) -> None:
        for link in self._links:
            link.close()


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.services)])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    if request.param == "memory":
        yield FakeSide()
        return
    with broker_objects(request.getfixturevalue("amqp_url")) as objects:
        real = RealSide(objects)
        real.open().close()  # makes the topology
        yield real
        real.close_links()


def collect(link: Link, number: int) -> list[Held]:
    held: list[Held] = []
    deadline = time.monotonic() + PATIENCE
    while len(held) < number and time.monotonic() < deadline:
        held.extend(link.poll(0.1))
    return held


def bodies(held: list[Held]) -> list[bytes]:
    return [one.message.body for one in held]


def test_messages_arrive_in_order_and_as_first_deliveries(side: Side) -> None:
    side.publish(b"a", b"b", b"c")
    link = side.open()
    link.subscribe(10)
    held = collect(link, 3)
    assert bodies(held) == [b"a", b"b", b"c"]
    assert not any(one.message.redelivered for one in held)
    link.close()


def test_no_more_than_the_prefetch_is_handed_out_unsettled(side: Side) -> None:
    side.publish(b"a", b"b", b"c", b"d")
    link = side.open()
    link.subscribe(2)
    held = collect(link, 2)
    assert link.poll(0.2) == []
    link.settle([(held[0], Settle.ACK)])
    assert bodies(collect(link, 1)) == [b"c"]
    link.close()


def test_what_an_earlier_subscription_brought_takes_nothing_of_the_prefetch(side: Side) -> None:
    side.publish(b"a", b"b", b"c", b"d")
    link = side.open()
    link.subscribe(2)
    held = collect(link, 2)
    link.cancel()
    link.subscribe(2)
    more = collect(link, 2)
    assert bodies(more) == [b"c", b"d"]
    link.settle([(one, Settle.ACK) for one in (*more, *held)])
    link.close()
    assert side.has_ready(0)


def test_an_acked_message_is_gone_for_good(side: Side) -> None:
    side.publish(b"a", b"b")
    link = side.open()
    link.subscribe(10)
    link.settle([(collect(link, 2)[0], Settle.ACK)])
    link.close()
    assert side.has_ready(1)


def test_a_rejected_message_is_a_dead_letter(side: Side) -> None:
    side.publish(b"bad", b"good")
    link = side.open()
    link.subscribe(10)
    for one, verdict in zip(collect(link, 2), (Settle.REJECT, Settle.ACK), strict=True):
        link.settle([(one, verdict)])
    link.close()
    assert side.dead() == [b"bad"]
    assert side.has_ready(0)


def test_what_is_given_back_comes_again_in_order_and_says_so(side: Side) -> None:
    side.publish(b"a", b"b", b"c")
    link = side.open()
    link.subscribe(10)
    collect(link, 3)
    link.cancel()
    link.requeue_held()
    link.subscribe(10)
    again = collect(link, 3)
    assert bodies(again) == [b"a", b"b", b"c"]
    assert all(one.message.redelivered for one in again)
    link.close()


def test_giving_back_nothing_is_allowed(side: Side) -> None:
    side.publish(b"a")
    link = side.open()
    link.requeue_held()
    link.subscribe(10)
    link.settle([(collect(link, 1)[0], Settle.ACK)])
    link.requeue_held()
    link.close()
    assert side.has_ready(0)


def test_closing_gives_back_what_was_not_settled(side: Side) -> None:
    side.publish(b"a")
    link = side.open()
    link.subscribe(10)
    collect(link, 1)
    link.close()
    assert side.has_ready(1)


def test_a_cancelled_link_receives_nothing_but_can_settle_what_it_holds(side: Side) -> None:
    side.publish(b"a")
    link = side.open()
    link.subscribe(10)
    held = collect(link, 1)
    link.cancel()
    side.publish(b"b")
    assert link.poll(0.2) == []
    link.settle([(held[0], Settle.ACK)])
    link.close()
    assert side.has_ready(1)


def test_cancelling_twice_is_allowed(side: Side) -> None:
    link = side.open()
    link.subscribe(1)
    link.cancel()
    link.cancel()
    link.close()


def test_a_batch_is_acked_as_a_whole_and_nothing_beside_it(side: Side) -> None:
    """What was handed out before or behind it and is not settled comes back."""
    side.publish(b"a", b"b", b"c", b"d", b"e")
    link = side.open()
    link.subscribe(10)
    held = collect(link, 5)
    link.settle([(one, Settle.ACK) for one in held[:2]])
    link.settle([(held[3], Settle.ACK)])
    link.close()
    again = side.open()
    again.subscribe(10)
    assert bodies(collect(again, 2)) == [b"c", b"e"]
    again.close()


def test_a_refused_message_is_refused_whatever_its_neighbours_are(side: Side) -> None:
    side.publish(b"a", b"bad", b"c")
    link = side.open()
    link.subscribe(10)
    verdicts = (Settle.ACK, Settle.REJECT, Settle.ACK)
    link.settle(list(zip(collect(link, 3), verdicts, strict=True)))
    link.close()
    assert side.dead() == [b"bad"]
    assert side.has_ready(0)


def test_a_message_settled_twice_harms_nobody(side: Side) -> None:
    """On RabbitMQ a repeated tag would close the channel."""
    side.publish(b"a", b"b")
    link = side.open()
    link.subscribe(10)
    first, second = collect(link, 2)
    link.settle([(first, Settle.ACK)])
    link.settle([(first, Settle.ACK)])
    link.settle([(first, Settle.REJECT)])
    link.settle([(second, Settle.ACK)])
    assert link.poll(0.1) == []
    link.close()
    assert side.has_ready(0)


def test_a_tag_of_an_older_channel_settles_nothing_on_the_new_one(side: Side) -> None:
    """Both channels count their tags from 1."""
    side.publish(b"a")
    old = side.open()
    old.subscribe(1)
    stale = collect(old, 1)[0]
    old.close()
    new = side.open()
    new.subscribe(1)
    current = collect(new, 1)[0]
    assert current.tag == stale.tag
    new.settle([(stale, Settle.ACK)])
    new.poll(0.1)
    new.close()
    assert side.has_ready(1)


def test_a_deleted_queue_is_noticed(side: Side) -> None:
    """F16."""
    link = side.open()
    link.subscribe(1)
    side.delete_queue()
    with pytest.raises(BrokerUnavailable):
        collect(link, 1)
    link.close()
