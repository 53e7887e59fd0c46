"""A worker lives as long as each of its threads does."""

from __future__ import annotations

import io
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
def worker() -> Iterator[Worker]:
    settings = load(None, {"NOTIFIER_HEALTH__PORT": "0"}, default_paths=())
    worker = Worker(
        settings,
        environ={},
        tracer=Tracer(),
        crashpoint=Crashpoint(),
        redactor=log.configure("error", "json", stream=io.StringIO()),
    )
    yield worker
    worker._close()


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
    # What a worker does to its whole process, and a test must not do to the other tests.
    monkeypatch.setattr("notifier.worker.forget_what_no_mail_says", lambda _languages: None)
    monkeypatch.setattr("notifier.memory.settle", lambda: None)
    monkeypatch.setattr(HealthServer, "start", taken)
    monkeypatch.setattr(worker._intake, "close", lambda: closed.append("intake"))
    with pytest.raises(OSError, match="already in use"):
        worker.run()
    assert closed == ["intake"]
