"""The fields of a job event for publishers, checked with nothing but the standard library.

The models of `event_parts` say the same to the worker, with pydantic; a test holds the two together. The classes
here are plain dictionaries whose keys a type checker knows. Times are aware datetimes or RFC 3339 texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Required, TypeAlias, TypedDict

from notifier.domain.event_texts import read_time
from notifier.domain.vocabulary import JOB_STATUSES, MAX_ID

if TYPE_CHECKING:
    from collections.abc import Callable

Moment: TypeAlias = datetime | str


class Schedule(TypedDict, total=False):
    """The schedule that started the job."""

    id: int | None
    name: str | None


class Targets(TypedDict, total=False):
    """How many devices the job was for, and how they ended."""

    total: int | None
    succeeded: int | None
    failed: int | None


class DeviceOutcome(TypedDict, total=False):
    """How the job ended on one device."""

    id: int | None
    hostname: str | None
    status: str | None
    message: str | None


class Job(TypedDict, total=False):
    """A job that ended. `summary` is any JSON; other keys are carried along."""

    id: Required[int]
    type: Required[str]
    status: str | None
    requested_by: str | None
    schedule: Schedule | None
    requested_at: Moment | None
    started_at: Moment | None
    finished_at: Moment | None
    targets: Targets | None
    devices: Sequence[DeviceOutcome] | None
    error: str | None
    log_excerpt: str | None
    log_lines: int | None
    summary: object
    storage: str | None
    size_bytes: int | None
    changed: int | None
    next_run_at: Moment | None


class Policy(TypedDict):
    """The policy that is broken."""

    id: int
    name: str


class Device(TypedDict, total=False):
    """The device that breaks the policy."""

    id: Required[int]
    hostname: Required[str]
    mgmt_ip: str | None
    vendor: str | None
    platform: str | None
    site: str | None


class ComplianceResult(TypedDict, total=False):
    """What one check found on one device. `expected`, `found` and `details` are any JSON."""

    id: Required[int]
    status: Required[str]
    policy: Required[Policy]
    device: Required[Device]
    detected_at: Moment | None
    severity: str | None
    rule: str | None
    expected: object
    found: object
    details: object
    job_id: int | None


def whole_id(value: object) -> object:
    """An id of the platform."""
    return _integer(value, least=1)


def text(value: object) -> object:
    """Any text."""
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - every fault of a value is a ValueError
    return value


def name(value: object) -> object:
    """A text that is not empty."""
    if not text(value):
        raise ValueError("must not be empty")
    return value


def moment(value: object) -> object:
    """A time as RFC 3339 text; datetimes in UTC."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError(
                "a datetime without time zone does not say when: use datetime.now(UTC) or the like"
            )
        try:
            value = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        except OverflowError:
            raise ValueError("must be in the years 1 to 9999 of UTC") from None
    read_time(value)
    return value


def _count(value: object) -> object:
    return _integer(value, least=0)


def _integer(value: object, *, least: int) -> object:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_ID:
        raise ValueError(f"must be a whole number from {least} to 2^63-1")
    return value


def _anything(value: object) -> object:
    return value


def _job_status(value: object) -> object:
    if value not in JOB_STATUSES:
        raise ValueError(f"must be one of {', '.join(JOB_STATUSES)}")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What an object may hold: a check, a Shape, or a list with one Shape, per key."""

    fields: Mapping[str, Callable[[object], object] | Shape | list[Shape]]
    required: frozenset[str] = field(default_factory=frozenset)


_JOB_FIELDS: Final[Mapping[str, Callable[[object], object] | Shape | list[Shape]]] = {
    "id": whole_id,
    "type": name,
    "requested_by": text,
    "schedule": Shape(fields={"id": whole_id, "name": text}),
    "requested_at": moment,
    "started_at": moment,
    "finished_at": moment,
    "targets": Shape(fields={"total": _count, "succeeded": _count, "failed": _count}),
    "devices": [Shape(fields={"id": whole_id, "hostname": text, "status": text, "message": text})],
    "error": text,
    "log_excerpt": text,
    "log_lines": _count,
    "summary": _anything,
    "storage": text,
    "size_bytes": _count,
    "changed": _count,
    "next_run_at": moment,
}
JOB: Final = Shape(
    fields={**_JOB_FIELDS, "status": _job_status}, required=frozenset({"id", "type", "status"})
)
CHECKING_JOB: Final = Shape(fields={**_JOB_FIELDS, "status": text}, required=frozenset({"id", "type"}))
COMPLIANCE_RESULT: Final = Shape(
    fields={
        "id": whole_id,
        "status": name,
        "policy": Shape(fields={"id": whole_id, "name": name}, required=frozenset({"id", "name"})),
        "device": Shape(
            fields={
                "id": whole_id,
                "hostname": name,
                "mgmt_ip": text,
                "vendor": text,
                "platform": text,
                "site": text,
            },
            required=frozenset({"id", "hostname"}),
        ),
        "detected_at": moment,
        "severity": text,
        "rule": text,
        "expected": _anything,
        "found": _anything,
        "details": _anything,
        "job_id": whole_id,
    },
    required=frozenset({"id", "status", "policy", "device"}),
)


def checked(value: object, shape: Shape, path: str, faults: list[str]) -> dict[str, object]:
    """`value` as JSON can hold it: times as texts, None left out. What is wrong is added to `faults`, with its path."""
    if not isinstance(value, Mapping):
        faults.append(f"{path}: must be a dictionary")
        return {}
    found = {key: item for key, item in value.items() if item is not None}
    faults.extend(f"{path}.{key}: is required" for key in sorted(shape.required - set(found)))
    return {
        key: _item(item, shape.fields.get(key, _anything), f"{path}.{key}", faults)
        for key, item in found.items()
    }


def _item(
    value: object, rule: Callable[[object], object] | Shape | list[Shape], path: str, faults: list[str]
) -> object:
    if isinstance(rule, Shape):
        return checked(value, rule, path, faults)
    if isinstance(rule, list):
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            return [checked(item, rule[0], f"{path}[{at}]", faults) for at, item in enumerate(value)]
        faults.append(f"{path}: must be a list")
        return None
    return field_value(value, rule, path, faults)


def field_value(value: object, rule: Callable[[object], object], path: str, faults: list[str]) -> object:
    """The value as `rule` makes it; a fault of it is added to `faults`."""
    try:
        return rule(value)
    except ValueError as exc:
        faults.append(f"{path}: {exc}")
        return None
