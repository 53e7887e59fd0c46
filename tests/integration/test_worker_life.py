"""A worker lives as long as each of its threads does."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from notifier import log
from notifier.config import load
from notifier.crashpoints import Crashpoint
from notifier.health import HealthServer
from notifier.tracing import Tracer
from notifier.vitals import LIVE_LIMIT
from notifier.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS = ["sender", "pulse", "sweeper", "housekeeping"]


class Part:
    def __init__(self, *, alive: bool) -> None:
        self.alive = alive


@pytest.fixture
def said() -> io.StringIO:
    """What the worker logged."""
    return io.StringIO()


@pytest.fixture
def worker(said: io.StringIO) -> Iterator[Worker]:
    settings = load(None, {"NOTIFIER_HEALTH__PORT": "0"}, default_paths=())
    worker = Worker(
        settings,
        environ={},
        tracer=Tracer(),
        crashpoint=Crashpoint(),
        redactor=log.configure("info", "json", stream=said),
    )
    yield worker
    worker._close()


def spare_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what a worker does to its whole process, and a test must not do to the other tests."""
    monkeypatch.setattr("notifier.worker.forget_what_no_mail_says", lambda _languages: None)
    monkeypatch.setattr("notifier.memory.settle", lambda: None)


@pytest.mark.parametrize("dead", THREADS)
def test_a_worker_that_lost_a_thread_is_neither_live_nor_ready(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, dead: str
) -> None:
    assert list(worker._parts) == THREADS
    now = [0.0]
    monkeypatch.setattr(worker._vitals, "_clock", lambda: now[0])
    for lost in ("", dead):
        worker._parts = {name: Part(alive=name != lost) for name in THREADS}
        now[0] += LIVE_LIMIT + 1
        worker._tick()
        assert worker._vitals.live() is not bool(lost)
        assert any(dead in obstacle for obstacle in worker._vitals.obstacles()) is bool(lost)


def test_a_worker_that_cannot_start_says_why_and_gives_back_what_it_took(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was started when the health pages could not be: the drain has no thread to wait for."""

    def taken(_server: HealthServer) -> None:
        raise OSError("address already in use")

    closed: list[str] = []
    monkeypatch.setattr("notifier.start_checks.check_database", lambda _engine, _settings: None)
    spare_the_process(monkeypatch)
    monkeypatch.setattr(HealthServer, "start", taken)
    monkeypatch.setattr(worker._intake, "close", lambda: closed.append("intake"))
    with pytest.raises(OSError, match="already in use"):
        worker.run()
    assert closed == ["intake"]


def test_the_last_line_of_a_worker_says_how_its_drain_ended(
    worker: Worker, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when there was so little to drain that it was over before the signal's own line was written."""
    drained = threading.Event()

    class Terminated:
        def run(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            assert worker._stopping.wait(30)

    spare_the_process(monkeypatch)
    monkeypatch.setattr("notifier.start_checks.check_database", lambda _engine, _settings: None)
    monkeypatch.setattr(worker, "_cut_off", lambda: None)
    monkeypatch.setattr(worker, "_consumer", Terminated)
    for part in worker._parts.values():
        monkeypatch.setattr(part, "start", lambda: None)
    monkeypatch.setattr(worker._tracer, "close", drained.set)  # the last thing that is given back
    monkeypatch.setattr(worker._vitals, "drain", lambda: drained.wait(30))
    worker.run()

    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["worker_started", "drain_started", "worker_stopped"]
    assert lines[-1]["complete"] is True
