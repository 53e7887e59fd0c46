"""Slow servers get small batches."""

from __future__ import annotations

import pytest

from notifier.pace import QUICK, SLOW, Pace

FULL = 16


def after(*seconds: float) -> dict[str, int]:
    pace = Pace()
    for took in seconds:
        pace.took(7, took)
    return pace.small_batches(FULL)


def test_a_quick_server_is_not_even_remembered() -> None:
    assert after(QUICK, QUICK / 2) == {}


def test_one_that_is_neither_quick_nor_slow_gets_full_batches_and_no_more() -> None:
    assert after(SLOW) == after((QUICK + SLOW) / 2) == {"7": FULL}


@pytest.mark.parametrize(("seconds", "rows"), [(0.040, 8), (0.050, 6), (0.320, 1), (60.0, 1)])
def test_a_slow_one_gets_what_a_normal_one_would_do_in_the_time_of_a_full_batch(
    seconds: float, rows: int
) -> None:
    assert after(seconds) == {"7": rows}


def test_a_slow_server_is_known_as_one() -> None:
    pace = Pace()
    pace.took(7, 2 * SLOW)
    pace.took(8, SLOW)
    pace.took(9, QUICK)
    assert [(pace.is_slow(server), pace.is_quick(server)) for server in (7, 8, 9)] == [
        (True, False),
        (False, False),
        (False, True),
    ]


def test_a_server_that_became_quick_is_forgotten() -> None:
    assert after(0.040, *[0.001] * 20) == {}


def test_one_slow_mail_of_many_changes_little() -> None:
    assert after(*[0.030] * 50, 0.060)["7"] == 8
