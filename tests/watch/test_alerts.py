"""The alerts are valid, do what their tests say, and each has its entry in the runbook."""

from __future__ import annotations

import pytest

from tests.support import promtool
from tests.watch import files

NAMES = [alert["alert"] for alert in files.alerts()]


def test_the_rules_are_valid() -> None:
    assert promtool.problems("check", "rules", "--lint=all", "--lint-fatal", str(files.ALERTS)) == ""


def test_the_rules_do_what_their_tests_say() -> None:
    assert promtool.problems("test", "rules", files.ALERT_TESTS.name, folder=files.PROMETHEUS) == ""


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_is_tested_to_fire_and_not_to_fire(name: str) -> None:
    cases = [case["exp_alerts"] for case in files.alert_tests() if case["alertname"] == name]
    assert any(cases), "no test sees it fire"
    assert not all(cases), "no test sees it silent"


@pytest.mark.parametrize("alert", files.alerts(), ids=NAMES)
def test_each_alert_says_what_is_wrong_how_bad_it_is_and_where_help_is(
    alert: dict[str, dict[str, str]],
) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    notes = alert["annotations"]
    assert sorted(notes) == ["description", "runbook", "summary"]
    assert notes["runbook"] == f"docs/runbook.md#{str(alert['alert']).lower()}"


def test_no_alert_is_there_twice() -> None:
    assert len(set(NAMES)) == len(NAMES)
