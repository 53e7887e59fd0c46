"""The job events as strict models (docs/contract.md). JSON Schema and AsyncAPI document are made from them.

One class per event type: what is required, and which job status agrees with the type, is in its fields, so
that all faults of an event are found in one pass.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue, PrivateAttr

from notifier.domain.event_parts import (
    ComplianceData,
    FailedJobData,
    JobData,
    Part,
    PartialJobData,
    SuccessfulJobData,
    Time,
)
from notifier.domain.event_texts import EVENT_ID, read_traceparent, read_tracestate
from notifier.domain.vocabulary import EventType  # noqa: TC001 - pydantic reads the annotation

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPLIANCE_JOB_TYPE = "compliance_check"


class Envelope(Part):
    """The CloudEvents 1.0 context attributes that we read."""

    specversion: Literal["1.0"]
    id: Annotated[str, Field(pattern=EVENT_ID)]
    """With `source` and the customer the identity: the same again is a duplicate and sends nothing."""
    source: Annotated[str, Field(min_length=1, max_length=500)]
    type: Annotated[str, Field(min_length=1, max_length=200)]
    time: Time | None = None
    """When it happened, RFC 3339 with an offset."""
    traceparent: Annotated[str | None, BeforeValidator(read_traceparent)] = None
    """W3C Trace Context; carried into logs, the log row and the mail. Ignored when malformed."""
    tracestate: Annotated[str | None, BeforeValidator(read_tracestate)] = None


class JobEvent(Envelope):
    """One job event of a known type. `events.decode` makes the right subclass."""

    type: EventType
    data: JobData | ComplianceData
    _document: dict[str, JsonValue] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: object, /) -> None:
        """Keep the document the event was made from (given as validation context)."""
        self._document = context if isinstance(context, dict) else {}

    @property
    def document(self) -> dict[str, JsonValue]:
        """The whole event as published, structured form, plain JSON values, secrets not masked."""
        return self._document

    @property
    def payload_sha256(self) -> bytes:
        """32 bytes that are equal if and only if `type` and `data` were."""
        return payload_hash(self._document)

    @property
    def trace_id(self) -> str | None:
        """The trace that `traceparent` names."""
        return self.traceparent.split("-")[1] if self.traceparent else None

    @property
    def customer_id(self) -> int:
        """The platform's id of the customer."""
        return self.data.customer_id

    @property
    def job_id(self) -> int | None:
        """The job the event is about or was found by."""
        return self.data.job.id if self.data.job else None

    @property
    def job_type(self) -> str:
        """What preferences filter on (docs/contract.md)."""
        return self.data.job.type if self.data.job else COMPLIANCE_JOB_TYPE

    @property
    def compliance_result_id(self) -> int | None:
        """Set for compliance events."""
        return None


class JobSuccess(JobEvent):
    """A job ended well on all of its devices."""

    type: Literal["job_success"]
    data: SuccessfulJobData


class JobFailed(JobEvent):
    """A job failed."""

    type: Literal["job_failed"]
    data: FailedJobData


class JobPartial(JobEvent):
    """A job failed on some of its devices."""

    type: Literal["job_partial"]
    data: PartialJobData


class ScheduledBackupComplete(JobEvent):
    """A scheduled backup ended, well or not. Published beside the job's own event."""

    type: Literal["scheduled_backup_complete"]
    data: JobData


class ComplianceViolation(JobEvent):
    """A device breaks a policy."""

    type: Literal["compliance_violation"]
    data: ComplianceData

    @property
    def job_id(self) -> int | None:
        """The job carried by the event, else the one the result names."""
        return self.data.job.id if self.data.job else self.data.compliance_result.job_id

    @property
    def compliance_result_id(self) -> int | None:
        """The platform's id of the result."""
        return self.data.compliance_result.id


MODELS: Mapping[EventType, type[JobEvent]] = {
    "job_success": JobSuccess,
    "job_failed": JobFailed,
    "job_partial": JobPartial,
    "compliance_violation": ComplianceViolation,
    "scheduled_backup_complete": ScheduledBackupComplete,
}


# Made once; json.dumps makes one per text. What was parsed from a text holds no cycle.
_canonical = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
).encode


def payload_hash(document: Mapping[str, JsonValue]) -> bytes:
    """SHA-256 of the canonical JSON of `type` and `data`."""
    payload = {"type": document.get("type"), "data": document.get("data")}
    return hashlib.sha256(_canonical(payload).encode("ascii")).digest()
