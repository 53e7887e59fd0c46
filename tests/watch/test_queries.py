"""Every metric and label that an alert or the dashboard asks for is one that the worker exposes."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

import pytest

from notifier.metrics import Metrics
from tests.support import promtool
from tests.watch.files import Query, queries

if TYPE_CHECKING:
    from pathlib import Path

QUERIES = list(queries())
_SELECTOR = re.compile(r"\b((?:notifier|process)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
OF_THE_SCRAPE = {"job", "instance"}


@cache
def exposed() -> dict[str, dict[str, set[str]]]:
    """The labels of each series name, with every value; a certificate's server may be any number."""
    metrics = Metrics(version="1")
    metrics.certificate_seen(1, 0.0)
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for family in metrics.registry.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                found[sample.name][label].add(value)
            found[sample.name].update({})
        if family.type == "histogram":  # one without a label value yet has no samples
            for suffix in ("_bucket", "_sum", "_count"):
                assert f"{family.name}{suffix}" in found
    return found


def ids(query: Query) -> str:
    return query.place


@pytest.mark.parametrize("query", QUERIES, ids=ids)
def test_every_series_exists_with_the_labels_and_values_asked_for(query: Query) -> None:
    selectors = _SELECTOR.findall(query.text)
    assert selectors, query.text
    labels: set[str] = set(OF_THE_SCRAPE)
    for name, matchers in selectors:
        assert name in exposed(), f"the worker has no {name}"
        labels |= set(exposed()[name])
        for label, operator, value in _MATCHER.findall(matchers):
            if label in OF_THE_SCRAPE:
                continue
            assert label in exposed()[name], f"{name} has no label {label}"
            assert operator in ("=", "!="), "closed lists need no pattern"
            assert value in exposed()[name][label], f'{name} is never {label}="{value}"'
    named = {
        label.strip()
        for group in _GROUPING.findall(query.text)
        for label in group.split(",")
        if label.strip()
    }
    assert named <= labels


def test_every_series_of_ours_is_looked_at_by_somebody() -> None:
    asked = {name for query in QUERIES for name, _ in _SELECTOR.findall(query.text)}
    families = {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed() if name.startswith("notifier_")
    }
    assert {name for name in families if not any(one.startswith(name) for one in asked)} == set()


def test_every_query_is_valid(tmp_path: Path) -> None:
    """What promtool reads are rules, so each query becomes one."""
    lines = ["groups:", "- name: queries", "  rules:"]
    for number, query in enumerate(QUERIES):
        lines += [
            f"  - record: query:{number}",
            "    expr: |-",
            *(f"      {row}" for row in query.text.splitlines()),
        ]
    (tmp_path / "queries.yml").write_text("\n".join(lines))
    complaint = promtool.problems(
        "check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "queries.yml")
    )
    assert complaint == ""
