"""`notifier.publish` builds what the worker accepts, and refuses what it would refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Required, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain import event_fields, event_parts
from notifier.domain.errors import InvalidEvent
from notifier.domain.event_fields import CHECKING_JOB, COMPLIANCE_RESULT, JOB, Shape
from notifier.domain.events import JobEvent, decode
from notifier.domain.vocabulary import EVENT_TYPES, MAX_ID
from notifier.publish import Event, build_event

if TYPE_CHECKING:
    from pydantic import BaseModel

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
RESULT: event_fields.ComplianceResult = {
    "id": 9001,
    "status": "violation",
    "policy": {"id": 12, "name": "NTP servers"},
    "device": {"id": 11, "hostname": "core-01"},
}


def decoded(event: Event) -> JobEvent:
    result = decode(
        event.body, content_type="application/cloudevents+json", content_encoding=None, headers={}
    )
    assert isinstance(result, JobEvent)
    return result


def built(event_type: Any = "job_failed", **changes: Any) -> Event:
    """An event with the required fields, but for `changes`."""
    about: dict[str, Any] = {"job": {"id": 4812, "type": "config_backup"}}
    if event_type == "compliance_violation":
        about = {"compliance_result": RESULT}
    elif event_type == "scheduled_backup_complete":
        about["job"]["status"] = "success"
    return build_event(event_type, **{"source": "webnet/jobs", "customer_id": 1, **about, **changes})


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_an_event_with_only_the_required_fields_is_accepted(event_type: str) -> None:
    event = built(event_type)
    read = decoded(event)
    assert (read.type, read.id, read.source, read.customer_id) == (event_type, event.id, "webnet/jobs", 1)
    assert event.routing_key == f"{event_type}.1"


def test_what_was_given_arrives_times_as_utc_and_none_left_out() -> None:
    berlin = timezone(timedelta(hours=1))
    event = built(
        event_id="job-4812-failed",
        time=datetime(2026, 11, 23, 5, 31, 7, tzinfo=berlin),
        traceparent=TRACEPARENT,
        tracestate="a=1",
        job={
            "id": 4812,
            "type": "config_backup",
            "started_at": "2026-11-23T04:20:05+00:00",
            "finished_at": datetime(2026, 11, 23, 5, 31, 7, tzinfo=berlin),
            "devices": ({"id": 5, "hostname": "edge-01", "message": None},),
            "error": None,
            "summary": {"at": datetime(2026, 11, 23, tzinfo=UTC), "lines": (1, 2.5, None)},
            "our_own": "carried along",
        },
    )
    assert json.loads(event.body) == {
        "specversion": "1.0",
        "id": "job-4812-failed",
        "source": "webnet/jobs",
        "type": "job_failed",
        "time": "2026-11-23T04:31:07Z",
        "traceparent": TRACEPARENT,
        "tracestate": "a=1",
        "data": {
            "customer_id": 1,
            "job": {
                "id": 4812,
                "type": "config_backup",
                "status": "failed",
                "started_at": "2026-11-23T04:20:05+00:00",
                "finished_at": "2026-11-23T04:31:07Z",
                "devices": [{"id": 5, "hostname": "edge-01"}],
                "summary": {"at": "2026-11-23T00:00:00+00:00", "lines": [1, 2.5, None]},
                "our_own": "carried along",
            },
        },
    }
    assert decoded(event).traceparent == TRACEPARENT


def test_every_event_has_an_id_of_its_own_and_the_time_it_was_made() -> None:
    before = datetime.now(UTC)
    one, two = decoded(built()), decoded(built())
    assert one.id != two.id
    assert one.time is not None
    assert before <= one.time <= datetime.now(UTC)


def test_a_broken_trace_context_costs_no_alarm() -> None:
    assert "traceparent" not in json.loads(built(traceparent="00-abc-def-01").body)


def test_the_job_that_found_a_violation_may_still_run() -> None:
    event = built("compliance_violation", job={"id": 7, "type": "compliance_check", "status": "running"})
    assert decoded(event).job_id == 7


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"event_type": "job_exploded"}, "event_type"),
        ({"customer_id": 0}, "customer_id"),
        ({"customer_id": "1"}, "customer_id"),
        ({"customer_id": True}, "customer_id"),
        ({"source": ""}, "source"),
        ({"source": "x" * 501}, "source"),
        ({"event_id": ""}, "event_id"),
        ({"event_id": "Größe"}, "event_id"),
        ({"event_id": "line\n"}, "event_id"),
        ({"time": datetime(2026, 11, 23)}, "time"),  # noqa: DTZ001 - without zone is the case
        ({"time": "yesterday"}, "time"),
        ({"time": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))}, "time"),
        ({"job": None}, "job.id"),
        ({"job": 4812}, "job"),
        ({"job": {"id": 4812}}, "job.type"),
        ({"job": {"id": MAX_ID + 1, "type": "x"}}, "job.id"),
        ({"job": {"id": 1, "type": ""}}, "job.type"),
        ({"job": {"id": 1, "type": "x", "status": "success"}}, "job.status"),
        ({"job": {"id": 1, "type": "x", "status": "exploded"}}, "job.status"),
        ({"job": {"id": 1, "type": "x", "log_lines": -1}}, "job.log_lines"),
        ({"job": {"id": 1, "type": "x", "devices": [{}, {"id": 0}]}}, "job.devices[1].id"),
        ({"job": {"id": 1, "type": "x", "devices": "edge-01"}}, "job.devices"),
        ({"job": {"id": 1, "type": "x", "error": b"bytes"}}, "job.error"),
        ({"job": {"id": 1, "type": "x", "schedule": {"name": 3}}}, "job.schedule.name"),
        ({"event_type": "scheduled_backup_complete", "job": {"id": 1, "type": "x"}}, "job.status"),
        ({"event_type": "compliance_violation", "compliance_result": None}, "compliance_result.device"),
        ({"compliance_result": RESULT}, "compliance_result"),
    ],
)
def test_a_faulty_field_is_named(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        built(**changes)
    assert caught.value.reason == "schema"
    assert path in [fault.partition(": ")[0] for fault in caught.value.detail.split("; ")]


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidEvent, match=r"source: .*; customer_id: .*; job\.id: .*; job\.type: "):
        build_event("job_failed", source="", customer_id=0, job={"id": 0, "type": ""})


@pytest.mark.parametrize(
    ("summary", "reason"),
    [
        (float("nan"), "bad_json"),
        ({1, 2}, "bad_json"),
        ("half a pair \ud800", "bad_json"),
        (10**640, "bad_number"),
        ({1: "a", "1": "b"}, "duplicate_key"),
        ("x" * 262_144, "too_large"),
        (json.loads("[" * 40 + "]" * 40), "too_deep"),
    ],
    ids=["nan", "set", "surrogate", "digits", "twice", "large", "deep"],
)
def test_what_the_worker_cannot_read_is_refused_before_it_is_published(summary: object, reason: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        built(job={"id": 1, "type": "x", "summary": summary})
    assert caught.value.reason == reason


# --- the fields and the worker's models agree ---------------------------------------------------------------


def _mostly(good: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One value in twelve is odd: an object with a dozen fields must often be free of faults."""
    return st.integers(0, 11).flatmap(lambda chance: odd if chance == 0 else good)


