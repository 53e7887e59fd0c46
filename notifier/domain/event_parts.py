"""What job events are made of, as strict models (docs/contract.md).

Unknown extra fields are ignored. Optional texts have no length limit: a failed job with an odd excerpt must
still raise its alarm, and the size of the whole event is limited.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from notifier.domain.event_texts import read_time
from notifier.domain.vocabulary import MAX_ID, JobStatus

Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Count = Annotated[int, Field(ge=0, le=MAX_ID)]
Name = Annotated[str, Field(min_length=1)]
Time = Annotated[datetime, BeforeValidator(read_time)]


class Part(BaseModel):
    """A frozen piece of an event; types are taken as they are, never converted."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", use_attribute_docstrings=True)


class Schedule(Part):
    """The schedule that started the job."""

    id: Id | None = None
    name: str | None = None


class Targets(Part):
    """How many devices the job was for, and how they ended."""

    total: Count | None = None
    succeeded: Count | None = None
    failed: Count | None = None


class DeviceOutcome(Part):
    """How the job ended on one device."""

    id: Id | None = None
    hostname: str | None = None
    status: str | None = None
    message: str | None = None


class _JobFacts(Part):
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


class Policy(Part):
    """The policy that is broken."""

    id: Id
    name: Name


class Device(Part):
    """The device that breaks the policy."""

    id: Id
    hostname: Name
    mgmt_ip: str | None = None
    vendor: str | None = None
    platform: str | None = None
    site: str | None = None


class ComplianceResult(Part):
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


class _Data(Part):
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
