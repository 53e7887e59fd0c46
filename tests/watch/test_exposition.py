"""The page of metrics obeys Prometheus' conventions; an acceptance test asks the same of a worker at work."""

from __future__ import annotations

from notifier.metrics import Metrics
from tests.support import promtool


def test_promtool_is_content_with_names_units_and_help() -> None:
    metrics = Metrics(version="1")
    metrics.certificate_seen(1, 1_800_000_000.0)
    assert promtool.problems("check", "metrics", text=metrics.exposition()[0].decode()) == ""


def test_promtool_would_not_be_content_with_a_bad_unit() -> None:
    page = "# HELP notifier_wait_ms How long.\n# TYPE notifier_wait_ms gauge\nnotifier_wait_ms 1\n"
    assert "abbreviated units" in promtool.problems("check", "metrics", text=page)