_ids = _mostly(st.integers(1, 3), st.integers(-1, 0) | st.integers() | st.sampled_from([MAX_ID, MAX_ID + 1]))
_texts = _mostly(st.text(min_size=1, max_size=6), st.sampled_from(["", 1, "\x00", "\ud800"]))
_any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
_moments = _mostly(
    st.datetimes(timezones=st.timezones())
    | st.sampled_from(["2026-11-23T04:31:07Z", "2026-11-23t23:59:60.5+05:30"]),
    st.datetimes() | st.just("now"),
)
_VALUES = {
    "whole_id": _ids,
    "_count": _ids,
    "text": _texts,
    "name": _texts,
    "moment": _moments,
    "_anything": _mostly(_any_json, st.floats()),
    "_job_status": _mostly(st.sampled_from(["success", "partial", "failed"]), st.just("running")),
}


def _values(rule: Any) -> st.SearchStrategy[Any]:
    if isinstance(rule, list):
        return st.lists(_values(rule[0]), max_size=2)
    if not isinstance(rule, Shape):
        return _VALUES[rule.__name__]
    every = {key: st.none() | _values(inner) for key, inner in rule.fields.items()}
    needed = {key: _values(rule.fields[key]) for key in rule.required}
    # Mostly what is required and a few more: an event with every field is hardly ever free of faults.
    some = st.sets(st.sampled_from(sorted(every)), max_size=3).flatmap(
        lambda keys: st.fixed_dictionaries({**{key: every[key] for key in sorted(keys)}, **needed})
    )
    return some | st.fixed_dictionaries({}, optional=every)


