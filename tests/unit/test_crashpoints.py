"""The places where a process can be told to die."""

from __future__ import annotations

import pytest

from notifier.crashpoints import PLACES, Crashpoint
from notifier.domain.errors import ConfigurationError


def deaths(place: str | None) -> list[str]:
    died: list[str] = []
    point = Crashpoint(place, die=lambda: died.append("died"))
    for known in PLACES:
        point.at(known)
    point.on_event("e1")
    return died


@pytest.mark.parametrize("place", [*PLACES, "on_event:e1"])
def test_the_process_dies_at_its_place_and_nowhere_else(place: str) -> None:
    assert deaths(place) == ["died"]


@pytest.mark.parametrize("place", [None, "", "on_event:e2"])
def test_without_a_place_on_the_way_nothing_dies(place: str | None) -> None:
    assert deaths(place) == []


def test_a_place_that_does_not_exist_is_named_with_the_ones_that_do() -> None:
    with pytest.raises(ConfigurationError, match=r"after_lunch.*after_stamp"):
        Crashpoint("after_lunch")
