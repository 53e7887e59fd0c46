"""Who wakes whom, and who may try an unproven server."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import pytest

from notifier.congestion import Congestion
from notifier.senders import Senders, UnprovenSlots, Wakeups


def test_a_token_given_before_the_wait_is_not_lost() -> None:
    wakeups = Wakeups(4)
    wakeups.wake()
    wakeups.wait()


def test_each_token_wakes_one_thread() -> None:
    wakeups = Wakeups(4)
    woken = threading.Semaphore(0)

    def sleeper() -> None:
        wakeups.wait()
        woken.release()

    threads = [threading.Thread(target=sleeper, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    wakeups.wake(2)
    assert all(woken.acquire(timeout=5) for _ in range(2))
    assert sum(thread.is_alive() for thread in threads) >= 1
    wakeups.wake()
    assert woken.acquire(timeout=5)
    for thread in threads:
        thread.join(5)


def test_there_are_never_more_tokens_than_threads() -> None:
    wakeups = Wakeups(2)
    for _ in range(10):
        wakeups.wake(5)
    for _ in range(2):
        wakeups.wait()
    late = threading.Thread(target=wakeups.wait, daemon=True)
    late.start()
    late.join(0.05)
    assert late.is_alive()
    wakeups.wake()
    late.join(5)


@pytest.mark.parametrize(("senders", "slots"), [(1, 1), (2, 1), (8, 4), (9, 4)])
def test_half_of_the_senders_may_be_with_unproven_servers(senders: int, slots: int) -> None:
    places = UnprovenSlots(senders)
    assert [places.take() for _ in range(slots + 1)] == [True] * slots + [False]


def test_a_freed_slot_tells_once_that_somebody_was_refused() -> None:
    places = UnprovenSlots(2)
    assert places.take()
    assert not places.give_back()
    assert places.take()
    assert not places.take()
    assert places.give_back()
    assert places.take()
    assert not places.give_back()


@pytest.mark.parametrize(
    ("at_work", "crowded", "woken"),
    [(True, False, 1), (False, True, 1), (True, True, 0)],
    ids=["there is room", "nobody is at work", "those at work find them as soon"],
)
def test_new_mails_wake_a_sender_and_give_way_to_it_unless_it_would_only_queue(
    monkeypatch: pytest.MonkeyPatch, *, at_work: bool, crowded: bool, woken: int
) -> None:
    monkeypatch.setattr(Congestion, "crowded", property(lambda _self: crowded))
    nothing: Any = None
    done: list[str] = []
    senders = Senders(
        count=1,
        engine=nothing,
        claimer=nothing,
        delivery=nothing,
        waits=nothing,
        congestion=Congestion(let_go=lambda: done.append("gave way")),
        metrics=nothing,
        clock=nothing,
        new_uuid=nothing,
        stopping=threading.Event(),
    )
    if at_work:
        senders._in_hand.add(uuid4())
    monkeypatch.setattr(senders, "wake", lambda: done.append("woke"))
    senders.new_mails()
    assert done == ["woke", "gave way"] * woken
