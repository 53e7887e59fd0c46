"""Ids that are unique and sort by time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.identifiers import message_id, time_ordered_uuid

MILLISECONDS = st.integers(min_value=0, max_value=2**48 - 1)
CHANCE = st.binary(min_size=10, max_size=10)


@given(MILLISECONDS, CHANCE)
def test_it_is_a_version_7_uuid_of_that_millisecond(milliseconds: int, chance: bytes) -> None:
    made = time_ordered_uuid(milliseconds, chance)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == milliseconds


@given(MILLISECONDS, MILLISECONDS, CHANCE, CHANCE)
def test_a_later_id_sorts_behind_an_earlier_one(one: int, other: int, first: bytes, second: bytes) -> None:
    if one < other:
        assert str(time_ordered_uuid(one, first)) < str(time_ordered_uuid(other, second))


def test_a_message_id_has_angle_brackets_and_the_sender_s_domain() -> None:
    unique = time_ordered_uuid(1, b"0123456789")
    assert message_id(unique, "acme.example") == f"<{unique}@acme.example>"
