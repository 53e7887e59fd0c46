"""Reading, replaying and discarding dead letters on a real broker."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from pika import BasicProperties

from notifier.broker.dead_letters import BATCH, DeadLetters, open_dead_letters
from notifier.broker.letters import HEAD_BYTES, Selection
from notifier.domain.errors import NotFound, Unroutable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.broker_objects import BrokerObjects

pytestmark = pytest.mark.services
EVERYTHING = Selection(everything=True)


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


def bury(broker: BrokerObjects, body: bytes, message_id: str, *, at: datetime) -> None:
    """Put a letter straight into the dead-letter queue, with this time of death."""
    properties = BasicProperties(message_id=message_id, delivery_mode=2, headers={"x-death": [{"time": at}]})
    broker.channel.basic_publish("", broker.topology.dead_letter_queue, body, properties, mandatory=True)


def remaining(broker: BrokerObjects, number: int) -> list[bytes]:
    """What is left in the dead-letter queue; the broker may have shuffled it."""
    dead = broker.topology.dead_letter_queue
    assert broker.waits_for(lambda: broker.depth(dead) == number)
    return sorted(body for body, _properties in broker.take(dead))


def test_looking_leaves_every_letter(broker: BrokerObjects, letters: DeadLetters) -> None:
    seen, total = letters.peek()
    assert total == 5
    assert sorted(one.message.body for one in seen) == [b"0", b"1", b"2", b"3", b"4"]
    assert sorted(one.id for one in seen) == ["id-0", "id-1", "id-2", "id-3", "id-4"]
    (one,) = letters.show(Selection(ids=frozenset({"id-0"})))
    assert (one.body_sha256, one.size) == (hashlib.sha256(b"0").hexdigest(), 1)
    assert (one.death.reason, one.death.queue) == ("rejected", broker.topology.queue)
    assert (one.death.routing_key, one.death.at is not None) == ("job_failed", True)
    again, _total = letters.peek()
    assert [one.id for one in again] == [one.id for one in seen]
    assert remaining(broker, 5) == [b"0", b"1", b"2", b"3", b"4"]


def test_looks_and_a_discard_mix_up_no_letters_though_the_broker_shuffles_them(broker: BrokerObjects) -> None:
    """The broker puts letters that were looked at back in another order, once they are many or the look was a part."""
    ids = [f"id-{number:02}" for number in range(38)]
    for number, name in enumerate(ids):
        bury(broker, b"%d" % number, name, at=datetime(2026, 11, 23, 4, 0, number, tzinfo=UTC))
    with open_dead_letters(broker.url, broker.topology) as letters:
        for limit in (5, 1, 20, 5):
            found, total = letters.peek(limit)
            assert ([one.id for one in found], total) == (ids[:limit], 38)
        (shown,) = letters.show(Selection(ids=frozenset({ids[30]})))
        assert shown.message.body == b"30"
        assert letters.discard(Selection(ids=frozenset({ids[1]}))).count == 1
        bury(broker, b"late", "late", at=datetime(2026, 11, 23, 5, tzinfo=UTC))
        for limit in (5, 100):
            found, total = letters.peek(limit)
            assert ([one.id for one in found], total) == ([ids[0], *ids[2:], "late"][:limit], 38)
    assert set(remaining(broker, 38)) == {b"late", *(b"%d" % number for number in range(38) if number != 1)}


def test_letters_that_come_while_somebody_looks_hide_and_take_along_none(broker: BrokerObjects) -> None:
    for number in range(40):
        bury(broker, b"%d" % number, f"id-{number:02}", at=datetime(2026, 11, 23, 4, 0, number, tzinfo=UTC))

    def one_more(done: int, _total: int) -> None:
        if done % 2:
            bury(broker, b"late %d" % done, "late", at=datetime(2026, 11, 23, 5, tzinfo=UTC))

    with open_dead_letters(broker.url, broker.topology) as letters:
        found, _total = letters.peek(3, progress=one_more)
        assert [one.id for one in found] == ["id-00", "id-01", "id-02"]
        assert letters.discard(Selection(ids=frozenset({"id-01"})), progress=one_more).count == 1
        found, _total = letters.peek(3)
        assert [one.id for one in found] == ["id-00", "id-02", "id-03"]


def test_a_letter_keeps_the_beginning_of_its_body_and_a_replay_gives_back_the_whole(
    broker: BrokerObjects,
) -> None:
    body = b"x" * 100_000
    bury(broker, body, "id-0", at=datetime(2026, 11, 23, tzinfo=UTC))
    with open_dead_letters(broker.url, broker.topology) as letters:
        (one,) = letters.show(EVERYTHING)
        assert (len(one.message.body), one.size) == (HEAD_BYTES, 100_000)
        assert one.body_sha256 == hashlib.sha256(body).hexdigest()
        letters.replay(EVERYTHING)
    assert [body for body, _properties in broker.take(broker.topology.queue)] == [body]


def test_a_letter_is_shown_by_id_or_digest(letters: DeadLetters) -> None:
    by_id = letters.show(Selection(ids=frozenset({"id-1"})))
    by_digest = letters.show(Selection(ids=frozenset({hashlib.sha256(b"1").hexdigest()})))
    assert [one.message.body for one in by_id] == [b"1"]
    assert [one.id for one in (*by_id, *by_digest)] == ["id-1"] * 2


def test_a_replayed_letter_is_back_on_the_main_queue_without_the_traces_of_its_death(
    broker: BrokerObjects, letters: DeadLetters
) -> None:
    handled = letters.replay(Selection(ids=frozenset({"id-1", "id-3"})))
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
    handled = letters.discard(Selection(ids=frozenset({"id-0", "id-1", "nobody", "9"})))
    assert (handled.count, handled.missing) == (2, ("9", "nobody"))


def test_a_discarded_letter_is_gone_and_the_others_are_left(
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
        assert opened.peek() == ([], 0)
        assert opened.replay(EVERYTHING).count == 0


def test_a_missing_queue_is_named(broker: BrokerObjects) -> None:
    broker.channel.queue_delete(broker.topology.dead_letter_queue)
    with (
        open_dead_letters(broker.url, broker.topology) as opened,
        pytest.raises(NotFound, match=broker.topology.dead_letter_queue),
    ):
        opened.peek()


def test_more_letters_than_are_fetched_at_a_time_are_counted_and_handled(broker: BrokerObjects) -> None:
    number = 2 * BATCH + 50
    at = datetime(2026, 11, 23, tzinfo=UTC)
    for one in range(number):
        bury(broker, b"%d" % (one // 2), f"id-{one}", at=at)  # each body twice
    # The count of the queue lacks letters that were just looked at, for some seconds.
    with open_dead_letters(broker.url, broker.topology) as letters:
        for _look in range(2):
            found, total = letters.peek(10)
            assert (len(found), total) == (10, number)
        assert letters.discard(Selection(ids=frozenset({"id-7", "id-200"}))).count == 2
        assert letters.replay(EVERYTHING).count == number - 2
        assert letters.peek() == ([], 0)
    assert len(broker.take(broker.topology.queue)) == number - 2


def test_a_walk_ends_where_somebody_else_took_the_rest(broker: BrokerObjects) -> None:
    for number in range(3):
        bury(broker, b"%d" % number, f"id-{number}", at=datetime(2026, 11, 23, tzinfo=UTC))

    def take(_done: int, _total: int) -> None:
        broker.take(broker.topology.dead_letter_queue)

    with open_dead_letters(broker.url, broker.topology, silence=0.2) as letters:
        assert letters.discard(EVERYTHING, progress=take).count == 1
        assert letters.peek() == ([], 0)


def test_two_who_walk_at_the_same_time_lose_and_mix_up_nothing(broker: BrokerObjects) -> None:
    """Each sees what the other does not hold; a letter that neither names stays."""
    number = 3 * BATCH
    for one in range(number):
        bury(broker, b"%d" % one, f"id-{one}", at=datetime(2026, 11, 23, tzinfo=UTC))

    def walk(name: str) -> int:
        with open_dead_letters(broker.url, broker.topology, silence=0.5) as letters:
            return letters.discard(Selection(ids=frozenset({name}))).count

    with ThreadPoolExecutor(2) as both:
        gone = sum(both.map(walk, ["id-1", "id-250"]))
    with open_dead_letters(broker.url, broker.topology) as letters:
        assert letters.peek(1)[1] == number - gone
        gone += letters.discard(Selection(ids=frozenset({"id-1", "id-250"}))).count
        assert gone == 2
        found, _total = letters.peek()
    assert {one.id for one in found} == {f"id-{one}" for one in range(number) if one not in {1, 250}}
