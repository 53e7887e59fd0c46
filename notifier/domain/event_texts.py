"""Texts of an event with a form of their own. Nothing but the standard library, so that publishers can use them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

EVENT_ID: Final = r"^[\x20-\x7E]{1,200}$"  # printable ASCII

# RFC 3339 section 5.6: full-date "T" full-time, with an offset. The letters may be lower case.
_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.IGNORECASE | re.ASCII,
)
_NO_TIME = "must be an RFC 3339 time with an offset, such as 2026-11-23T04:31:07Z"
# W3C Trace Context section 3.2.2; all zeros and version ff are invalid there.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")


def read_time(value: object) -> datetime:
    """An RFC 3339 text as an aware datetime whose UTC value lies in the years 1 to 9999 (B54).

    A leap second counts as the second before it. Raises ValueError, which pydantic turns into a fault.
    """
    if not isinstance(value, str):
        raise ValueError(_NO_TIME)  # noqa: TRY004 - pydantic makes a fault of a ValueError
    return _read_time(value)


@lru_cache(maxsize=256)  # the same times of an event are read for the rows, the headline, the facts …
def _read_time(value: str) -> datetime:
    if not _RFC3339.fullmatch(value):
        raise ValueError(_NO_TIME)
    text = value.upper()
    if text[17:19] == "60":
        text = text[:17] + "59" + text[19:]
    try:
        moment = datetime.fromisoformat(text)
        moment.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ValueError("must be a date that exists, in the years 1 to 9999 of UTC") from exc
    return moment


def read_traceparent(value: object) -> str | None:
    """A valid W3C traceparent, else None: a broken trace context never costs an alarm."""
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None


def read_tracestate(value: object) -> str | None:
    """A tracestate fit to be passed on, else None."""
    return value if isinstance(value, str) and _TRACESTATE.fullmatch(value) else None
