"""Every kind of broker message that can never be accepted has a closed reason (docs/reliability.md)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.decoding import MAX_EVENT_BYTES
from notifier.domain.errors import InvalidEvent
from notifier.domain.events import JobEvent, UnknownEvent, decode
from notifier.domain.vocabulary import EVENT_TYPES, REJECTION_REASONS


def job_event(**data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "job-4812-failed",
        "source": "webnet/jobs",
        "type": "job_failed",
        "data": {
            "customer_id": 1,
            "job": {"id": 4812, "type": "config_backup", "status": "failed"},
            **data,
        },
    }


def with_text(raw: str) -> bytes:
    """A job event whose ignored extra field is the raw JSON text given."""
    return json.dumps(job_event(extra="@")).replace('"@"', raw).encode()


def read(
    body: bytes, *, content_type: str | None = None, content_encoding: str | None = None
) -> JobEvent | UnknownEvent:
    return decode(body, content_type=content_type, content_encoding=content_encoding, headers={})


def outcome(body: bytes, headers: dict[str, object]) -> JobEvent | UnknownEvent | InvalidEvent:
    try:
        return decode(body, content_type=None, content_encoding=None, headers=headers)
    except InvalidEvent as fault:
        return fault


def refusal(body: bytes, **properties: Any) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        read(body, **properties)
    return caught.value


GOOD = json.dumps(job_event()).encode()

UNREADABLE = {
    "B1 empty": (b"", "empty_body"),
    "B1 blank": (b" \r\n\t", "empty_body"),
    "B2 too large": (b" " * 10 + b"x" * MAX_EVENT_BYTES, "too_large"),
    "B3 latin-1": (GOOD.replace(b"webnet", b"w\xfcbnet"), "bad_encoding"),
    "B3 byte order mark": (b"\xef\xbb\xbf" + GOOD, "bad_encoding"),
    "B3 UTF-16 with mark": (GOOD.decode().encode("utf-16"), "bad_encoding"),
    "B3 UTF-16 without mark": (GOOD.decode().encode("utf-16-le"), "bad_encoding"),
    "B3 UTF-32": (GOOD.decode().encode("utf-32-be"), "bad_encoding"),
    "B3 encoded surrogate": (GOOD.replace(b"webnet", b"\xed\xa0\x80"), "bad_encoding"),
    "B5 truncated": (GOOD[:-1], "bad_json"),
    "B5 trailing garbage": (GOOD + b" {}", "bad_json"),
    "B5 not JSON": (b"hello", "bad_json"),
    "B5 single quotes": (b"{'id': 1}", "bad_json"),
    "B5 raw control character": (with_text('"\x01"'), "bad_json"),
    "B5 open string": (b'{"id": "\\"\\"\\"', "bad_json"),
    "B5 backslash at the end": (b'{"id": "\\', "bad_json"),
    "B6 array": (b"[" + GOOD + b"]", "not_object"),
    "B6 text": (b'"hello"', "not_object"),
    "B6 number": (b"1", "not_object"),
    "B6 null": (b"null", "not_object"),
    "B7 depth 100,000": (b"[" * 100_000, "too_deep"),
    "B8 depth 5000 in an ignored field": (with_text("[" * 5000 + "]" * 5000), "too_deep"),
    "B8 depth 33": (with_text("[" * 31 + "]" * 31), "too_deep"),
    "B9 integer of 5000 digits": (with_text("9" * 5000), "bad_number"),
    "B10 NaN": (with_text("NaN"), "bad_number"),
    "B10 Infinity": (with_text("-Infinity"), "bad_number"),
    "B10 1e999": (with_text("1e999"), "bad_number"),
    "B11 duplicate key": (GOOD.replace(b'"id": "job', b'"id": "a", "id": "job'), "duplicate_key"),
    "B11 duplicate key, deep down": (with_text('{"a": 1, "a": 1}'), "duplicate_key"),
    "B11 duplicate key after cleaning": (with_text('{"a\\u0000": 1, "a\\ufffd": 1}'), "duplicate_key"),
    "B21 lone surrogate": (with_text('"\\ud800"'), "bad_json"),
    "B21 lone surrogate in a key": (with_text('{"\\udc00": 1}'), "bad_json"),
    "no fields": (b"{}", "schema"),
}


@pytest.mark.parametrize(("body", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_message_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    fault = refusal(body)
    assert fault.reason == reason
    assert 0 < len(fault.detail) <= 2000


def test_the_size_limit_is_the_one_given_and_a_body_of_that_size_is_read() -> None:
    decode(GOOD, content_type=None, content_encoding=None, headers={}, max_bytes=len(GOOD))
    with pytest.raises(InvalidEvent, match="too_large"):
        decode(GOOD, content_type=None, content_encoding=None, headers={}, max_bytes=len(GOOD) - 1)


def test_compressed_bodies_are_never_inflated() -> None:  # B4
    assert refusal(b"\x1f\x8b" + bytes(100), content_encoding="gzip").reason == "content_encoding"
    assert refusal(GOOD, content_encoding="deflate").reason == "content_encoding"


@pytest.mark.parametrize("encoding", [None, "", "utf-8", "UTF8", "identity"])
def test_content_encodings_that_mean_plain_text_are_accepted(encoding: str | None) -> None:
    assert isinstance(read(GOOD, content_encoding=encoding), JobEvent)


def test_brackets_in_strings_are_not_depth() -> None:
    assert isinstance(read(with_text(json.dumps('[{"' * 500))), JobEvent)


def test_thirty_two_levels_and_many_siblings_are_read() -> None:
    assert isinstance(read(with_text("[" * 30 + "]" * 30)), JobEvent)
    assert isinstance(read(with_text("[" + "[],{}," * 20_000 + "[]]")), JobEvent)


def test_nul_characters_become_replacement_characters_everywhere() -> None:  # B20
    event = read(with_text('[{"a\\u0000b": "x\\u0000", "n": 1}, "\\u0000"]'))
    assert isinstance(event, JobEvent)
    data = event.document["data"]
    assert isinstance(data, dict)
    assert data["extra"] == [{"a\ufffdb": "x\ufffd", "n": 1}, "\ufffd"]


def test_a_batch_is_told_how_to_be_published() -> None:
    fault = refusal(b"[]", content_type="application/cloudevents-batch+json")
    assert fault.reason == "not_object"
    assert "message of its own" in fault.detail


def test_the_event_id_is_kept_with_the_refusal_where_it_can_be_read() -> None:
    assert refusal(json.dumps(job_event(customer_id=0)).encode()).event_id == "job-4812-failed"
    assert refusal(json.dumps(job_event() | {"id": "a\nb"}).encode()).event_id is None
    assert refusal(json.dumps(job_event() | {"id": 7}).encode()).event_id is None
    assert refusal(b"").event_id is None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "type", "data", "job", "customer_id", "status", "policy", "device", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
NEARLY_EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "specversion": st.just("1.0") | JSON_VALUES,
        "id": st.just("1") | JSON_VALUES,
        "source": st.just("s") | JSON_VALUES,
        "type": st.sampled_from(EVENT_TYPES) | JSON_VALUES,
        "time": st.text(max_size=30)
        | st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00"]),
        "data": JSON_VALUES,
    },
)


@given(
    body=st.binary(max_size=80) | st.text(alphabet='{}[]":,\\u0019dD-+eE.tnf ', max_size=60).map(str.encode),
    headers=st.dictionaries(
        st.sampled_from(
            ["ce-specversion", "ce-id", "ce-type", "ce-source", "cloudEvents:specversion", "traceparent"]
        ),
        st.text(max_size=5) | st.binary(max_size=5) | st.integers() | st.none() | st.just(["x"]),
    ),
)
def test_arbitrary_bytes_raise_nothing_but_an_invalid_event(body: bytes, headers: dict[str, object]) -> None:
    result = outcome(body, headers)
    if isinstance(result, InvalidEvent):
        assert result.reason in REJECTION_REASONS


@given(document=NEARLY_EVENTS)
def test_arbitrary_json_raises_nothing_but_an_invalid_event(document: dict[str, Any]) -> None:
    result = outcome(json.dumps(document).encode(), {})
    if isinstance(result, InvalidEvent):
        assert result.reason in {"schema", "bad_number", "bad_json", "too_deep"}
        assert 0 < len(result.detail) <= 2000
