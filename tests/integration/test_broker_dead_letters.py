"""Reading, replaying and discarding dead letters on a real broker."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from pika import BasicProperties

from notifier.broker.dead_letters import DeadLetters, open_dead_letters
from notifier.broker.letters import Selection
from notifier.broker.topology import ensure
from notifier.domain.errors import NotFound, Unroutable
from tests.broker_objects import BrokerObjects, broker_objects

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.services
EVERYTHING = Selection(everything=True)


@pytest.fixture
def broker(amqp_url: str) -> Iterator[BrokerObjects]:
    with broker_objects(amqp_url) as objects:
        ensure(amqp_url, objects.topology)
        yield objects


@pytest.fixture
def letters(broker: BrokerObjects) -> Iterator[DeadLetters]:
    """Five dead letters "0" to "4" with message ids "id-0" to "id-4", rejected by a consumer."""
    for number in range(5):
        properties = BasicProperties(
            message_id=f"id-{number}", type="job_failed", headers={"traceparent": f"trace-{number}"}
        )
        broker.publish(b"%d" % number, properties=properties)
    for _message in range(5):
        method, _properties, _body = broker.channel.basic_get(broker.topology.queue)
        assert method is not None
        broker.channel.basic_reject(method.delivery_tag or 0, requeue=False)
    assert broker.waits_for(lambda: broker.depth(broker.topology.dead_letter_queue) == 5)
    with open_dead_letters(broker.url, broker.topology) as opened:
        yield opened


def remaining(broker: BrokerObjects, number: int) -> list[bytes]:
    """What is left in the dead-letter queue, from its head."""
    dead = broker.topology.dead_letter_queue
    assert broker.waits_for(lambda: broker.depth(dead) == number)
    return [body for body, _properties in broker.take(dead)]


def test_looking_leaves_every_letter_in_its_place(broker: BrokerObjects, letters: DeadLetters) -> None:
    seen = letters.peek()
    assert [one.message.body for one in seen] == [b"0", b"1", b"2", b"3", b"4"]
    assert [one.position for one in seen] == [1, 2, 3, 4, 5]
    assert [one.id for one in seen] == ["id-0", "id-1", "id-2", "id-3", "id-4"]
    assert seen[0].body_sha256 == hashlib.sha256(b"0").hexdigest()
    assert (seen[0].death.reason, seen[0].death.queue) == ("rejected", broker.topology.queue)
    assert (seen[0].death.routing_key, seen[0].death.at is not None) == ("job_failed", True)
    assert [(one.position, one.id) for one in letters.peek()] == [(one.position, one.id) for one in seen]
    assert remaining(broker, 5) == [b"0", b"1", b"2", b"3", b"4"]


def test_looking_at_some_touches_only_those(broker: BrokerObjects, letters: DeadLetters) -> None:
    assert [one.message.body for one in letters.peek(2)] == [b"0", b"1"]
    assert broker.waits_for(lambda: broker.depth(broker.topology.dead_letter_queue) == 5)
    counts = [
        (properties.headers or {}).get("x-delivery-count", 0)
        for _body, properties in broker.take(broker.topology.dead_letter_queue)
    ]
    assert counts == [1, 1, 0, 0, 0]


def test_a_letter_is_shown_by_position_or_id(letters: DeadLetters) -> None:
    by_position = letters.show(Selection(positions=frozenset({2})))
    by_id = letters.show(Selection(ids=frozenset({"id-1"})))
    by_digest = letters.show(Selection(ids=frozenset({hashlib.sha256(b"1").hexdigest()})))
    assert [one.message.body for one in by_position] == [b"1"]
    assert [one.id for one in (*by_position, *by_id, *by_digest)] == ["id-1"] * 3


def test_a_replayed_letter_is_back_on_the_main_queue_without_the_traces_of_its_death(
    broker: BrokerObjects, letters: DeadLetters
) -> None:
    handled = letters.replay(Selection(positions=frozenset({2}), ids=frozenset({"id-3"})))
    assert (handled.count, handled.missing) == (2, ())
    replayed = broker.take(broker.topology.queue)
    assert [body for body, _properties in replayed] == [b"1", b"3"]
    properties = replayed[0][1]
    assert (properties.message_id, properties.type, properties.delivery_mode) == ("id-1", "job_failed", 2)
    headers = dict(properties.headers or {})
    headers.pop("x-delivery-count", None)  # the main queue's own, a fresh count
    assert headers == {"traceparent": "trace-1"}
    assert remaining(broker, 3) == [b"0", b"2", b"4"]


def test_everything_is_replayed_once_with_progress(broker: BrokerObjects, letters: DeadLetters) -> None:
    """Letters that die again meanwhile queue up behind, and are not replayed a second time."""
    progress: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        progress.append((done, total))
        body = b"%d" % (done - 1)
        broker.channel.basic_publish("", broker.topology.dead_letter_queue, body, mandatory=True)

    assert letters.replay(EVERYTHING, progress=note).count == 5
    assert progress == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert broker.waits_for(lambda: broker.depth(broker.topology.queue) == 5)
    assert remaining(broker, 5) == [b"0", b"1", b"2", b"3", b"4"]


def test_what_is_not_found_is_named(letters: DeadLetters) -> None:
    handled = letters.discard(Selection(positions=frozenset({1, 9}), ids=frozenset({"id-1", "nobody"})))
    assert (handled.count, handled.missing) == (2, ("9", "nobody"))


def test_a_discarded_letter_is_gone_and_the_others_keep_their_order(
    broker: BrokerObjects, letters: DeadLetters
) -> None:
    assert letters.discard(Selection(ids=frozenset({"id-0", "id-2"}))).count == 2
    assert remaining(broker, 3) == [b"1", b"3", b"4"]


def test_a_replay_that_fails_leaves_every_letter(broker: BrokerObjects, letters: DeadLetters) -> None:
    broker.channel.queue_delete(broker.topology.queue)
    with pytest.raises(Unroutable, match=broker.topology.queue):
        letters.replay(EVERYTHING)
    assert remaining(broker, 5) == [b"0", b"1", b"2", b"3", b"4"]


def test_a_fault_in_the_middle_leaves_what_was_not_done(broker: BrokerObjects, letters: DeadLetters) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        letters.replay(EVERYTHING, progress=interrupt)
    assert remaining(broker, 3) == [b"2", b"3", b"4"]
    assert [body for body, _properties in broker.take(broker.topology.queue)] == [b"0", b"1"]


def test_an_empty_queue_has_nothing_to_do(broker: BrokerObjects) -> None:
    with open_dead_letters(broker.url, broker.topology) as opened:
        assert opened.depth() == 0
        assert opened.peek() == []
        assert opened.replay(EVERYTHING).count == 0


def test_a_missing_queue_is_named(broker: BrokerObjects) -> None:
    broker.channel.queue_delete(broker.topology.dead_letter_queue)
    with (
        open_dead_letters(broker.url, broker.topology) as opened,
        pytest.raises(NotFound, match=broker.topology.dead_letter_queue),
    ):
        opened.peek()


def test_letters_younger_than_the_broker_s_count_are_seen(
    letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quorum queue's count may be seconds old."""
    monkeypatch.setattr(letters, "_depth", lambda _channel: 0)
    assert len(letters.peek()) == 5
    assert letters.discard(EVERYTHING).count == 5
