"""From the bytes of a broker message to plain JSON values, refusing what plain `json.loads` would take.

Everything here runs before any model sees the text (docs/reliability.md, B1-B11, B20, B21).
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from notifier.domain.errors import InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_EVENT_BYTES = 262_144
MAX_DEPTH = 32
# Any Python process can read integers of so many digits, however it is configured.
MAX_DIGITS = 640

_ENCODINGS = frozenset({"", "identity", "utf-8", "utf8", "us-ascii"})
# A string always matches, closed or not: a broken one is read once, not again from every quote in it.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*+(?>(?:\\.[^"\\]*+)*)"?|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_json(body: bytes, *, content_encoding: str | None, max_bytes: int = MAX_EVENT_BYTES) -> Json:
    """The JSON value of a message body, with NUL characters replaced by U+FFFD.

    Raises InvalidEvent: empty_body, content_encoding, too_large, bad_encoding, too_deep, bad_json, bad_number
    or duplicate_key, in this order of checking.
    """
    text = _text(body, content_encoding=content_encoding, max_bytes=max_bytes)
    _check_depth(text)
    # Only a \u escape can write a NUL or half a surrogate pair: raw ones were refused on the way here.
    escaped = "\\u" in text
    decoder = _WITH_ESCAPES if escaped else _PLAIN
    try:
        value: Json = decoder.decode(text)
    except json.JSONDecodeError as exc:
        raise InvalidEvent("bad_json", f"{exc.msg} at line {exc.lineno} column {exc.colno}") from exc
    return _cleaned(value) if escaped else value


def clean_text(text: str) -> str:
    """`text` as PostgreSQL and a mail can hold it. Raises InvalidEvent(bad_json) on half a surrogate pair."""
    if text.isascii() and text.isprintable():
        return text
    if _SURROGATE.search(text):
        raise InvalidEvent(
            "bad_json", "a text has half a surrogate pair (\\ud800-\\udfff); send whole characters"
        )
    return text.replace("\x00", "\ufffd")


def _text(body: bytes, *, content_encoding: str | None, max_bytes: int) -> str:
    if not body or body.isspace():
        raise InvalidEvent("empty_body", "the message has no body")
    encoding = (content_encoding or "").strip().lower()
    if encoding not in _ENCODINGS:
        raise InvalidEvent(
            "content_encoding", f"content_encoding {encoding[:40]!r} is not accepted; publish plain UTF-8"
        )
    if len(body) > max_bytes:
        raise InvalidEvent("too_large", f"{len(body)} bytes, at most {max_bytes} are accepted")
    seen = json.detect_encoding(body)
    if seen != "utf-8":
        raise InvalidEvent("bad_encoding", f"the body is {seen}; publish UTF-8 without a byte order mark")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidEvent("bad_encoding", f"not UTF-8: {exc.reason} at byte {exc.start}") from exc


def _check_depth(text: str) -> None:
    """Count brackets outside strings, because the parser itself would exhaust the stack (B7, B8)."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return  # in strings or not
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        found = match.group()
        if found in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidEvent("too_deep", f"nested more than {MAX_DEPTH} levels deep")
        elif found in "]}":
            depth -= 1


def _object(pairs: Sequence[tuple[str, Json]]) -> Json:
    result = dict(pairs)
    return result if len(result) == len(pairs) else _cleaned_object(pairs)


def _cleaned_object(pairs: Iterable[tuple[str, Json]]) -> Json:
    result: dict[str, Json] = {}
    for raw_name, value in pairs:
        name = clean_text(raw_name)
        if name in result:
            raise InvalidEvent("duplicate_key", f"the key {name[:80]!r} appears twice in one object")
        result[name] = value
    return result


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise InvalidEvent(
            "bad_number", f"an integer of {len(digits)} digits; at most {MAX_DIGITS} are accepted"
        )
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise InvalidEvent("bad_number", f"the number {digits[:40]} is too large to be represented")
    return value


def _constant(name: str) -> NoReturn:
    raise InvalidEvent("bad_number", f"{name} is not JSON; leave the value out or send null")


# Made once; json.loads makes one per text.
_PLAIN, _WITH_ESCAPES = (
    json.JSONDecoder(object_pairs_hook=hook, parse_int=_integer, parse_float=_float, parse_constant=_constant)
    for hook in (_object, _cleaned_object)
)


def _cleaned(value: Json) -> Json:
    match value:
        case str():
            return clean_text(value)
        case list():
            return [_cleaned(item) for item in value]
        case dict():
            return {name: _cleaned(item) for name, item in value.items()}  # names were cleaned while parsing
        case _:
            return value
