"""The consuming loop on a broker in memory: every turn it can take, without waiting for real time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from notifier.broker.consumer import Consumer, ConsumerState, next_batch
from notifier.broker.link import Held
from notifier.broker.messages import BrokerMessage, Settle
from notifier.broker.put_off import MOST, PAUSE
from notifier.broker.topology import Topology
from notifier.domain.errors import (
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    DatabaseUnavailable,
    TopologyMismatch,
)
from tests.fake_broker import FakeBroker

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence


class Died(BaseException):
    """Stands for a process that ends in the middle of a batch."""


class Rig:
    """A consumer on a fake broker. It stops when `enough` says so, or after `hours` of the fake clock."""

    def __init__(
        self, broker: FakeBroker, *, enough: Callable[[], bool], prefetch: int = 50, hours: float = 1.0
    ) -> None:
        self.broker = broker
        self.stop = threading.Event()
        self.batches: list[list[bytes]] = []
        self.states: list[ConsumerState] = []
        self.faults: list[str] = []
        self.ticks: list[float] = []
        self.probes: list[float] = []
        self.database_away = False
        self.verdict: Callable[[bytes], Settle] = lambda _body: Settle.ACK
        self._enough = enough
        self._give_up_at = hours * 3600
        self.consumer = Consumer(
            "amqp://unused",
            Topology(),
            prefetch=prefetch,
            heartbeat=30,
            on_batch=self.on_batch,
            probe=self.probe,
            stop=self.stop,
            on_tick=self.on_tick,
            on_state=self.states.append,
            on_fault=self.faults.append,
            connect=broker.connect,
            clock=lambda: broker.now,
            wait=self.wait,
            chance=lambda: 1.0,
        )

    def on_batch(self, messages: Sequence[BrokerMessage]) -> list[Settle]:
        bodies = [one.body for one in messages]
        self.batches.append(bodies)
        if self.database_away:
            raise DatabaseUnavailable("connection refused")
        return [self.verdict(body) for body in bodies]

    def probe(self) -> None:
        self.probes.append(self.broker.now)
        if self.database_away:
            raise DatabaseUnavailable("still refused")

    def on_tick(self) -> None:
        self.ticks.append(self.broker.now)
        if self._enough() or self.broker.now > self._give_up_at:
            self.stop.set()

    def wait(self, seconds: float) -> bool:
        self.broker.pass_time(seconds)
        return self.stop.is_set()

    def run(self) -> None:
        self.consumer.run()


def bodies(number: int) -> list[bytes]:
    return [b"%d" % one for one in range(number)]


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


def test_every_message_is_handed_over_once_and_acked_after_its_batch(broker: FakeBroker) -> None:
    broker.publish(*bodies(120))
    rig = Rig(broker, enough=lambda: len(broker.acked) == 120)
    acked_before: list[int] = []

    def verdict(_body: bytes) -> Settle:
        acked_before.append(len(broker.acked))
        return Settle.ACK

    rig.verdict = verdict
    rig.run()
    assert [body for batch in rig.batches for body in batch] == bodies(120)
    assert broker.acked == bodies(120)
    assert acked_before[:2] == [0, 1], "no ack before the batch is done"
    assert max(map(len, rig.batches)) <= 50


def test_a_rejected_message_goes_to_the_dead_letter_queue_and_its_neighbours_do_not(
    broker: FakeBroker,
) -> None:
    broker.publish(*bodies(20))
    rig = Rig(broker, enough=lambda: len(broker.acked) == 19)
    rig.verdict = lambda body: Settle.REJECT if body == b"7" else Settle.ACK
    rig.run()
    assert [one.body for one in broker.dead] == [b"7"]
    assert len(broker.acked) == 19


def test_a_message_that_is_put_off_holds_up_no_other_and_is_handed_over_again(broker: FakeBroker) -> None:
    broker.publish(*bodies(20))
    rig = Rig(broker, enough=lambda: len(broker.acked) == 20)
    rig.verdict = lambda body: Settle.LATER if body in {b"0", b"7"} and broker.now < 60 else Settle.ACK
    rig.run()
    assert broker.acked[-2:] == [b"0", b"7"]
    tried = [batch for batch in rig.batches if b"7" in batch]
    assert 60 / PAUSE <= len(tried) <= 60 / PAUSE + 2
    assert broker.dead == []
    assert len(broker.links) == 1


def test_messages_that_are_put_off_take_the_prefetch_from_nobody(broker: FakeBroker) -> None:
    broker.publish(*(b"sick %d" % number for number in range(200)), *bodies(10))
    rig = Rig(broker, enough=lambda: len(broker.acked) == 10, hours=0.01)
    rig.verdict = lambda body: Settle.LATER if body.startswith(b"sick") else Settle.ACK
    rig.run()
    assert broker.acked == bodies(10)
    assert broker.now < PAUSE, "long before the first of them are tried again"


def test_one_that_came_back_and_is_put_off_leaves_the_way_free(broker: FakeBroker) -> None:
    """The prefetch is one then."""
    broker.publish(b"sick", b"well")
    broker.ready[0].returns = 1
    rig = Rig(broker, enough=lambda: broker.acked == [b"well"], hours=0.01)
    rig.verdict = lambda body: Settle.LATER if body == b"sick" else Settle.ACK
    rig.run()
    assert broker.acked == [b"well"]


def test_more_messages_than_a_worker_can_hold_are_an_outage(broker: FakeBroker) -> None:
    broker.publish(*bodies(MOST + 50))
    rig = Rig(broker, enough=lambda: bool(rig.faults))
    rig.verdict = lambda _body: Settle.LATER
    rig.run()
    assert "cannot be written" in rig.faults[0]
    assert ConsumerState.PAUSED in rig.states


def test_what_was_put_off_goes_back_to_the_queue_at_the_end(broker: FakeBroker) -> None:
    broker.publish(*bodies(3))
    rig = Rig(broker, enough=lambda: len(broker.acked) == 2)
    rig.verdict = lambda body: Settle.LATER if body == b"1" else Settle.ACK
    rig.run()
    assert [one.body for one in broker.ready] == [b"1"]


def test_the_first_message_after_a_connect_comes_alone_then_the_prefetch_is_full(broker: FakeBroker) -> None:
    """That one may be what killed the process before; it takes no neighbour along."""
    broker.publish(*bodies(120))
    rig = Rig(broker, enough=lambda: len(broker.acked) == 120)
    rig.run()
    assert broker.links[0].subscriptions == [1, 50]
    assert [len(batch) for batch in rig.batches] == [1, 50, 50, 19]
    assert all(one.returns == 0 for one in broker.dead)


def test_the_prefetch_stays_at_one_while_messages_come_back(broker: FakeBroker) -> None:
    """Only a message that was never handed out before shows that the head of the queue is harmless."""
    broker.publish(*bodies(6))
    for queued in list(broker.ready)[:3]:
        queued.returns = 1
    rig = Rig(broker, enough=lambda: len(broker.acked) == 6)
    rig.run()
    assert [len(batch) for batch in rig.batches] == [1, 1, 1, 1, 2]


def test_a_prefetch_of_one_needs_no_second_subscription(broker: FakeBroker) -> None:
    broker.publish(*bodies(3))
    Rig(broker, enough=lambda: len(broker.acked) == 3, prefetch=1).run()
    assert broker.links[0].subscriptions == [1]


def test_a_message_that_kills_the_process_dies_alone(broker: FakeBroker) -> None:
    """F20: dead after 21 deliveries, and no neighbour is."""
    broker.publish(*bodies(100))
    deaths = 0

    def verdict(body: bytes) -> Settle:
        if body == b"42":
            raise Died
        return Settle.ACK

    for _restart in range(40):
        rig = Rig(broker, enough=lambda: len(broker.acked) == 99 and not broker.ready)
        rig.verdict = verdict
        try:
            rig.run()
        except Died:
            deaths += 1
            assert rig.states[-1] is ConsumerState.STOPPED
            assert broker.links[-1].closed
        else:
            break
    assert deaths == 21
    assert [one.body for one in broker.dead] == [b"42"]
    assert sorted(broker.acked) == sorted(set(bodies(100)) - {b"42"})


def test_an_outage_of_the_database_counts_one_return_per_message_and_none_is_lost(broker: FakeBroker) -> None:
    """F22."""
    broker.publish(*bodies(80))
    rig = Rig(broker, enough=lambda: len(broker.acked) == 80)
    returns: dict[bytes, int] = {}

    def away() -> None:
        rig.database_away = True
        broker.publish(*bodies(80))

    def back() -> None:
        rig.database_away = False
        returns.update({one.body: one.returns for one in broker.ready})

    broker.ready.clear()
    broker.at(10, away)
    broker.at(310, back)
    rig.run()
    assert sorted(broker.acked) == sorted(bodies(80))
    assert max(returns.values()) == 1
    assert len([batch for batch in rig.batches if batch == [b"0"]]) == 2, (
        "one failed batch, not a loop of nacks"
    )
    assert rig.probes[-1] <= 310 + 10, "consuming again within 10 s (F15)"
    assert max(later - sooner for sooner, later in zip(rig.probes, rig.probes[1:], strict=False)) <= 8.5


def test_a_pause_is_reported_keeps_ticking_and_ends_in_consuming(broker: FakeBroker) -> None:
    broker.publish(b"only")
    rig = Rig(broker, enough=lambda: bool(broker.acked))
    rig.database_away = True
    broker.at(60, lambda: setattr(rig, "database_away", False))
    rig.run()
    state = ConsumerState
    assert rig.states == [
        *(state.CONNECTING, state.CONSUMING, state.PAUSED, state.CONSUMING),
        *(state.DRAINING, state.STOPPED),
    ]
    assert max(later - sooner for sooner, later in zip(rig.ticks, rig.ticks[1:], strict=False)) <= 0.5


def test_batches_that_fail_although_the_probe_passes_are_tried_ever_more_slowly(broker: FakeBroker) -> None:
    """The backoff is kept until a batch commits, and only one message at a time pays for a try."""
    broker.publish(*bodies(100))
    rig = Rig(broker, enough=lambda: False, hours=0.1)

    def fails(_body: bytes) -> Settle:
        raise DatabaseUnavailable("permission denied for table")

    rig.verdict = fails
    rig.run()
    assert rig.probes[:6] == pytest.approx([1, 3, 7, 15, 31, 61], abs=0.1)
    assert len(rig.batches) <= 17
    assert broker.dead == []
    assert sum(one.returns > 0 for one in broker.ready) == 1


def resumed_and_paused(logs: Sequence[MutableMapping[str, Any]]) -> list[str]:
    return [line["event"] for line in logs if line["event"] in {"intake_resumed", "intake_paused"}]


def test_the_end_of_an_outage_is_told_once(broker: FakeBroker) -> None:
    broker.publish(b"only")
    rig = Rig(broker, enough=lambda: bool(broker.acked))
    rig.database_away = True
    broker.at(60, lambda: setattr(rig, "database_away", False))
    with capture_logs() as logs:
        rig.run()
    assert resumed_and_paused(logs) == ["intake_paused", "intake_resumed"]


def test_the_end_of_an_outage_is_told_although_no_message_waits(broker: FakeBroker) -> None:
    broker.publish(b"only")
    rig = Rig(broker, enough=lambda: broker.now > 100)
    rig.database_away = True
    broker.at(50, broker.ready.clear)
    broker.at(60, lambda: setattr(rig, "database_away", False))
    with capture_logs() as logs:
        rig.run()
    assert resumed_and_paused(logs) == ["intake_paused", "intake_resumed"]


def test_batches_that_fail_although_the_probe_passes_are_no_end_of_the_outage(broker: FakeBroker) -> None:
    """Not intake_resumed and intake_paused in turn, every few seconds."""
    broker.publish(b"only")
    rig = Rig(broker, enough=lambda: bool(broker.acked))

    def fails(_body: bytes) -> Settle:
        if broker.now < 200:
            raise DatabaseUnavailable("column does not exist")
        return Settle.ACK

    rig.verdict = fails
    with capture_logs() as logs:
        rig.run()
    told = resumed_and_paused(logs)
    assert told.count("intake_resumed") == 2, "when the probe passed first, and when a batch was committed"
    assert told[:2] == ["intake_paused", "intake_resumed"]
    assert told[-1] == "intake_resumed"
    assert told.count("intake_paused") >= 5


def test_every_fault_of_broker_and_database_is_reported_in_its_own_words(broker: FakeBroker) -> None:
    broker.publish(b"only")
    broker.connect_faults.append(BrokerUnavailable("connection refused"))
    rig = Rig(broker, enough=lambda: bool(broker.acked))
    rig.database_away = True
    broker.at(4, lambda: setattr(rig, "database_away", False))
    broker.at(5, broker.drop_connections)
    rig.run()
    assert rig.faults[:3] == ["connection refused", "connection refused", "still refused"]


def test_a_broker_lost_during_a_pause_does_not_end_the_pause(broker: FakeBroker) -> None:
    broker.publish(*bodies(3))
    rig = Rig(broker, enough=lambda: len(broker.acked) == 3)
    rig.database_away = True
    broker.at(20, broker.drop_connections)
    broker.at(60, lambda: setattr(rig, "database_away", False))
    rig.run()
    assert len(broker.connects) == 2
    assert broker.links[1].subscriptions == [1, 50]
    assert len(rig.batches[0]) == 1
    assert rig.batches[0] == rig.batches[1] == [b"0"], "nothing was tried in between"


@pytest.mark.parametrize("lose", ["drop_connections", "delete_queue"])
def test_a_lost_link_is_rebuilt_and_what_was_held_comes_again(broker: FakeBroker, lose: str) -> None:
    """F14, F16."""
    rig = Rig(broker, enough=lambda: len(broker.acked) == 30)
    broker.at(5, getattr(broker, lose))
    broker.at(6, lambda: broker.publish(*bodies(30)))
    rig.run()
    assert broker.acked == bodies(30)
    assert len(broker.connects) == 2
    assert broker.connects[1] - 5 <= 1.5


def test_a_link_lost_while_a_batch_is_worked_on_costs_only_a_redelivery(broker: FakeBroker) -> None:
    """The old tags are never used on the new channel."""
    broker.publish(*bodies(60))
    rig = Rig(broker, enough=lambda: len(broker.acked) == 60)
    done = False

    def verdict(body: bytes) -> Settle:
        nonlocal done
        if body == b"30" and not done:
            done = True
            broker.drop_connections()
        return Settle.ACK

    rig.verdict = verdict
    rig.run()
    assert sorted(broker.acked) == sorted(bodies(60))
    assert not broker.dead


def test_reconnecting_waits_longer_each_time_up_to_thirty_seconds_and_never_ends(broker: FakeBroker) -> None:
    broker.connect_faults.extend(BrokerUnavailable("connection refused") for _ in range(9))
    rig = Rig(broker, enough=lambda: len(broker.links) == 1)
    rig.run()
    gaps = [later - sooner for sooner, later in zip(broker.connects, broker.connects[1:], strict=False)]
    assert gaps == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert max(later - sooner for sooner, later in zip(rig.ticks, rig.ticks[1:], strict=False)) <= 0.5


def test_links_that_break_at_once_count_as_failures(broker: FakeBroker) -> None:
    rig = Rig(broker, enough=lambda: len(broker.connects) == 6)

    def break_it() -> None:
        broker.drop_connections()
        broker.at(broker.now + 0.25, break_it)

    broker.at(0.25, break_it)
    rig.run()
    gaps = [later - sooner for sooner, later in zip(broker.connects, broker.connects[1:], strict=False)]
    assert gaps == pytest.approx([1, 2, 4, 8, 16], abs=0.6)


@pytest.mark.parametrize("worked", ["long", "settled"])
def test_after_a_link_that_worked_the_first_wait_is_short_again(broker: FakeBroker, worked: str) -> None:
    broker.connect_faults.extend(BrokerUnavailable("refused") for _ in range(5))  # up at 31 s
    lost_at = 60 if worked == "long" else 32
    if worked == "settled":
        broker.at(31.5, lambda: broker.publish(b"one"))
    broker.at(lost_at, broker.drop_connections)
    Rig(broker, enough=lambda: len(broker.links) == 2).run()
    assert broker.connects[-1] - lost_at <= 1.5


@pytest.mark.parametrize(
    "fault",
    [
        BrokerRefused(["login refused"]),
        TopologyMismatch(["x-queue-type differs"]),
        ConfigurationError(["queue is missing"]),
    ],
)
def test_a_fault_that_only_a_person_can_mend_ends_the_start(broker: FakeBroker, fault: Exception) -> None:
    """F19."""
    broker.connect_faults.append(fault)
    rig = Rig(broker, enough=lambda: False)
    with pytest.raises(type(fault)):
        rig.run()
    assert broker.now == 0, "no loop"
    assert rig.states[-1] is ConsumerState.STOPPED


def test_a_login_refused_later_is_tried_again(broker: FakeBroker) -> None:
    """A broker being set up again refuses for a while."""
    rig = Rig(broker, enough=lambda: bool(broker.acked))

    def restart() -> None:
        broker.connect_faults.extend(BrokerRefused(["login refused"]) for _ in range(3))
        broker.drop_connections()
        broker.publish(b"later")

    broker.at(5, restart)
    rig.run()
    assert broker.acked == [b"later"]


def test_a_queue_that_comes_back_with_other_arguments_ends_the_worker(broker: FakeBroker) -> None:
    """F16: declared again, or exit with a message; never silent."""
    rig = Rig(broker, enough=lambda: False)
    broker.at(5, lambda: broker.connect_faults.append(TopologyMismatch(["x-queue-type differs"])))
    broker.at(6, broker.delete_queue)
    with pytest.raises(TopologyMismatch):
        rig.run()


def test_a_stop_finishes_the_batch_in_hand_and_gives_the_rest_back_untried(broker: FakeBroker) -> None:
    broker.publish(*bodies(51))
    list(broker.ready)[50].returns = 1  # travels alone, so it is still held when the stop comes
    rig = Rig(broker, enough=lambda: False)

    def verdict(body: bytes) -> Settle:
        if body == b"20":
            rig.stop.set()
        return Settle.ACK

    rig.verdict = verdict
    rig.run()
    assert broker.acked == bodies(50)
    assert [one.body for one in broker.ready] == [b"50"]
    assert rig.states[-2:] == [ConsumerState.DRAINING, ConsumerState.STOPPED]
    assert broker.links[0].closed


def test_a_stop_while_the_broker_is_away_ends_the_wait(broker: FakeBroker) -> None:
    broker.connect_faults.extend(BrokerUnavailable("refused") for _ in range(100))
    rig = Rig(broker, enough=lambda: broker.now >= 40)
    rig.run()
    assert broker.now <= 41


def test_a_stop_while_the_database_is_away_ends_the_pause(broker: FakeBroker) -> None:
    broker.publish(*bodies(3))
    rig = Rig(broker, enough=lambda: broker.now >= 100)
    rig.database_away = True
    rig.run()
    assert broker.now <= 101
    assert [one.body for one in broker.ready] == bodies(3)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 50))
def test_batches_keep_the_order_and_isolate_what_came_back(flags: list[bool], prefetch: int) -> None:
    """For every pattern of redelivered messages."""
    held = [
        Held(message=BrokerMessage(body=b"", redelivered=flag), tag=tag, channel=1)
        for tag, flag in enumerate(flags, start=1)
    ]
    rest, batches = list(held), []
    while rest:
        batch = next_batch(rest, prefetch)
        batches.append(batch)
        del rest[: len(batch)]
    assert [one for batch in batches for one in batch] == held
    assert all(1 <= len(batch) <= prefetch for batch in batches)
    assert all(len(batch) == 1 for batch in batches if any(one.message.redelivered for one in batch))


def test_a_batch_that_commits_makes_the_next_outage_a_first_one(broker: FakeBroker) -> None:
    """The backoff is kept until a batch commits, and no longer."""
    rig = Rig(broker, enough=lambda: len(broker.acked) == 2)

    def fail_once(body: bytes) -> Callable[[], None]:
        def start() -> None:
            rig.database_away = True
            broker.publish(body)
            broker.at(broker.now + 0.7, lambda: setattr(rig, "database_away", False))

        return start

    broker.at(10, fail_once(b"first"))
    broker.at(100, fail_once(b"second"))
    rig.run()
    assert rig.probes == pytest.approx([11, 101], abs=0.6)
