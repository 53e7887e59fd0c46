"""One source of settings as a `Layer`: typed values by key, where each came from, the faults on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from notifier.config.model import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

KeyPath = tuple[str, ...]
PREFIX = "NOTIFIER_"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One source: `values` by key path, `places` for people ("config.toml:9"), `faults` as sentences."""

    values: dict[KeyPath, object] = field(default_factory=dict, repr=False)
    places: dict[KeyPath, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def put(self, path: KeyPath, value: object, place: str) -> None:
        """Take one value."""
        self.values[path] = value
        self.places[path] = place


@cache
def defaults() -> Mapping[KeyPath, object]:
    """Return every key with its default, by path."""
    settings = Settings()
    found: dict[KeyPath, object] = {
        (section, key): getattr(getattr(settings, section), key)
        for section in Settings.model_fields
        for key in type(getattr(settings, section)).model_fields
    }
    return MappingProxyType(found)


def unknown(name: str, known: Mapping[str, object], kind: str) -> str:
    """Say that `name` is not known, with the nearest known name or all of a short list."""
    # Without the prefix, which makes every variable look like every other.
    by_rest = {one.removeprefix(PREFIX): one for one in known}
    near = get_close_matches(name.removeprefix(PREFIX), by_rest, n=1)
    if near:
        return f"unknown {kind}; did you mean {by_rest[near[0]]}?"
    if kind in ("section", "key"):
        return f"unknown {kind}; there are {', '.join(known)}"
    return f"unknown {kind}; the names are {PREFIX}<SECTION>__<KEY>, as in {PREFIX}SMTP__HOST"
