from __future__ import annotations

import os
import signal
import threading

from notifier.stop_signals import StopSignals
from tests.waiting import wait_until


def test_a_signal_is_heard_although_the_main_thread_holds_the_lock_that_its_answer_needs() -> None:
    lock = threading.Lock()
    heard: list[int] = []

    def stop(number: int) -> None:
        with lock:
            heard.append(number)

    with StopSignals(on_stop=stop, on_repeat=lambda: heard.append(0)):
        with lock:
            os.kill(os.getpid(), signal.SIGTERM)
            assert heard == []  # Python has run its handler by now
        wait_until(lambda: heard == [signal.SIGTERM], what="the first signal")
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: heard == [signal.SIGTERM, 0], what="the second one")


def test_afterwards_signals_mean_what_they_meant() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals(on_stop=lambda _: None, on_repeat=lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
