"""What a preference may say, and how a line of an import is read, without a database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifier.domain.errors import InvalidInput
from notifier.domain.preferences import MAX_JOB_TYPES, Owner, PreferenceRequest, checked, from_fields
from notifier.domain.recipients import Rules
from notifier.domain.vocabulary import MAX_ID

RULES = Rules(
    role_defaults={},
    role_event_types={"operator": frozenset({"job_failed", "job_partial"})},
    allowed_domains=frozenset({"acme.example", "xn--bcher-kva.example"}),
)
OPERATOR = Owner(username="anna", role="operator", has_access=True)
WANTED = PreferenceRequest(customer_id=1, user_id=7, event_type="job_failed")


def faults(request: PreferenceRequest, owner: Owner | None = OPERATOR) -> dict[str, tuple[str, ...]]:
    with pytest.raises(InvalidInput) as refused:
        checked(request, owner=owner, rules=RULES)
    return refused.value.problems


def test_what_is_stored_has_a_plain_address_and_each_job_type_once() -> None:
    wanted = replace(WANTED, email_address=" Anna@BÜCHER.example ", job_types=(" b", "a", "b "))
    stored = checked(wanted, owner=OPERATOR, rules=RULES)
    assert stored == replace(WANTED, email_address="Anna@xn--bcher-kva.example", job_types=("b", "a"))
    assert checked(replace(WANTED, email_address=" "), owner=OPERATOR, rules=RULES) == WANTED
    assert stored.key == (1, 7, "job_failed")


@pytest.mark.parametrize(
    ("request_", "owner", "field", "words"),
    [
        (WANTED, None, "user_id", "there is no user 7"),
        (WANTED, replace(OPERATOR, has_access=False), "user_id", "anna has no access to customer 1"),
        (replace(WANTED, event_type="job_lost"), OPERATOR, "event_type", "there is no event type 'job_lost'"),
        (
            replace(WANTED, event_type="job_success"),
            OPERATOR,
            "event_type",
            "may not receive job_success, only job_failed, job_partial",
        ),
        (WANTED, replace(OPERATOR, role="viewer"), "event_type", "may not receive job_failed, only nothing"),
        (replace(WANTED, email_address="anna"), OPERATOR, "email_address", "@"),
        (
            replace(WANTED, email_address="anna@other.example"),
            OPERATOR,
            "email_address",
            "allowed: acme.example, xn--bcher-kva.example",
        ),
        (replace(WANTED, job_types=("",)), OPERATOR, "job_types", "is empty"),
        (replace(WANTED, job_types=("x" * 201,)), OPERATOR, "job_types", "longer than 200"),
        (replace(WANTED, job_types=("a\nb",)), OPERATOR, "job_types", "control character"),
        (
            replace(WANTED, job_types=tuple(map(str, range(MAX_JOB_TYPES + 1)))),
            OPERATOR,
            "job_types",
            "201 job types are too many",
        ),
    ],
)
def test_a_fault_is_told_with_its_field_and_its_cure(
    request_: PreferenceRequest, owner: Owner | None, field: str, words: str
) -> None:
    found = faults(request_, owner)
    assert list(found) == [field]
    assert words in found[field][0]


def test_all_faults_of_a_preference_are_told_at_once() -> None:
    wrong = replace(WANTED, event_type="job_lost", email_address="anna", job_types=("", "x" * 201))
    found = faults(wrong, None)
    assert set(found) == {"user_id", "event_type", "email_address", "job_types"}
    assert len(found["job_types"]) == 2


@pytest.mark.parametrize(
    "line",
    [
        {
            "customer_id": 1,
            "user_id": 7,
            "event_type": "job_failed",
            "enabled": False,
            "job_types": ["a", "b"],
        },
        {"customer": " 1 ", "user": "7", "event_type": "job_failed", "enabled": "No", "job_types": "a; b;"},
    ],
    ids=["JSON", "CSV"],
)
def test_a_line_of_json_or_csv_is_read(line: dict[str, object]) -> None:
    assert from_fields(line) == replace(WANTED, enabled=False, job_types=("a", "b"))


@pytest.mark.parametrize(
    "empty", [{}, {"enabled": "", "job_types": ""}, {"enabled": None, "job_types": None}]
)
def test_what_a_line_leaves_out_gets_its_default(empty: dict[str, object]) -> None:
    line = {"customer_id": 1, "user_id": 7, "event_type": "job_failed", **empty}
    assert from_fields(line) == WANTED


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("colour", "red", "unknown field"),
        ("customer_id", None, "whole number"),
        ("customer_id", 0, "whole number"),
        ("customer_id", MAX_ID + 1, "whole number"),
        ("customer_id", "9" * 5000, "whole number"),
        ("user_id", True, "whole number"),
        ("user_id", "²", "whole number"),
        ("event_type", 3, "choose one of"),
        ("event_type", "", "choose one of"),
        ("email_address", 5, "a text or null"),
        ("enabled", "maybe", "true or false"),
        ("job_types", [1], "a list of texts"),
        ("job_types", {"a": 1}, "a list of texts"),
    ],
)
def test_a_value_of_a_line_that_cannot_be_read_is_named(field: str, value: object, words: str) -> None:
    line: dict[str, object] = {"customer_id": 1, "user_id": 7, "event_type": "job_failed"}
    with pytest.raises(InvalidInput) as refused:
        from_fields(line | {field: value})
    assert list(refused.value.problems) == [field]
    assert words in refused.value.problems[field][0]


def test_all_faults_of_a_line_are_told_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        from_fields({"enabled": "maybe", "job_types": 1, "email_address": 1, "colour": "red"})
    assert set(refused.value.problems) == {
        *("customer_id", "user_id", "event_type", "email_address", "enabled", "job_types", "colour")
    }
