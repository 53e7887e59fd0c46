"""The job events as strict models (contract section 2). JSON Schema and AsyncAPI document are made from them.

One class per event type: what is required, and which job status agrees with the type, is in its fields, so
that all faults of an event are found in one pass. Unknown extra fields are ignored. Optional texts have no
length limit: a failed job with an odd excerpt must still raise its alarm; the size of the event is limited.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PrivateAttr

from notifier.domain.vocabulary import MAX_ID, EventType, JobStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPLIANCE_JOB_TYPE = "compliance_check"
EVENT_ID = r"^[\x20-\x7E]{1,200}$"  # printable ASCII

# RFC 3339 section 5.6: full-date "T" full-time, with an offset. The letters may be lower case.
_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.IGNORECASE | re.ASCII,
)
# W3C Trace Context section 3.2.2; all zeros and version ff are invalid there.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")


def read_time(value: object) -> datetime:
    """An RFC 3339 text as an aware datetime whose UTC value lies in the years 1 to 9999 (B54).

    A leap second counts as the second before it. Raises ValueError, which pydantic turns into a fault.
    """
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 time with an offset, such as 2026-11-23T04:31:07Z")
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


Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Count = Annotated[int, Field(ge=0, le=MAX_ID)]
Name = Annotated[str, Field(min_length=1)]
Time = Annotated[datetime, BeforeValidator(read_time)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", use_attribute_docstrings=True)


class Schedule(_Part):
    """The schedule that started the job."""

    id: Id | None = None
    name: str | None = None


class Targets(_Part):
    """How many devices the job was for, and how they ended."""

    total: Count | None = None
    succeeded: Count | None = None
    failed: Count | None = None


class DeviceOutcome(_Part):
    """How the job ended on one device."""

    id: Id | None = None
    hostname: str | None = None
    status: str | None = None
    message: str | None = None


class _JobFacts(_Part):
    id: Id
    """The platform's number of the job."""
    type: Name
    """What the job does, such as `config_backup`; preferences filter on it."""
    requested_by: str | None = None
    schedule: Schedule | None = None
    requested_at: Time | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    targets: Targets | None = None
    devices: Annotated[tuple[DeviceOutcome, ...], Field(strict=False)] | None = None
    """Devices worth naming in the mail; those that failed at least."""
    error: str | None = None
    """The last error. Secrets are masked before anything is stored or sent."""
    log_excerpt: str | None = None
    log_lines: Count | None = None
    """Length of the whole log."""
    summary: JsonValue = None
    """Any JSON."""
    storage: str | None = None
    """Where a backup was stored."""
    size_bytes: Count | None = None
    changed: Count | None = None
    """How many configurations differ from the run before."""
    next_run_at: Time | None = None


class Job(_JobFacts):
    """A job that ended."""

    status: JobStatus


class SuccessfulJob(Job):
    """A job that did all of its work."""

    status: Literal["success"]


class FailedJob(Job):
    """A job that did none of its work, or broke off."""

    status: Literal["failed"]


class PartialJob(Job):
    """A job that failed on some of its devices."""

    status: Literal["partial"]


class CheckingJob(_JobFacts):
    """The job that found a violation; it may still be running."""

    status: str | None = None


class Policy(_Part):
    """The policy that is broken."""

    id: Id
    name: Name


class Device(_Part):
    """The device that breaks the policy."""

    id: Id
    hostname: Name
    mgmt_ip: str | None = None
    vendor: str | None = None
    platform: str | None = None
    site: str | None = None


class ComplianceResult(_Part):
    """What one check found on one device."""

    id: Id
    status: Name
    policy: Policy
    device: Device
    detected_at: Time | None = None
    severity: str | None = None
    rule: str | None = None
    expected: JsonValue = None
    """What the policy wants; usually a text, any JSON is taken."""
    found: JsonValue = None
    """What the device has; usually a text, any JSON is taken."""
    details: JsonValue = None
    """Any JSON."""
    job_id: Id | None = None


class _Data(_Part):
    customer_id: Id
    """Whose event this is; only users with access to this customer can get a mail."""


class JobData(_Data):
    """The payload of an event about a job."""

    job: Job


class SuccessfulJobData(JobData):
    """The payload of `job_success`."""

    job: SuccessfulJob


class FailedJobData(JobData):
    """The payload of `job_failed`."""

    job: FailedJob


class PartialJobData(JobData):
    """The payload of `job_partial`."""

    job: PartialJob


class ComplianceData(_Data):
    """The payload of `compliance_violation`."""

    job: CheckingJob | None = None
    compliance_result: ComplianceResult


class Envelope(_Part):
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
    """One job event of a known type. `validate_event` makes the right subclass."""

    type: EventType
    data: JobData | ComplianceData
    _document: dict[str, JsonValue] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: object, /) -> None:
        """Keep the document the event was made from (given as validation context)."""
        if isinstance(context, dict):
            self._document = context

    @property
    def document(self) -> dict[str, JsonValue]:
        """The whole event as published, structured form, plain JSON values, secrets not masked."""
        return self._document

    @property
    def payload_sha256(self) -> bytes:
        """32 bytes that are equal if and only if `type` and `data` were (D14)."""
        return payload_hash(self._document)

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
        """What preferences filter on (contract section 4)."""
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


def payload_hash(document: Mapping[str, JsonValue]) -> bytes:
    """SHA-256 of the canonical JSON of `type` and `data` (D14)."""
    payload = {"type": document.get("type"), "data": document.get("data")}
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).digest()
