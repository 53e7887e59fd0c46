"""What a worker does to stay small must change nothing but its size."""

from __future__ import annotations

import ctypes
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

import pytest
from babel import localedata
from babel.core import get_global

from notifier import memory, resources
from notifier.rendering import language as languages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from notifier.rendering.language import Language

ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Etc/GMT+5", "UTC")
MOMENTS = [datetime(2026, month, 28, 23, 30, tzinfo=UTC) for month in range(1, 13)]
NUMBERS = (0, 999, 1000, 12_345, 10**9, -5)
LOCALES = ("root", "de", "en", "en_GB")


@pytest.fixture
def known() -> Iterator[Mapping[str, Language]]:
    """All languages; what the process forgets about them it knows again afterwards."""
    loaded = languages.load(resources.path("templates") / "locale")
    held = [localedata.load(locale) for locale in LOCALES]
    held += [cast("dict[str, object]", get_global(name)) for name in languages._NOT_ASKED]
    kept = [(data, dict(data)) for data in held]
    yield loaded
    for data, before in kept:
        data.update(before)


def written(known: Mapping[str, Language]) -> list[str]:
    """Return everything a mail has Babel write."""
    return [
        text
        for language in known.values()
        for text in (
            language.direction,
            *(language.moment(at, ZoneInfo(zone)) for at in MOMENTS for zone in ZONES),
            *map(language.number, NUMBERS),
            *map(language.size, NUMBERS),
        )
    ]


def test_dates_and_numbers_are_written_as_before_after_forgetting(known: Mapping[str, Language]) -> None:
    """Also those that were never written before: Babel keeps what it wrote once."""
    before = written(known)
    languages.forget_what_no_mail_says(known)
    languages._date.cache_clear()  # as in a worker that has just started
    fresh = languages.load(resources.path("templates") / "locale")
    assert written(fresh) == before
    assert "unit_patterns" not in localedata.load("en_GB")


def test_a_c_library_without_glibcs_knobs_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    memory._share_one_heap()
