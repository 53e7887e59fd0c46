"""The fuzzing targets run, so that they are not found broken on the day they are needed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import event, smtp_reply


@given(st.binary(max_size=300))
def test_no_bytes_break_the_event_decoder(data: bytes) -> None:
    event(data)


@given(st.binary(max_size=300) | st.from_regex(rb"[1-9][0-9]{2}[ -][^\r\n]{0,40}\r\n", fullmatch=True))
def test_no_bytes_break_the_reader_of_smtp_replies(data: bytes) -> None:
    smtp_reply(data)
