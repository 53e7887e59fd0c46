"""Looking at the dead-letter queue, and emptying it with care (docs/contract.md, docs/reliability.md).

Every command walks the whole queue: letters are fetched and kept unsettled; those not chosen go back together. The
broker puts them back in an order of its own (RabbitMQ 3.10 behind those it got back before, and shuffled where they are
more than 32), so a place in the queue names no letter and tells no age: names are ids and digests, and the oldest
letters are found by the time of their death. A walk sees as many letters as the queue held when it began, so a replayed
event that dies again is not replayed a second time.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from pika.exceptions import ChannelClosedByBroker

from notifier.broker.connection import PROTOCOL_FAULTS, broker_faults, connected
from notifier.broker.letters import DeadLetter, Handled, Oldest, Selection, read_letter, second_life
from notifier.broker.publisher import Publisher
from notifier.domain.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika import BasicProperties
    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
    from pika.spec import Basic

    from notifier.broker.topology import Topology

    _Fetched: TypeAlias = tuple[Basic.GetOk | Basic.Deliver, BasicProperties, bytes]

_NOT_FOUND = 404
BATCH = 100  # letters in memory at a time, each with its whole body
_SILENCE = 5.0  # s without a letter: somebody else has the rest


@dataclass(kw_only=True, slots=True)
class _Tally:
    selection: Selection
    count: int = 0
    names: set[str] = field(default_factory=set)

    def add(self, letter: DeadLetter) -> None:
        self.count += 1
        self.names |= letter.names

    def result(self) -> Handled:
        return Handled(count=self.count, missing=tuple(sorted(self.selection.ids - self.names)))


class DeadLetters:
    """The dead-letter queue over one connection; for one thread. Obtain it from `open_dead_letters`.

    Every method raises NotFound when the queue does not exist, BrokerUnavailable when the broker goes away:
    then unsettled letters are back in the queue. `progress` is called with (done, total) after each letter.
    """

    def __init__(
        self, connection: BlockingConnection, topology: Topology, publisher: Publisher, *, silence: float
    ) -> None:
        self._connection = connection
        self._topology = topology
        self._publisher = publisher
        self._silence = silence

    def depth(self) -> int:
        """How many letters wait."""
        with self._channel() as channel:
            return self._depth(channel)

    def peek(
        self, limit: int | None = None, *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[list[DeadLetter], int]:
        """Return the oldest `limit` letters (all when None), left in the queue, and how many there are in all."""
        return self._look(Selection(everything=True), limit, progress)

    def show(
        self, selection: Selection, *, progress: Callable[[int, int], None] | None = None
    ) -> list[DeadLetter]:
        """Return the letters that are meant, the oldest first, left in the queue."""
        letters, _number = self._look(selection, None, progress)
        return letters

    def _look(
        self, selection: Selection, limit: int | None, progress: Callable[[int, int], None] | None
    ) -> tuple[list[DeadLetter], int]:
        oldest = Oldest(limit)
        number = 0

        def look(letter: DeadLetter, _properties: BasicProperties, _body: bytes) -> bool:
            nonlocal number
            if selection.matches(letter):
                oldest.add(letter)
                number += 1
            return False

        self._walk(look, progress=progress or _silent)
        return oldest.letters(), number

    def replay(self, selection: Selection, *, progress: Callable[[int, int], None] | None = None) -> Handled:
        """Publish each chosen letter to the main queue, then remove it; a crash between repeats an event
        that its identity makes harmless. Also raises Unroutable when the main queue does not exist.
        """
        tally = _Tally(selection=selection)

        def replay(letter: DeadLetter, properties: BasicProperties, body: bytes) -> bool:
            if not selection.matches(letter):
                return False
            self._publisher.send(
                body,
                exchange="",
                routing_key=self._topology.queue,
                properties=second_life(properties),
            )
            tally.add(letter)
            return True

        self._walk(replay, progress=progress or _silent)
        return tally.result()

    def discard(self, selection: Selection, *, progress: Callable[[int, int], None] | None = None) -> Handled:
        """Remove the chosen letters for good."""
        tally = _Tally(selection=selection)

        def discard(letter: DeadLetter, _properties: BasicProperties, _body: bytes) -> bool:
            chosen = selection.matches(letter)
            if chosen:
                tally.add(letter)
            return chosen

        self._walk(discard, progress=progress or _silent)
        return tally.result()

    def _walk(
        self,
        visit: Callable[[DeadLetter, BasicProperties, bytes], bool],
        *,
        progress: Callable[[int, int], None],
    ) -> None:
        """Visit the letters in the queue; remove those for which `visit` says True."""
        with self._channel() as channel:
            try:
                self._visit_all(channel, visit, progress)
            finally:
                # Each counts one more delivery; the queue's limit is out of reach.
                if channel.is_open:
                    channel.basic_nack(0, multiple=True, requeue=True)

    def _visit_all(
        self,
        channel: BlockingChannel,
        visit: Callable[[DeadLetter, BasicProperties, bytes], bool],
        progress: Callable[[int, int], None],
    ) -> None:
        done = 0
        first, total = self._first(channel)
        while batch := first or self._next(channel, min(BATCH, total - done)):
            first = []
            for method, properties, body in batch:
                if visit(read_letter(method, properties, body), properties, body):
                    channel.basic_ack(method.delivery_tag or 0)
                done += 1
                progress(done, total)

    def _first(self, channel: BlockingChannel) -> tuple[list[_Fetched], int]:
        """Return one letter, if there is one, and how many there are in all.

        Only basic.get knows the number of this moment; the count of the queue itself may be some seconds old.
        """
        method, properties, body = channel.basic_get(self._topology.dead_letter_queue)
        if method is None or properties is None:
            return [], 0
        return [(method, properties, body or b"")], 1 + (method.message_count or 0)

    def _next(self, channel: BlockingChannel, number: int) -> list[_Fetched]:
        """Return so many more letters; fewer when somebody else took the rest.

        A consumer with just this prefetch: with basic.get the broker writes each letter's way to its disk.
        """
        fetched: list[_Fetched] = []
        if number:
            channel.basic_qos(prefetch_count=number)
            coming = channel.consume(self._topology.dead_letter_queue, inactivity_timeout=self._silence)
            for method, properties, body in itertools.islice(coming, number):
                if method is None or properties is None:
                    break
                fetched.append((method, properties, body or b""))
            channel.cancel()
        return fetched

    def _depth(self, channel: BlockingChannel) -> int:
        count: int = channel.queue_declare(
            self._topology.dead_letter_queue, passive=True
        ).method.message_count
        return count

    @contextmanager
    def _channel(self) -> Iterator[BlockingChannel]:
        name = self._topology.dead_letter_queue
        with broker_faults(f"reading queue {name}", faults=PROTOCOL_FAULTS):
            try:
                with self._connection.channel() as channel:
                    yield channel
            except ChannelClosedByBroker as exc:
                if exc.reply_code == _NOT_FOUND:
                    raise NotFound(
                        f"queue {name} does not exist: start `notifier run` once to create it"
                    ) from exc
                raise


@contextmanager
def open_dead_letters(url: str, topology: Topology, *, silence: float = _SILENCE) -> Iterator[DeadLetters]:
    """Connect for reading; replays go over a connection of their own.

    A walk ends after `silence` seconds without a letter.
    """
    with (
        connected(url, name="notifier dead-letters") as connection,
        Publisher(url, exchange="", app_id="notifier replay") as publisher,
    ):
        yield DeadLetters(connection, topology, publisher, silence=silence)


def _silent(_done: int, _total: int) -> None:
    """Progress nobody watches."""
