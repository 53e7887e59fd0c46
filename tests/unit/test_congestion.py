"""When another thread would only queue for the interpreter."""

from __future__ import annotations

import threading

import pytest

from notifier.congestion import CROWDED, Congestion
from tests.waiting import wait_until


class Queue:
    """A clock, and a wait as long as told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.wait = 0.0

    def __call__(self) -> float:
        return self.now

    def let_go(self) -> None:
        self.now += self.wait


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def congestion(queue: Queue) -> Congestion:
    return Congestion(queue, queue.let_go)


def test_it_is_not_crowded_before_anybody_looked(congestion: Congestion) -> None:
    assert not congestion.crowded


def test_waits_that_last_are_noticed_and_forgotten_within_a_dozen_looks(
    queue: Queue, congestion: Congestion
) -> None:
    for wait, crowded in ((2 * CROWDED, True), (0.0, False)):
        queue.wait = wait
        for _ in range(12):
            congestion.sample()
        assert congestion.crowded is crowded


def test_what_nobody_looked_at_for_a_while_is_not_crowded(queue: Queue, congestion: Congestion) -> None:
    queue.wait = 2 * CROWDED
    for _ in range(12):
        congestion.sample()
    assert congestion.crowded
    queue.now += 0.2
    assert not congestion.crowded


def test_one_long_wait_is_forgotten_within_a_dozen_looks(queue: Queue, congestion: Congestion) -> None:
    queue.wait = 60.0
    congestion.sample()
    queue.wait = 0.0
    for _ in range(12):
        congestion.sample()
    assert not congestion.crowded


def test_threads_that_compute_are_noticed_for_real() -> None:
    congestion = Congestion()
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(100))

    def noticed() -> bool:
        congestion.sample()
        return congestion.crowded

    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        wait_until(noticed, what="the crowd")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
