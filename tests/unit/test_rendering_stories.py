"""What is said of an event: headlines, preheaders, subjects, tables, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import resources
from notifier.rendering import (
    compliance_story,
    job_headlines,
    job_results,
    job_story,
    language,
    story,
    subjects,
    telling,
)
from notifier.rendering.site import Customer, Site
from notifier.rendering.states import state_of
from notifier.rendering.telling import Telling
from tests.properties import examples

if TYPE_CHECKING:
    from notifier.domain.vocabulary import EventType
    from notifier.rendering.telling import Row

ENGLISH = language.load(resources.path("templates") / "locale")["en"]
TELLING = Telling(
    language=ENGLISH,
    zone=ZoneInfo("UTC"),
    site=Site(product="Webnet", environment="staging", base_url="https://app.example.com", links={}),
    customer=Customer(id=1, name="Acme"),
    product="Webnet",
)
DEVICES = [
    {"hostname": "core-01", "status": "success"},
    {"hostname": "edge-01", "status": "failed", "message": "no route"},
    {"hostname": "edge-02", "status": "skipped_by_operator"},
    {"status": "failed"},
]


def job(status: str, **more: object) -> dict[str, object]:
    return {"id": 7, "type": "config_backup", "status": status, **more}


def facts_of(event_type: EventType, event: dict[str, object]) -> tuple[list[Row], list[Row]]:
    headline = job_headlines.headline(TELLING, event_type, event)
    return job_story.facts(TELLING, event_type, event, headline=headline)


def targets(total: int | None, done: int | None, failed: int | None) -> dict[str, object]:
    given = {"total": total, "succeeded": done, "failed": failed}
    return {"targets": {key: value for key, value in given.items() if value is not None}}


@pytest.mark.parametrize(
    ("event_type", "event", "said"),
    [
        ("job_success", job("success"), "Config backup #7 finished"),
        ("job_success", job("success", **targets(1, 1, 0)), "Config backup #7 finished on 1 device"),
        (
            "job_success",
            job("success", **targets(24, None, None)),
            "Config backup #7 finished on all 24 devices",
        ),
        (
            "job_success",
            job("success", **targets(24, 23, 1)),
            "Config backup #7 finished on 23 of 24 devices",
        ),
        ("job_failed", job("failed"), "Config backup #7 failed"),
        ("job_failed", job("failed", **targets(0, 0, 0)), "Config backup #7 failed"),
        (
            "job_failed",
            job("failed", **targets(12_000, 0, None)),
            "Config backup #7 failed on all 12,000 devices",
        ),
        ("job_failed", job("failed", **targets(24, None, 3)), "Config backup #7 failed on 3 of 24 devices"),
        ("job_failed", job("failed", devices=DEVICES[:2]), "Config backup #7 failed on edge-01"),
        (
            "job_failed",
            job("failed", devices=DEVICES[:2], **targets(9, 0, 9)),
            "Config backup #7 failed on all 9 devices",
        ),
        ("job_partial", job("partial"), "Config backup #7 is only partly done"),
        ("job_partial", job("partial", **targets(24, 21, None)), "21 of 24 devices done, 3 failed"),
        ("job_partial", job("partial", **targets(None, 21, 3)), "21 of 24 devices done, 3 failed"),
        (
            "job_partial",
            job("partial", **targets(None, None, 3)),
            "Config backup #7 failed on 3 devices, the others are done",
        ),
        ("scheduled_backup_complete", job("success"), "Config backup #7 is complete"),
        (
            "scheduled_backup_complete",
            job("success", **targets(24, 24, 0)),
            "Config backup #7 saved all 24 devices",
        ),
        (
            "scheduled_backup_complete",
            job("success", **targets(24, None, None)),
            "Config backup #7 saved all 24 devices",
        ),
        (
            "scheduled_backup_complete",
            job("partial", **targets(24, 23, 1)),
            "Config backup #7 saved 23 of 24 devices",
        ),
        ("scheduled_backup_complete", job("partial"), "Config backup #7 saved only some of the devices"),
        ("scheduled_backup_complete", job("failed"), "Config backup #7 failed"),
        (
            "scheduled_backup_complete",
            job("failed", **targets(24, 0, 24)),
            "Config backup #7 failed: 0 of 24 devices saved",
        ),
    ],
)
def test_the_headline_is_the_result_as_a_sentence(
    event_type: str, event: dict[str, object], said: str
) -> None:
    assert job_headlines.headline(TELLING, event_type, event) == said


@pytest.mark.parametrize(
    ("event_type", "event", "said"),
    [
        (
            "job_failed",
            job("failed", error="line one\nline two", **targets(24, 0, 24)),
            "line one. 0 of 24 devices done. All that is known about it is in Webnet.",
        ),
        (
            "job_partial",
            job("partial", devices=DEVICES, **targets(24, 23, 1)),
            "1 device failed: edge-01. 23 of 24 devices done.",
        ),
        (
            "job_partial",
            job("partial", **targets(None, None, 3)),
            "3 devices failed. All that is known about it is in Webnet.",
        ),
        ("job_partial", job("partial"), "All that is known about it is in Webnet."),
        (
            "scheduled_backup_complete",
            job("success", changed=1, next_run_at="2025-03-05T02:00:00Z", **targets(2, 2, 0)),
            "2 of 2 devices saved. 1 configuration changed. Next run 5 March 2025, 02:00 UTC.",
        ),
        (
            "job_success",
            job(
                "success",
                started_at="2025-03-04T02:00:00Z",
                finished_at="2025-03-04T02:06:12Z",
                **targets(2, 2, 0),
            ),
            "2 of 2 devices done in 6 min 12 s. All that is known about it is in Webnet.",
        ),
    ],
)
def test_the_preheader_says_cause_or_numbers(event_type: str, event: dict[str, object], said: str) -> None:
    assert job_story.preheader(TELLING, event_type, event) == said


def test_a_preheader_never_outgrows_its_line() -> None:
    assert len(TELLING.preheader(("x" * 300,))) == 110
    assert TELLING.preheader(("a" * 60 + ".", "b" * 60 + ".")) == "a" * 60 + "."


def test_times_that_run_backwards_have_no_duration() -> None:
    event = job("success", started_at="2025-03-04T02:00:00Z", finished_at="2025-03-04T01:00:00Z")
    labels = [[label for label, _ in rows] for rows in facts_of("job_success", event)]
    assert labels == [["Job"], ["Customer", "Environment", "Started", "Finished"]]


def test_a_job_that_never_began_shows_when_it_was_asked_for() -> None:
    event = job("failed", requested_at="2025-03-04T02:00:00Z", schedule={"id": 3}, **targets(5, None, None))
    first, rest = facts_of("job_failed", event)
    assert first[1:] == [("Result", "5 devices")]
    assert rest[2:] == [("Schedule", "#3"), ("Requested", "4 March 2025, 02:00 UTC")]


def test_what_the_headline_says_is_not_said_again() -> None:
    event = job("partial", **targets(3, 2, 1))
    first, rest = facts_of("job_partial", event)
    assert [label for label, _ in first] == ["Job", "Customer", "Environment"], "one table for so little"
    assert rest == []


def test_devices_are_listed_failed_ones_first() -> None:
    table = job_story.devices(TELLING, job("partial", devices=DEVICES, **targets(24, 1, 1)), only=None)
    assert table == {
        "rows": [
            ("edge-01", "Failed", "no route"),
            ("core-01", "Done", ""),
            ("edge-02", "Skipped by operator", ""),
        ],
        "results": True,
        "more": "and 21 more devices",
        "all": None,
        "column": "Reason",
    }
    assert job_story.devices(TELLING, job("failed"), only="failed") is None
    notes = job_story.notes(TELLING, job("success", devices=DEVICES))
    assert notes is not None
    assert notes["rows"] == [("edge-01", "Failed", "no route")]
    assert job_story.notes(TELLING, job("success")) is None


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        ({}, None),
        ({"error": " \n "}, None),
        ({"error": "a\nb"}, (["a", "b"], [], "")),
        ({"log_excerpt": "x", "log_lines": 1}, ([], ["x"], "The log has 1 line.")),
        ({"error": "same", "log_excerpt": "same"}, (["same"], [], "")),
        (
            {"error": "y\n" * 30, "log_excerpt": "x", "log_lines": 412},
            (["y"] * 25, [], "Cut; the log has 412 lines."),
        ),
        ({"error": "y\n" * 30}, (["y"] * 25, [], "Cut; the job log has all of it.")),
        (
            {"error": "y\n" * 24, "log_excerpt": "a\nb"},
            (["y"] * 24, ["a"], "Cut; the job log has all of it."),
        ),
    ],
)
def test_error_and_log_share_25_lines(
    event: dict[str, object], shown: tuple[object, object, object] | None
) -> None:
    found = job_story.error(TELLING, event)
    assert (found and (found["lines"], found["log"], found["note"])) == shown


def test_without_links_there_is_no_button() -> None:
    assert job_story.actions(TELLING, "job_failed", job("failed")) == (None, [])
    assert compliance_story.actions(TELLING, violation(), {}) == (None, [])


def violation(**more: object) -> dict[str, object]:
    return {"id": 1, "policy": {"id": 7, "name": "NTP"}, "device": {"id": 17, "hostname": "core-01"}, **more}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, []),
        ("", []),
        (" \n", []),
        ("a\nb", ["a", "b"]),
        (["a", 7, True], ["a", "7", "true"]),
        ({"a": 1}, ['{"a": 1}']),
        ([{"a": 1}], ['[{"a": 1}]']),
        ("x\n" * 12, ["x"] * 10 + ["…"]),
        (12, ["12"]),
    ],
)
def test_what_was_expected_and_found_may_be_any_json(value: object, shown: list[str]) -> None:
    assert telling.lines_of(value) == shown


def test_an_object_is_read_as_rows_and_anything_else_as_lines() -> None:
    def read(value: object) -> tuple[object, object]:
        found = telling.reading(TELLING, value, url=None)
        assert found is not None
        return found["rows"], found["lines"]

    assert read({"line_no": 12, "x": None}) == ([("Line no", "12")], [])
    assert read("free text") == ([], ["free text"])
    assert read(["24 devices saved", 3]) == ([], ["24 devices saved", "3"])
    assert read({"diff": "-ntp 192.0.2.7\n+  ntp 10.0.0.1\n"}) == (
        [("Diff", "-ntp 192.0.2.7\n+  ntp 10.0.0.1")],
        [],
    )


@pytest.mark.parametrize("value", [None, "", {}, [], {"x": None}], ids=repr)
def test_what_says_nothing_is_not_shown(value: object) -> None:
    assert telling.reading(TELLING, value, url=None) is None


@pytest.mark.parametrize(("keys", "more"), [(10, ""), (11, "and 1 more entry"), (13, "and 3 more entries")])
def test_what_does_not_fit_is_told_of(keys: int, more: str) -> None:
    found = telling.reading(
        TELLING, {f"site_{n}": "ok" for n in range(keys)}, url="https://app.example.com/1"
    )
    assert found is not None
    assert (len(found["rows"]), found["more"]) == (10, more)  # type: ignore[arg-type]
    assert found["all"] == "https://app.example.com/1"


@pytest.mark.parametrize(
    ("counted", "status"),
    [
        (targets(24, 24, 0), "success"),
        (targets(None, None, None), "success"),
        (targets(24, 23, 1), "partial"),
        (targets(24, 23, None), "partial"),
        (targets(None, None, 2), "partial"),
    ],
)
def test_a_backup_that_lacks_devices_is_partial_whatever_the_event_calls_it(
    counted: dict[str, object], status: str
) -> None:
    """Nobody may rely on a backup that is not there."""
    event = job("success", **counted)
    assert job_results.outcome("scheduled_backup_complete", event) == status
    assert job_results.outcome("job_success", event) == "success"


@pytest.mark.parametrize(
    ("given", "word", "shown"),
    [("HIGH", "high", "High"), ("very_bad", "high", "Very bad"), (None, "high", "")],
)
def test_a_severity_is_one_known_word_for_filters_and_any_for_people(
    given: object, word: str, shown: str
) -> None:
    result = violation(severity=given)
    assert compliance_story.severity_word(result) == word
    assert dict(compliance_story.facts(TELLING, result, {})[0]).get("Severity", "") == shown


def test_a_violation_within_a_job_names_the_job_and_joins_its_subject() -> None:
    document = {
        "type": "compliance_violation",
        "data": {"job": job("success"), "compliance_result": violation()},
    }
    assert subjects.title(document) == "Config backup #7"
    assert ("Job", "Config backup #7") in compliance_story.facts(TELLING, violation(), job("success"))[1]
    assert story.severity(document) == "high"


def test_blank_names_are_replaced_by_numbers() -> None:
    result = {"policy": {"id": 7, "name": "\u200b"}, "device": {"id": 17, "hostname": " "}}
    assert compliance_story.headline(TELLING, result).startswith("#17 breaks policy")


@pytest.mark.parametrize(
    ("customer", "subject"),
    [
        ("Acme", "Config backup #7 - Acme"),
        ("x" * 100, "Config backup #7 - " + "x" * 30 + "..."),
        ("\u202e", "Config backup #7"),
    ],
)
def test_the_customers_name_is_cut_first(customer: str, subject: str) -> None:
    assert subjects.base(subjects.title({"data": {"job": job("failed")}}), customer) == subject


def test_counts_too_large_for_a_tag_are_left_out() -> None:
    state = state_of("scheduled_backup_complete", "partial")
    assert subjects.tag(state, job("partial", **targets(24, 23, 1))) == "Backup partial 23/24"
    assert subjects.tag(state, job("partial", **targets(10**9, 1, 1))) == "Backup partial"
    assert subjects.tag(state, job("partial")) == "Backup partial"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["2025-03-04T02:00:00Z"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
VIOLATION_FIELDS = ["detected_at", "severity", "rule", "expected", "found", "details", "policy", "device"]
FIELDS = [
    "requested_by", "schedule", "requested_at", "started_at", "finished_at", "targets", "devices", "error",
    "log_excerpt", "log_lines", "summary", "storage", "size_bytes", "changed", "next_run_at",
]  # fmt: skip


@examples(60)
@given(
    st.dictionaries(st.sampled_from(FIELDS), json_values), st.sampled_from(["success", "failed", "partial"])
)
def test_no_shape_of_an_optional_field_breaks_the_story(more: dict[str, object], status: str) -> None:
    """A mail must go out even if a field's type was wrong in a way nobody thought of."""
    event = job(status, **more)
    event_types: tuple[EventType, ...] = ("job_success", "scheduled_backup_complete")
    for event_type in event_types:
        told = story._job(TELLING, event_type, event, for_own_templates=True)
        assert told["headline"]
        assert told["preheader"]


@examples(40)
@given(st.dictionaries(st.sampled_from(VIOLATION_FIELDS), json_values))
def test_no_shape_of_a_violation_breaks_its_story(more: dict[str, object]) -> None:
    assert story._violation(TELLING, violation(**more), {})["headline"]
