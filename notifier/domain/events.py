"""One broker message becomes one job event, or an InvalidEvent with a closed reason (docs/contract.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError

from notifier.domain.decoding import MAX_EVENT_BYTES, clean_text, read_json
from notifier.domain.errors import InvalidEvent
from notifier.domain.event_models import (
    MODELS,
    Envelope,
    JobEvent,
    payload_hash,
)
from notifier.domain.event_parts import Id
from notifier.domain.event_texts import EVENT_ID, read_traceparent, read_tracestate
from notifier.domain.vocabulary import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JobEvent", "UnknownEvent", "decode"]

# The AMQP 0-9-1 binding was never settled: producers use these three.
_PREFIXES: Final = ("ce-", "cloudEvents:", "cloudEvents_")
_ATTRIBUTES: Final = (
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "dataschema",
    "datacontenttype",
    "traceparent",
    "tracestate",
)
MAX_DETAIL: Final = 2000  # characters of rejected_events.detail

_EVENT_ID: Final = re.compile(EVENT_ID)
_ID: Final = TypeAdapter(Id)
_ModelT = TypeVar("_ModelT", bound=Envelope)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnknownEvent:
    """A readable event of a type that is none of ours: not an error on a shared exchange (B14).

    `customer_id` is None where it cannot be read; `document` and `payload_sha256` are as in JobEvent.
    """

    type: str
    customer_id: int | None
    source: str
    id: str
    occurred_at: datetime | None
    document: dict[str, JsonValue] = field(repr=False)
    payload_sha256: bytes = field(repr=False)


def decode(
    body: bytes,
    *,
    content_type: str | None,
    content_encoding: str | None,
    headers: Mapping[str, object],
    max_bytes: int = MAX_EVENT_BYTES,
) -> JobEvent | UnknownEvent:
    """The event in one broker message, structured or binary mode.

    A wrong `content_type` alone is forgiven (B53). Raises InvalidEvent and nothing else; its `detail` names,
    for the reason `schema`, every faulty path.
    """
    event_id: str | None = None
    try:
        attributes = _binary_attributes(headers)
        event_id = _readable_id(attributes)
        value = read_json(body, content_encoding=content_encoding, max_bytes=max_bytes)
        document = _object(value, content_type)
        if attributes:
            document = {**attributes, "data": document}
        event_id = _readable_id(document)
        return _event(_with_trace(document, headers))
    except InvalidEvent as fault:
        fault.event_id = event_id
        raise


def _object(value: JsonValue, content_type: str | None) -> dict[str, JsonValue]:
    if isinstance(value, dict):
        return value
    if content_type and content_type.startswith("application/cloudevents-batch"):
        detail = "CloudEvents batches are not accepted; publish each event as a message of its own"
    else:
        detail = "the top level of the JSON text is not an object"
    raise InvalidEvent("not_object", detail)


def _binary_attributes(headers: Mapping[str, object]) -> dict[str, JsonValue]:
    """The context attributes in the headers; empty in structured mode (docs/contract.md)."""
    prefix = next((p for p in _PREFIXES if f"{p}specversion" in headers), None)
    if prefix is None:
        return {}
    values = {name: _plain(headers.get(prefix + name)) for name in _ATTRIBUTES}
    return {name: value for name, value in values.items() if value is not None}


def _plain(value: object) -> JsonValue:
    """A header value as JSON; what JSON cannot hold counts as absent."""
    match value:
        case str():
            return clean_text(value)
        case bytes():
            return clean_text(value.decode("utf-8", "replace"))
        case datetime():  # an AMQP timestamp is UTC, whether the client says so or not
            moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value
            return moment.isoformat()
        case bool() | int():
            return value
        case _:
            return None


def _with_trace(document: dict[str, JsonValue], headers: Mapping[str, object]) -> dict[str, JsonValue]:
    """Take the trace context from the AMQP headers where the event has none of its own."""
    parent = read_traceparent(_plain_header(headers, "traceparent"))
    if parent is None or read_traceparent(document.get("traceparent")):
        return document
    state = read_tracestate(_plain_header(headers, "tracestate"))
    return {**document, "traceparent": parent, "tracestate": state}


def _plain_header(headers: Mapping[str, object], name: str) -> object:
    value = headers.get(name)
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _event(document: dict[str, JsonValue]) -> JobEvent | UnknownEvent:
    name = document.get("type")
    known = next((event_type for event_type in EVENT_TYPES if event_type == name), None)
    if known is not None:
        return _validated(MODELS[known], document)
    envelope = _validated(Envelope, document)
    data = document.get("data")
    return UnknownEvent(
        type=envelope.type,
        customer_id=_customer_id(data.get("customer_id")) if isinstance(data, dict) else None,
        source=envelope.source,
        id=envelope.id,
        occurred_at=envelope.time,
        document=document,
        payload_sha256=payload_hash(document),
    )


def _validated(model: type[_ModelT], document: dict[str, JsonValue]) -> _ModelT:
    try:
        return model.model_validate(document, context=document)
    except ValidationError as exc:
        raise InvalidEvent("schema", _faults(exc)) from exc


def _faults(error: ValidationError) -> str:
    """`path: what is wrong` for every fault, without the values; the paths alone where that is too long."""
    faults = [
        (_path(fault["loc"]), fault["msg"])
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    detail = "; ".join(f"{path}: {message}" for path, message in faults)
    if len(detail) <= MAX_DETAIL:
        return detail
    detail = ", ".join(path for path, _ in faults)
    if len(detail) <= MAX_DETAIL:
        return detail
    shown = detail[: MAX_DETAIL - 40].rpartition(", ")[0]
    return f"{shown} and {len(faults) - shown.count(', ') - 1} more"


def _path(location: tuple[int | str, ...]) -> str:
    """`data.job.devices[0].id`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(
        "."
    )


def _readable_id(document: Mapping[str, JsonValue]) -> str | None:
    """The event's id if it is one, so that a rejected event can be found by it."""
    value = document.get("id")
    return value if isinstance(value, str) and _EVENT_ID.fullmatch(value) else None


def _customer_id(value: JsonValue) -> int | None:
    try:
        return _ID.validate_python(value, strict=True)
    except ValidationError:
        return None
