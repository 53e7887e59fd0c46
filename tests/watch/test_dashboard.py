"""The dashboard: what Grafana would pass over in silence, and what a reader needs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.watch.files import dashboard, panels

COLUMNS = 24
UNITS = {"none", "s", "ops", "bytes", "percentunit"}
VARIABLES = {"datasource", "job"}
PANELS = panels()
TITLES = [panel["title"] for panel in PANELS]


@pytest.mark.parametrize("panel", PANELS, ids=TITLES)
def test_each_panel_says_what_it_shows_in_which_unit_from_which_source(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["type"] in ("stat", "timeseries")
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("panel", PANELS, ids=TITLES)
def test_each_query_is_of_the_chosen_installation_and_has_a_legend(panel: dict[str, Any]) -> None:
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters) > 0
    for target in panel["targets"]:
        assert target["legendFormat"]
        assert target["expr"].count("{") == target["expr"].count('job="$job"')


def test_the_variables_are_those_in_use() -> None:
    assert {variable["name"] for variable in dashboard()["templating"]["list"]} == VARIABLES


def test_no_two_panels_share_a_name_an_id_or_a_place() -> None:
    assert len(set(TITLES)) == len(TITLES)
    every = dashboard()["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= COLUMNS
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
