from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from notifier.api.rate_limits import KEPT, RateLimit, address_key


@given(
    per_minute=st.integers(1, 1000),
    steps=st.lists(st.floats(0, 120, allow_nan=False), max_size=200),
)
def test_in_no_minute_more_than_twice_the_limit_is_let_through(per_minute: int, steps: list[float]) -> None:
    now = 0.0
    limit = RateLimit(per_minute, clock=lambda: now)
    passed = []
    for step in steps:
        now += step
        if not limit.spend("key"):
            passed.append(now)
    for start in passed:
        assert sum(start <= at <= start + 60 for at in passed) <= 2 * per_minute


def test_who_goes_on_waits_longer_but_never_over_a_minute() -> None:
    now = 0.0
    limit = RateLimit(3, clock=lambda: now)
    for _ in range(100):
        limit.take("key")
    assert limit.wait("key") == 60
    now = 60.0
    assert limit.wait("key") == 0


def test_what_is_remembered_is_bounded() -> None:
    limit = RateLimit(1, clock=lambda: 0.0)
    for number in range(KEPT + 10):
        limit.take(number)
    assert not limit.knows(9)
    assert limit.knows(10)


def test_an_ipv6_address_counts_as_its_network() -> None:
    assert address_key("2001:db8::1") == address_key("2001:db8::ffff:1") == "2001:db8::/64"
    assert address_key("203.0.113.7") == "203.0.113.7"
    assert address_key("::ffff:203.0.113.7") == "203.0.113.7" != address_key("::ffff:203.0.113.8")
    assert address_key("fe80::1%eth0") == "fe80::/64"
    assert address_key("made up") == address_key("another") == ""