@given(
    event_type=st.sampled_from(EVENT_TYPES),
    customer_id=_ids,
    source=_texts,
    event_id=st.none() | _texts,
    time=st.none() | _moments,
    job=st.none() | _values(JOB) | _values(CHECKING_JOB),
    result=_values(COMPLIANCE_RESULT),
)
def test_whatever_is_built_is_accepted_by_the_worker(
    event_type: Any, customer_id: int, source: str, event_id: str | None, time: Any, job: Any, result: Any
) -> None:
    about = {"job": job, "compliance_result": result if event_type == "compliance_violation" else None}
    try:
        event = build_event(
            event_type, source=source, customer_id=customer_id, event_id=event_id, time=time, **about
        )
    except InvalidEvent:
        return
    read = decoded(event)
    assert (read.id, read.type, read.customer_id) == (event.id, event_type, customer_id)
    if job is not None and job.get("error") and read.data.job is not None:
        assert read.data.job.error == job["error"].replace("\x00", "\ufffd")


@given(job=_values(JOB))
def test_a_job_is_refused_if_and_only_if_the_worker_would_refuse_it(job: dict[str, Any]) -> None:
    """The same document, written by hand: whoever uses the helper loses no freedom."""
    document = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "webnet",
        "type": "scheduled_backup_complete",
        "data": {"customer_id": 1, "job": {key: _by_hand(value) for key, value in job.items()}},
    }
    try:
        body = json.dumps(document, allow_nan=False).encode()
        decode(body, content_type=None, content_encoding=None, headers={})
    except (InvalidEvent, ValueError):
        accepted = False
    else:
        accepted = True
    try:
        build_event("scheduled_backup_complete", source="webnet", customer_id=1, job=job)  # type: ignore[arg-type]
    except InvalidEvent:
        assert not accepted
    else:
        assert accepted


def _by_hand(value: object) -> object:
    """A datetime as a careful publisher writes it; one without zone stays wrong."""
    if not isinstance(value, datetime):
        return value
    try:
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    except OverflowError:
        return "out of range"


PAIRS = [
    (JOB, event_parts.Job, event_fields.Job),
    (CHECKING_JOB, event_parts.CheckingJob, event_fields.Job),
    (COMPLIANCE_RESULT, event_parts.ComplianceResult, event_fields.ComplianceResult),
]


def _required(typed: Any) -> set[str]:
    hints = get_type_hints(typed, include_extras=True)
    return {key for key, hint in hints.items() if typed.__total__ or get_origin(hint) is Required}


def _compare(shape: Shape, model: type[BaseModel], typed: Any) -> None:
    assert set(shape.fields) == set(model.model_fields) == set(typed.__annotations__)
    required = {key for key, value in model.model_fields.items() if value.is_required()}
    assert shape.required == required
    assert _required(typed) | {"status"} == required | {"status"}  # job.status: the event type says it
    inner = {"schedule": "Schedule", "targets": "Targets", "devices": "DeviceOutcome"} | {
        "policy": "Policy",
        "device": "Device",
    }
    for key, rule in shape.fields.items():
        below = rule[0] if isinstance(rule, list) else rule
        if isinstance(below, Shape):
            _compare(below, getattr(event_parts, inner[key]), getattr(event_fields, inner[key]))


@pytest.mark.parametrize(("shape", "model", "typed"), PAIRS, ids=["job", "checking_job", "compliance_result"])
def test_the_fields_are_those_of_the_models(shape: Shape, model: type[BaseModel], typed: Any) -> None:
    _compare(shape, model, typed)


# --- what it needs ------------------------------------------------------------------------------------------

_BLOCKED = """
import sys

class OnlyPika:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {"notifier", "pika"}:
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, OnlyPika())
"""


def _run(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", _BLOCKED + script]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_building_and_publishing_need_no_library_but_pika() -> None:
    script = """
from notifier.publish import BrokerUnavailable, EventPublisher, build_event
event = build_event("job_failed", source="webnet/jobs", customer_id=1, job={"id": 1, "type": "config_backup"})
try:
    EventPublisher("amqp://guest:guest@127.0.0.1:1/", patience=0).publish(event)
except BrokerUnavailable as exc:
    print(type(exc).__name__)
"""
    done = _run(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "BrokerUnavailable\n", "")


def test_the_block_of_other_libraries_works() -> None:
    assert "click is not there" in _run("import notifier.cli.publishing").stderr
