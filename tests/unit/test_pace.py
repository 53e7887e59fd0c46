"""Slow servers get small batches."""

from __future__ import annotations

import pytest

from notifier.pace import SLOW, Pace

FULL = 16


def after(*seconds: float) -> dict[str, int]:
    pace = Pace()
    for took in seconds:
        pace.took(7, took)
    return pace.small_batches(FULL)


def test_a_server_that_is_not_slow_is_not_even_remembered() -> None:
    assert after(SLOW, SLOW / 2) == {}


@pytest.mark.parametrize(("seconds", "rows"), [(0.040, 8), (0.050, 6), (0.320, 1), (60.0, 1)])
def test_a_slow_one_gets_what_a_normal_one_would_do_in_the_time_of_a_full_batch(
    seconds: float, rows: int
) -> None:
    assert after(seconds) == {"7": rows}


def test_a_slow_server_is_known_as_one() -> None:
    pace = Pace()
    pace.took(7, 2 * SLOW)
    pace.took(8, SLOW)
    assert [pace.is_slow(server) for server in (7, 8, 9)] == [True, False, False]


def test_one_pause_among_many_mails_makes_no_server_slow() -> None:
    pace = Pace()
    pace.took(7, 0.050 + 15 * 0.003, mails=16)
    assert not pace.is_slow(7)


def test_mails_told_of_together_weigh_as_much_as_one_by_one() -> None:
    single, together = Pace(), Pace()
    for pace in (single, together):
        pace.took(7, 1.0)
    for _ in range(5):
        single.took(7, 0.1)
    together.took(7, 0.5, mails=5)
    assert single.small_batches(1000) == together.small_batches(1000)


def test_a_server_that_recovered_is_forgotten() -> None:
    assert after(0.040, *[0.001] * 20) == {}


def test_one_slow_mail_of_many_changes_little() -> None:
    assert after(*[0.030] * 50, 0.060)["7"] == 8
