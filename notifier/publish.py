"""For programs that publish job events: build one, publish it, know what became of it. Needs pika and nothing else.

    event = build_event("job_failed", source="webnet/jobs", customer_id=1, job={"id": 4812, "type": "config_backup"})
    with EventPublisher("amqp://…") as publisher:
        publisher.publish(event)

What `publish` raises says what to do; after each of them the same event may be published again, with its id:

NotifierError
├── InvalidEvent            of build_event: the worker would refuse this event; says every faulty field
├── ConfigurationError      the URL cannot be read
│   └── BrokerRefused       login or permission refused; trying again does not help
├── NotFound                the exchange does not exist
├── Unroutable              the event reached no queue: it is lost unless you publish it again
└── BrokerUnavailable       no connection: the event is on no queue; try again later
    ├── NotAccepted         the broker said no (a full queue); try again later
    └── ConfirmMissing      nobody knows: the event may or may not be queued; publish it again with the same id
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4

from notifier.broker.publisher import Publisher
from notifier.domain.decoding import MAX_EVENT_BYTES, read_json
from notifier.domain.errors import (
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    ConfirmMissing,
    InvalidEvent,
    NotAccepted,
    NotFound,
    NotifierError,
    Unroutable,
)
from notifier.domain.event_fields import (
    CHECKING_JOB,
    COMPLIANCE_RESULT,
    JOB,
    ComplianceResult,
    Device,
    DeviceOutcome,
    Job,
    Moment,
    Policy,
    Schedule,
    Targets,
    checked,
    field_value,
    moment,
    text,
    whole_id,
)
from notifier.domain.event_texts import EVENT_ID, read_traceparent, read_tracestate
from notifier.domain.vocabulary import EVENT_TYPES, EventType

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "EVENT_TYPES",
    "BrokerRefused",
    "BrokerUnavailable",
    "ComplianceResult",
    "ConfigurationError",
    "ConfirmMissing",
    "Device",
    "DeviceOutcome",
    "Event",
    "EventPublisher",
    "EventType",
    "InvalidEvent",
    "Job",
    "NotAccepted",
    "NotFound",
    "NotifierError",
    "Policy",
    "Schedule",
    "Targets",
    "Unroutable",
    "build_event",
]

PATIENCE: Final = 10.0  # s
_MAX_SOURCE: Final = 500  # characters
_STATUS_OF: Final = {"job_success": "success", "job_failed": "failed", "job_partial": "partial"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One job event, ready to be published or to be kept in an outbox; `body` is the whole CloudEvent, UTF-8 JSON.

    To publish one from an outbox, make it anew from the four values that were stored.
    """

    id: str
    type: str
    customer_id: int
    body: bytes = field(repr=False)

    @property
    def routing_key(self) -> str:
        """`job_failed.1`: others may bind by type or customer. The worker does not decide by it."""
        return f"{self.type}.{self.customer_id}"


def build_event(
    event_type: EventType,
    *,
    source: str,
    customer_id: int,
    job: Job | None = None,
    compliance_result: ComplianceResult | None = None,
    event_id: str | None = None,
    time: Moment | None = None,
    traceparent: str | None = None,
    tracestate: str | None = None,
) -> Event:
    """Return a CloudEvent 1.0 that the worker accepts. `job.status` may be left out where the type says it.

    `event_id` is a fresh UUID unless given; one made of your own numbers, such as `job-4812-failed`, keeps a job
    that is reported twice from being mailed twice. `time` is now unless given. A trace context that is not W3C's
    is left out.
    Raises InvalidEvent with every fault.
    """
    faults: list[str] = []
    event_id = str(uuid4()) if event_id is None else event_id
    document = {
        "specversion": "1.0",
        "id": field_value(event_id, _event_id, "event_id", faults),
        "source": field_value(source, _source, "source", faults),
        "type": field_value(event_type, _event_type, "event_type", faults),
        "time": field_value(datetime.now(UTC) if time is None else time, moment, "time", faults),
        "traceparent": read_traceparent(traceparent),
        "tracestate": read_tracestate(tracestate),
        "data": {
            "customer_id": field_value(customer_id, whole_id, "customer_id", faults),
            **_subject(event_type, job, compliance_result, faults),
        },
    }
    if faults:
        raise InvalidEvent("schema", "; ".join(faults))
    body = _encoded({key: value for key, value in document.items() if value is not None})
    return Event(id=event_id, type=event_type, customer_id=customer_id, body=body)


class EventPublisher:
    """Publishes events, persistent and mandatory, each confirmed by the broker; for one thread, made after a fork.

    The connection is opened at the first event and again when it broke; a try that a broken connection spoilt is
    repeated at once, others for `patience` seconds. `app_id` shows in the broker's list of connections.
    """

    def __init__(
        self, url: str, *, exchange: str = "job.events", app_id: str = "notifier", patience: float = PATIENCE
    ) -> None:
        self._publisher = Publisher(url, exchange=exchange, app_id=app_id, patience=patience)

    def publish(self, event: Event) -> None:
        """Return when the event is on its queue, on disk; else raise what the module's description lists."""
        self._publisher.publish(
            event.body, routing_key=event.routing_key, event_type=event.type, message_id=event.id
        )

    def close(self) -> None:
        """Close the connection; never raises."""
        self._publisher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _subject(
    event_type: str, job: Job | None, result: ComplianceResult | None, faults: list[str]
) -> dict[str, object]:
    """What the event is about: a job, or a compliance result and perhaps the job that found it."""
    found: dict[str, object] = {}
    if event_type == "compliance_violation":
        found["compliance_result"] = checked(result or {}, COMPLIANCE_RESULT, "compliance_result", faults)
        if job is not None:
            found["job"] = checked(job, CHECKING_JOB, "job", faults)
        return found
    if result is not None:
        faults.append("compliance_result: belongs to compliance_violation alone")
    expected = _STATUS_OF.get(event_type)
    given: Mapping[str, object] = {} if job is None else job
    if expected and isinstance(given, Mapping) and given.get("status") is None:
        given = {**given, "status": expected}
    facts = checked(given, JOB, "job", faults)
    if expected and facts.get("status") not in (expected, None):
        faults.append(f"job.status: an event of type {event_type} is about a job with status {expected}")
    return {"job": facts}


def _event_id(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(EVENT_ID, value):
        raise ValueError("must be 1 to 200 printable ASCII characters")
    return value


def _source(value: object) -> object:
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_SOURCE:
        raise ValueError(f"must be a text of 1 to {_MAX_SOURCE} characters, such as webnet/jobs")
    return text(value)


def _event_type(value: object) -> object:
    if value not in EVENT_TYPES:
        raise ValueError(f"must be one of {', '.join(EVENT_TYPES)}")
    return value


def _encoded(document: dict[str, object]) -> bytes:
    try:
        body = json.dumps(document, ensure_ascii=False, allow_nan=False, default=_as_json).encode()
    except (ValueError, TypeError, RecursionError) as exc:
        raise InvalidEvent("bad_json", f"this cannot be written as JSON: {exc}") from exc
    read_json(body, content_encoding=None, max_bytes=MAX_EVENT_BYTES)  # too deep, too large, one key twice
    return body


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
