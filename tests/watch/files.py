"""The files that watch the worker, read once: alerts with their tests, dashboard, runbook."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTS = PROMETHEUS / "alerts.yml"
ALERT_TESTS = PROMETHEUS / "alerts_test.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "notifier.json"
RUNBOOK = ROOT / "docs" / "runbook.md"


def alerts() -> list[dict[str, Any]]:
    """Return every alert."""
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alert_tests() -> list[dict[str, Any]]:
    """Return every case of every test of the alerts."""
    tests = yaml.safe_load(ALERT_TESTS.read_text("utf-8"))["tests"]
    return [case for test in tests for case in test["alert_rule_test"]]


def panels() -> list[dict[str, Any]]:
    """Return every panel of the dashboard, rows left out."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return found


@dataclass(frozen=True, kw_only=True)
class Query:
    """A PromQL expression, and where it stands."""

    place: str
    text: str


def queries() -> Iterator[Query]:
    """Yield the expression of every alert and panel; Grafana's variables have values."""
    for alert in alerts():
        yield Query(place=alert["alert"], text=alert["expr"])
    for panel in panels():
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "5m").replace("$job", "notifier")
            yield Query(place=f"{panel['title']}: {target['refId']}", text=text)


def runbook() -> dict[str, str]:
    """Return the entries of the runbook by the alert's name."""
    _, *parts = re.split(r"^## (Notifier\w+)\n", RUNBOOK.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
