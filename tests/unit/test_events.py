"""What an acceptable event is, and what is made of it (docs/contract.md)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.errors import InvalidEvent
from notifier.domain.events import JobEvent, UnknownEvent, decode
from notifier.domain.vocabulary import EVENT_TYPES, MAX_ID
from tests.properties import examples

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
RESULT = {
    "id": 9001,
    "status": "violation",
    "policy": {"id": 12, "name": "NTP servers"},
    "device": {"id": 11, "hostname": "core-01"},
}


def event(event_type: str = "job_failed", **changes: Any) -> dict[str, Any]:
    status = {"job_success": "success", "job_partial": "partial"}.get(event_type, "failed")
    data: dict[str, Any] = {"customer_id": 1, "job": {"id": 4812, "type": "config_backup", "status": status}}
    if event_type == "compliance_violation":
        data = {"customer_id": 1, "compliance_result": RESULT}
    return {
        "specversion": "1.0",
        "id": "e-1",
        "source": "webnet",
        "type": event_type,
        "data": data,
        **changes,
    }


def read(
    document: object, headers: dict[str, object] | None = None, **properties: Any
) -> JobEvent | UnknownEvent:
    properties = {"content_type": None, "content_encoding": None} | properties
    return decode(json.dumps(document).encode(), headers=headers or {}, **properties)


def known(document: object, headers: dict[str, object] | None = None, **properties: Any) -> JobEvent:
    result = read(document, headers, **properties)
    assert isinstance(result, JobEvent)
    return result


def unknown(document: object, headers: dict[str, object] | None = None) -> UnknownEvent:
    result = read(document, headers)
    assert isinstance(result, UnknownEvent)
    return result


def schema_fault(document: object) -> str:
    with pytest.raises(InvalidEvent) as caught:
        read(document)
    assert caught.value.reason == "schema"
    return caught.value.detail


def put(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    target = copy
    for parent in parents:
        target = target.setdefault(parent, {})
    target[last] = value
    return copy


def without(document: dict[str, Any], path: str) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    target = copy
    for parent in parents:
        target = target[parent]
    del target[last]
    return copy


# --- what is required ---------------------------------------------------------------------------------------

REQUIRED = [
    *[("job_failed", path) for path in ("specversion", "id", "source", "type", "data", "data.customer_id")],
    *[("job_success", path) for path in ("data.job", "data.job.id", "data.job.type", "data.job.status")],
    ("scheduled_backup_complete", "data.job"),
    *[
        ("compliance_violation", f"data.compliance_result{part}")
        for part in (
            "",
            ".id",
            ".status",
            ".policy",
            ".policy.name",
            ".device",
            ".device.id",
            ".device.hostname",
        )
    ],
]


@pytest.mark.parametrize(("event_type", "path"), REQUIRED)
def test_a_missing_required_field_is_named(event_type: str, path: str) -> None:
    assert schema_fault(without(event(event_type), path)) == f"{path}: Field required"


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_an_event_with_only_the_required_fields_is_accepted(event_type: str) -> None:
    assert known(event(event_type)).type == event_type


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_unknown_extra_fields_are_ignored_and_kept_in_the_document(event_type: str) -> None:
    document = put(put(event(event_type), "data.extra", {"a": [1.5]}), "flavour", "x")
    assert known(document).document == document


def test_every_faulty_path_is_named_at_once() -> None:
    document = event(
        data={"customer_id": "1", "job": {"id": 0, "status": "success", "devices": [{"id": True}]}}
    )
    detail = schema_fault(without(document, "source"))
    for path in ("source:", "data.customer_id:", "data.job.id:", "data.job.type:", "data.job.status:"):
        assert path in detail
    assert "data.job.devices[0].id:" in detail


def test_a_great_many_faults_still_fit_the_log() -> None:
    some = schema_fault(put(event(), "data.job.devices", [1] * 50))
    assert "data.job.devices[49]" in some
    many = schema_fault(put(event(), "data.job.devices", [1] * 5000))
    shown = many.count("data.job.devices[")
    assert len(many) <= 2000
    assert many.endswith(f" and {5000 - shown} more")


def test_faults_do_not_repeat_the_values() -> None:
    assert "hunter2" not in schema_fault(put(event(), "data.customer_id", "hunter2"))


# --- values -------------------------------------------------------------------------------------------------

ID_PATHS = [
    ("job_failed", "data.customer_id"),
    ("job_failed", "data.job.id"),
    ("job_failed", "data.job.schedule.id"),
    ("compliance_violation", "data.compliance_result.id"),
    ("compliance_violation", "data.compliance_result.policy.id"),
    ("compliance_violation", "data.compliance_result.device.id"),
    ("compliance_violation", "data.compliance_result.job_id"),
]


@pytest.mark.parametrize("value", [True, "1", 1.0, 0, -1, MAX_ID + 1, [1]])
@pytest.mark.parametrize(("event_type", "path"), ID_PATHS)
def test_what_is_no_bigint_is_no_id(event_type: str, path: str, value: object) -> None:  # B12
    assert schema_fault(put(event(event_type), path, value)).startswith(f"{path}: ")


@pytest.mark.parametrize("value", [1, MAX_ID])
def test_ids_reach_from_one_to_the_largest_bigint(value: int) -> None:
    assert known(put(event(), "data.customer_id", value)).customer_id == value


@pytest.mark.parametrize("value", ["", "x" * 201, "x" * 10_000, "a\nb", "a\x7f", "ü", 7, None])
def test_a_bad_event_id_is_refused(value: object) -> None:  # B13
    assert schema_fault(event(id=value)).startswith("id: ")


def test_the_longest_event_id_and_source_are_accepted() -> None:
    assert known(event(id="~ " * 100, source="ü" * 500)).id == "~ " * 100
    assert schema_fault(event(source="")).startswith("source: ")
    assert schema_fault(event(source="s" * 501)).startswith("source: ")


@pytest.mark.parametrize("event_type", ["job_success", "job_failed", "job_partial"])
@pytest.mark.parametrize("status", ["success", "failed", "partial", "running"])
def test_the_job_status_agrees_with_the_type(event_type: str, status: str) -> None:
    document = put(event(event_type), "data.job.status", status)
    if event_type == f"job_{status}":
        assert known(document).data.job is not None
    else:
        assert schema_fault(document).startswith("data.job.status: ")


@pytest.mark.parametrize("status", ["success", "failed", "partial"])
def test_a_scheduled_backup_ends_in_any_of_the_three_ways(status: str) -> None:
    assert known(put(event("scheduled_backup_complete"), "data.job.status", status))
    assert schema_fault(put(event("scheduled_backup_complete"), "data.job.status", "skipped"))


@pytest.mark.parametrize("version", ["0.3", "1.1", 1.0, None])
def test_only_cloudevents_one_is_read(version: object) -> None:
    assert schema_fault(event(specversion=version)).startswith("specversion: ")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.job.error", 7),
        ("data.job.targets", []),
        ("data.job.devices", {}),
        ("data.job.targets.failed", -1),
    ],
)
def test_optional_fields_of_a_wrong_type_are_named(path: str, value: object) -> None:
    assert schema_fault(put(event(), path, value)).startswith(f"{path}: ")


@pytest.mark.parametrize("value", [None, 1, "x", [1, {"a": None}], {"b": 2.5}])
def test_summary_expected_found_and_details_are_any_json(value: object) -> None:
    assert known(put(event(), "data.job.summary", value))
    for name in ("expected", "found", "details"):
        assert known(put(event("compliance_violation"), f"data.compliance_result.{name}", value))


def test_optional_fields_may_be_null_and_texts_may_be_long() -> None:
    document = put(event(), "data.job.error", "x" * 100_000)
    assert known(put(document, "data.job.started_at", None))


# --- times --------------------------------------------------------------------------------------------------

TIMES = {
    "2026-11-23T04:31:07Z": datetime(2026, 11, 23, 4, 31, 7, tzinfo=UTC),
    "2026-11-23t04:31:07.5z": datetime(2026, 11, 23, 4, 31, 7, 500_000, tzinfo=UTC),
    "2026-11-23T04:31:07.123456789+01:30": datetime(
        2026, 11, 23, 4, 31, 7, 123456, tzinfo=timezone(timedelta(minutes=90))
    ),
    "2026-11-23T04:31:07-00:00": datetime(2026, 11, 23, 4, 31, 7, tzinfo=UTC),
    "2016-12-31T23:59:60Z": datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC),
    "0001-01-01T00:00:00Z": datetime(1, 1, 1, tzinfo=UTC),
}


@pytest.mark.parametrize(("text", "moment"), TIMES.items())
def test_rfc_3339_times_are_read(text: str, moment: datetime) -> None:
    assert known(event(time=text)).time == moment


@pytest.mark.parametrize(
    "text",
    [
        "99999-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
        "2026-02-30T00:00:00Z",
        "2026-11-23T04:31:07",
        "2026-11-23 04:31:07Z",
        "2026-11-23T04:31Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T04:31:07+0100",
        "2026-11-23T04:31:07+24:00",
        "2026-W48-1T04:31:07Z",
        "٢٠٢٦-11-23T04:31:07Z",
        "yesterday",
        "",
        1_764_000_000,
        True,
    ],
)
def test_other_times_are_refused(text: object) -> None:  # B54
    assert schema_fault(event(time=text)).startswith("time: ")
    assert schema_fault(put(event(), "data.job.finished_at", text)).startswith("data.job.finished_at: ")


# --- what is made of it -------------------------------------------------------------------------------------


def test_a_job_event_tells_its_customer_job_and_job_type() -> None:
    read_event = known(event())
    assert (read_event.customer_id, read_event.job_id, read_event.job_type) == (1, 4812, "config_backup")
    assert read_event.compliance_result_id is None


def test_a_compliance_result_in_a_job_event_is_an_extra_field() -> None:
    assert known(put(event(), "data.compliance_result", "odd")).compliance_result_id is None


def test_a_compliance_event_has_the_job_type_of_checks_and_the_job_its_result_names() -> None:
    result = known(put(event("compliance_violation"), "data.compliance_result.job_id", 5))
    assert (result.job_type, result.job_id, result.compliance_result_id) == ("compliance_check", 5, 9001)
    assert known(event("compliance_violation")).job_id is None


def test_a_compliance_event_with_a_job_has_the_job_and_its_type() -> None:
    document = put(event("compliance_violation"), "data.job", {"id": 6, "type": "audit", "status": "running"})
    result = known(document)
    assert (result.job_type, result.job_id) == ("audit", 6)


def test_the_document_is_the_event_as_published() -> None:
    document = event(time="2026-11-23T04:31:07Z", subject="x")
    assert known(document).document == document


def test_the_payload_hash_is_of_type_and_data_alone() -> None:
    document = event()
    base = known(document).payload_sha256
    assert len(base) == 32
    reordered = dict(reversed(list(document.items())))
    assert known(reordered | {"id": "other", "time": "2026-11-23T04:31:07Z"}).payload_sha256 == base
    assert known(put(document, "data.extra", 1)).payload_sha256 != base
    assert known(event("scheduled_backup_complete")).payload_sha256 != base
    assert (
        known(put(document, "data.extra", 1.0)).payload_sha256
        != known(put(document, "data.extra", 1)).payload_sha256
    )


@examples(60)
@given(summary=st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=4))
def test_the_payload_hash_does_not_depend_on_how_the_json_was_written(summary: dict[str, Any]) -> None:
    document = put(
        event(), "data.job.summary", {name.replace("\0", ""): value for name, value in summary.items()}
    )
    texts = (
        json.dumps(document, indent=3, ensure_ascii=False),
        json.dumps(document, sort_keys=True, separators=(",", ":")),
    )
    events = [
        decode(text.encode(), content_type=None, content_encoding=None, headers={}, max_bytes=10**6)
        for text in texts
    ]
    assert events[0].payload_sha256 == events[1].payload_sha256


def test_events_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        known(event()).id = "other"


# --- unknown types ------------------------------------------------------------------------------------------


def test_an_unknown_type_is_no_fault() -> None:  # B14
    document = event(type="device_added", time="2026-11-23T04:31:07Z")
    result = unknown(document)
    assert (result.type, result.source, result.id, result.customer_id) == ("device_added", "webnet", "e-1", 1)
    assert result.occurred_at == datetime(2026, 11, 23, 4, 31, 7, tzinfo=UTC)
    assert result.document == document
    assert len(result.payload_sha256) == 32


@pytest.mark.parametrize("data", [None, [], {}, {"customer_id": "1"}, {"customer_id": True}])
def test_an_unknown_type_without_a_readable_customer_is_no_fault_either(data: object) -> None:
    assert unknown(event(type="device_added", data=data)).customer_id is None
    assert unknown(without(event(type="device_added"), "data")).customer_id is None


@pytest.mark.parametrize("value", [None, 5, "", "t" * 201, ["job_failed"], {"a": 1}])
def test_a_type_that_is_no_name_is_refused(value: object) -> None:
    assert "type: " in schema_fault(event(type=value))


# --- binary mode --------------------------------------------------------------------------------------------


def binary_headers(prefix: str, **changes: object) -> dict[str, object]:
    document = event()
    del document["data"]
    return {f"{prefix}{name}": value for name, value in (document | changes).items()}


@pytest.mark.parametrize("prefix", ["ce-", "cloudEvents:", "cloudEvents_"])
def test_a_specversion_header_means_binary_mode(prefix: str) -> None:
    headers = binary_headers(prefix, time="2026-11-23T04:31:07Z", subject=None)
    result = known(event()["data"], headers)
    assert result.document == event(time="2026-11-23T04:31:07Z")
    assert result.payload_sha256 == known(event()).payload_sha256


def test_without_a_specversion_header_the_body_is_the_whole_event() -> None:
    assert known(event(), {"ce-id": "other", "x-death": [{"count": 99}], "specversion": "1.0"}).id == "e-1"


def test_the_content_type_alone_decides_nothing() -> None:  # B53
    for content_type in ("text/plain", "application/cloudevents+json; charset=utf-16", "application/xml"):
        assert known(event(), content_type=content_type)
        assert known(event()["data"], binary_headers("ce-"), content_type=content_type)


def test_ten_thousand_headers_are_ignored() -> None:  # B53
    headers: dict[str, object] = {f"ce-x{number}": "x" for number in range(10_000)}
    assert known(event()["data"], headers | binary_headers("ce-")).document == event()


def test_header_values_may_be_bytes_or_amqp_timestamps() -> None:
    headers = binary_headers("ce-", id=b"e-1", time=datetime(2026, 11, 23, 4, 31, 7))  # noqa: DTZ001 - as pika gives it
    assert known(event()["data"], headers).time == datetime(2026, 11, 23, 4, 31, 7, tzinfo=UTC)
    aware = binary_headers("ce-", time=datetime(2026, 11, 23, 4, 31, 7, tzinfo=UTC))
    assert known(event()["data"], aware).document["time"] == "2026-11-23T04:31:07+00:00"


@pytest.mark.parametrize("value", [7, True, ["1.0"], None, "0.3"])
def test_a_specversion_header_of_another_kind_is_refused(value: object) -> None:
    with pytest.raises(InvalidEvent) as caught:
        read(event()["data"], binary_headers("ce-") | {"ce-specversion": value})
    assert caught.value.detail.startswith("specversion: ")


def test_the_id_of_a_binary_event_is_known_although_its_body_is_broken() -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode(b"{", content_type=None, content_encoding=None, headers=binary_headers("ce-"))
    assert (caught.value.reason, caught.value.event_id) == ("bad_json", "e-1")


def test_half_a_surrogate_pair_in_a_header_is_refused() -> None:
    with pytest.raises(InvalidEvent) as caught:
        read(event()["data"], binary_headers("ce-", source="\ud800"))
    assert caught.value.reason == "bad_json"


# --- trace context ------------------------------------------------------------------------------------------


def test_the_trace_context_of_the_event_comes_first() -> None:
    other = TRACEPARENT.replace("4bf9", "5bf9")
    result = known(event(traceparent=TRACEPARENT, tracestate="a=1"), {"traceparent": other})
    assert (result.traceparent, result.tracestate) == (TRACEPARENT, "a=1")
    assert result.trace_id == TRACEPARENT.split("-")[1]


@pytest.mark.parametrize("own", [{}, {"traceparent": "broken"}, {"traceparent": 7}])
def test_the_trace_context_of_the_headers_serves_where_the_event_has_none(own: dict[str, Any]) -> None:
    headers: dict[str, object] = {"traceparent": TRACEPARENT.encode(), "tracestate": "a=1"}
    result = known(event(**own), headers)
    assert (result.traceparent, result.tracestate) == (TRACEPARENT, "a=1")
    assert result.document["traceparent"] == TRACEPARENT


@pytest.mark.parametrize(
    "broken",
    [
        TRACEPARENT.upper(),
        "ff" + TRACEPARENT[2:],
        TRACEPARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        "",
    ],
)
def test_a_broken_trace_context_costs_no_alarm(broken: str) -> None:
    result = known(event(traceparent=broken, tracestate="\u00fc"), {"traceparent": broken})
    assert (result.traceparent, result.tracestate, result.trace_id) == (None, None, None)
