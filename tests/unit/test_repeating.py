"""Tasks are done again and again, whatever becomes of one round."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from notifier import repeating
from notifier.domain.errors import DatabaseUnavailable
from notifier.housekeeping import Housekeeping
from notifier.metrics import Metrics
from notifier.repeating import Repeating
from notifier.vitals import Vitals
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _quick_and_quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(repeating, "POLL", 0.001)
    with capture_logs():
        yield


@pytest.fixture
def stopping() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize(
    "fault", [RuntimeError("can't start new thread"), MemoryError(), DatabaseUnavailable("gone")]
)
def test_a_task_that_fails_is_done_again_and_holds_up_no_other(
    stopping: threading.Event, fault: Exception
) -> None:
    failed: list[int] = []
    others: list[int] = []
    told: list[str] = []

    def failing() -> None:
        failed.append(1)
        raise fault

    thread = Repeating(
        "sweeper",
        [(0.0, failing), (0.0, lambda: others.append(1))],
        clock=time.monotonic,
        stopping=stopping,
        on_database_fault=told.append,
    )
    thread.start()
    wait_until(lambda: len(failed) > 2 and len(others) > 2, what="three rounds")
    assert thread.alive
    assert (told != []) is isinstance(fault, DatabaseUnavailable)


def test_a_task_waits_for_its_turn_and_the_end_is_told(stopping: threading.Event) -> None:
    often: list[int] = []
    seldom: list[int] = []
    ended = threading.Event()
    thread = Repeating(
        "sweeper",
        [(0.0, lambda: often.append(1)), (3600.0, lambda: seldom.append(1))],
        clock=time.monotonic,
        stopping=stopping,
        at_end=ended.set,
    )
    thread.start()
    wait_until(lambda: len(often) > 5, what="six rounds")
    stopping.set()
    assert ended.wait(10)
    assert seldom == [1]
    wait_until(lambda: not thread.alive, what="its end")


class _Idle:
    """A pool whose idle connections are closed by this."""

    def __init__(self, close: Callable[[], object]) -> None:
        self.close_idle = close


def test_housekeeping_closes_what_is_idle_and_counts_the_dead_letters(stopping: threading.Event) -> None:
    closed: list[int] = []
    vitals, metrics = Vitals(version="test", clock=time.monotonic), Metrics(version="test")
    keeper = Housekeeping(
        pool=_Idle(lambda: closed.append(1)),  # type: ignore[arg-type]
        count_dead_letters=lambda: 3,
        vitals=vitals,
        metrics=metrics,
        clock=time.monotonic,
        stopping=stopping,
    )
    keeper.start()
    wait_until(lambda: len(closed) > 1 and vitals.summary()["dead_letters"] == 3, what="a round")
    assert keeper.alive
    assert metrics.registry.get_sample_value("notifier_dead_letters") == 3


def test_a_broker_that_cannot_say_leaves_the_last_count_to_the_metric(stopping: threading.Event) -> None:
    vitals, metrics = Vitals(version="test", clock=time.monotonic), Metrics(version="test")
    metrics.dead_letters(7)
    asked = threading.Event()

    def silent() -> int | None:
        asked.set()
        return None

    Housekeeping(
        pool=_Idle(lambda: None),  # type: ignore[arg-type]
        count_dead_letters=silent,
        vitals=vitals,
        metrics=metrics,
        clock=time.monotonic,
        stopping=stopping,
    ).start()
    assert asked.wait(10)
    assert vitals.summary()["dead_letters"] is None
    assert metrics.registry.get_sample_value("notifier_dead_letters") == 7
