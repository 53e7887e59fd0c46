"""Who waits for a server for longer than is usual."""

from __future__ import annotations

import threading

from notifier.waits import ANSWER, SET_UP, Waits


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_server_that_does_not_let_itself_be_connected_to_is_known() -> None:
    clock = Clock()
    waits = Waits(clock)
    with waits.set_up(7):
        assert (waits.unreachable(), waits.hanging()) == ([], 0)
        clock.now += SET_UP + 0.1
        assert (waits.unreachable(), waits.hanging()) == ([7], 1)
    assert (waits.unreachable(), waits.hanging()) == ([], 0)


def test_a_mail_that_takes_long_hangs_a_thread_and_says_nothing_of_its_server() -> None:
    clock = Clock()
    waits = Waits(clock)
    with waits.answer():
        clock.now += SET_UP + 0.1
        assert waits.hanging() == 0
        clock.now += ANSWER
        assert (waits.unreachable(), waits.hanging()) == ([], 1)
    assert waits.hanging() == 0


def test_every_thread_waits_for_itself() -> None:
    clock = Clock()
    waits = Waits(clock)
    begun, go = threading.Barrier(3), threading.Event()

    def wait(server_id: int) -> None:
        with waits.set_up(server_id):
            begun.wait(10)
            go.wait(10)

    threads = [threading.Thread(target=wait, args=(server_id,)) for server_id in (7, 8)]
    for thread in threads:
        thread.start()
    begun.wait(10)
    clock.now += SET_UP + 0.1
    assert (sorted(waits.unreachable()), waits.hanging()) == ([7, 8], 2)
    go.set()
    for thread in threads:
        thread.join(10)
    assert waits.hanging() == 0
