"""Looking at the dead-letter queue, and emptying it with care (contract section 6, reliability section 6).

Letters are fetched one by one and kept unsettled; those not chosen go back together, in their old order.
Each walk touches only as many letters as it must and at most as many as the queue held when it began, so a
replayed event that dies again is not replayed a second time.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pika.exceptions import ChannelClosedByBroker

from notifier.broker.connection import PROTOCOL_FAULTS, broker_faults, connected
from notifier.broker.letters import DeadLetter, Handled, Selection, read_letter, second_life
from notifier.broker.publisher import Publisher
from notifier.domain.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika import BasicProperties
    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

    from notifier.broker.topology import Topology

_NOT_FOUND = 404
_LATE_COUNT = 1000  # letters that the broker's count may lack


@dataclass(kw_only=True, slots=True)
class _Tally:
    selection: Selection
    count: int = 0
    positions: set[int] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def add(self, letter: DeadLetter) -> None:
        self.count += 1
        self.positions.add(letter.position)
        self.names |= letter.names

    def result(self) -> Handled:
        positions = sorted(self.selection.positions - self.positions)
        ids = sorted(self.selection.ids - self.names)
        return Handled(count=self.count, missing=(*(str(one) for one in positions), *ids))


class DeadLetters:
    """The dead-letter queue over one connection; for one thread. Obtain it from `open_dead_letters`.

    Every method raises NotFound when the queue does not exist, BrokerUnavailable when the broker goes away:
    then unsettled letters are back in the queue. `progress` is called with (done, total) after each letter.
    """

    def __init__(self, connection: BlockingConnection, topology: Topology, publisher: Publisher) -> None:
        self._connection = connection
        self._topology = topology
        self._publisher = publisher

    def depth(self) -> int:
        """How many letters wait."""
        with self._channel() as channel:
            return self._depth(channel)

    def peek(self, limit: int | None = None) -> list[DeadLetter]:
        """Return the oldest `limit` letters (all when None), left where they are."""
        letters: list[DeadLetter] = []

        def look(letter: DeadLetter, _properties: BasicProperties) -> bool:
            letters.append(letter)
            return False

        self._walk(look, last=limit, progress=_silent)
        return letters

    def show(self, selection: Selection) -> list[DeadLetter]:
        """Return the letters that are meant, left where they are."""
        letters: list[DeadLetter] = []

        def look(letter: DeadLetter, _properties: BasicProperties) -> bool:
            if selection.matches(letter):
                letters.append(letter)
            return False

        self._walk(look, last=selection.last_position, progress=_silent)
        return letters

    def replay(self, selection: Selection, *, progress: Callable[[int, int], None] | None = None) -> Handled:
        """Publish each chosen letter to the main queue, then remove it; a crash between repeats an event
        that its identity makes harmless. Also raises Unroutable when the main queue does not exist.
        """
        tally = _Tally(selection=selection)

        def replay(letter: DeadLetter, properties: BasicProperties) -> bool:
            if not selection.matches(letter):
                return False
            self._publisher.send(
                letter.message.body,
                exchange="",
                routing_key=self._topology.queue,
                properties=second_life(properties),
            )
            tally.add(letter)
            return True

        self._walk(replay, last=selection.last_position, progress=progress or _silent)
        return tally.result()

    def discard(self, selection: Selection, *, progress: Callable[[int, int], None] | None = None) -> Handled:
        """Remove the chosen letters for good."""
        tally = _Tally(selection=selection)

        def discard(letter: DeadLetter, _properties: BasicProperties) -> bool:
            chosen = selection.matches(letter)
            if chosen:
                tally.add(letter)
            return chosen

        self._walk(discard, last=selection.last_position, progress=progress or _silent)
        return tally.result()

    def _walk(
        self,
        visit: Callable[[DeadLetter, BasicProperties], bool],
        *,
        last: int | None,
        progress: Callable[[int, int], None],
    ) -> None:
        """Visit letters from the oldest on; remove those for which `visit` says True.

        The broker's count may be some seconds old, so the walk goes on past it until the queue is empty, but not to
        a letter that this walk has removed: one that was replayed in vain must not be replayed for ever. Nor much
        further: letters may come as fast as they are taken.
        """
        removed: set[str] = set()
        with self._channel() as channel:
            depth = self._depth(channel)
            try:
                for position in itertools.count(1):
                    if position > (depth + _LATE_COUNT if last is None else last):
                        break
                    method, properties, body = channel.basic_get(self._topology.dead_letter_queue)
                    if method is None or properties is None:
                        break
                    letter = read_letter(position, method, properties, body or b"")
                    if position > depth and letter.body_sha256 in removed:
                        break
                    if visit(letter, properties):
                        channel.basic_ack(method.delivery_tag or 0)
                        removed.add(letter.body_sha256)
                    progress(position, max(position, depth))
            finally:
                # All at once and sorted by the broker: the order stays, each counts one more delivery.
                if channel.is_open:
                    channel.basic_nack(0, multiple=True, requeue=True)

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
def open_dead_letters(url: str, topology: Topology) -> Iterator[DeadLetters]:
    """Connect for reading; replays go over a connection of their own (D6)."""
    with (
        connected(url, name="notifier dead-letters") as connection,
        Publisher(url, exchange="", app_id="notifier replay") as publisher,
    ):
        yield DeadLetters(connection, topology, publisher)


def _silent(_done: int, _total: int) -> None:
    """Progress nobody watches."""
