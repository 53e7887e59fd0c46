"""A customer's `brand.toml`: name, contact, subject, colours. Data only, checked before it is used."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from notifier.domain.errors import ConfigurationError
from notifier.domain.headers import clean_header
from notifier.rendering import subjects
from notifier.rendering.themes import THEMES, contrast

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE = "brand.toml"
_MAX_BYTES = 16 * 1024
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_TEXT_CONTRAST = 4.5  # WCAG 2.1, 1.4.3: text
_SHAPE_CONTRAST = 3.0  # WCAG 2.1, 1.4.11: bars and borders
_CARD, _DARK_CARD = "#ffffff", "#161b22"
_TEXTS = {"name": 64, "contact": 120, "subject": 200}
_ADDRESS_SIGNS = re.compile(r'[@<>"\\]')  # a sender's name that looks like an address is what phishing does


@dataclass(frozen=True, kw_only=True, slots=True)
class Brand:
    """How a customer's mails differ from the built-in ones; the default differs in nothing.

    `name` stands in place of the product's name, `contact` of the mail server's contact, `subject` is a pattern
    with placeholders, `colours` gives each state its bar and button, and `link` its own.
    """

    name: str | None = None
    contact: str | None = None
    subject: str | None = None
    colours: Mapping[str, str] = field(default_factory=dict)

    def theme(self, colour: str) -> dict[str, str]:
        """Return what replaces parts of the theme of a state."""
        own = {"accent": self.colours.get(colour), "link": self.colours.get("link")}
        return {name: value for name, value in own.items() if value}


PLAIN = Brand()


def read(path: Path) -> Brand:
    """Return a customer's brand. Raises ConfigurationError with every fault of the file."""
    try:
        if not path.resolve().is_relative_to(path.parent.resolve()):
            raise ConfigurationError([f"{path} points outside its folder"])
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigurationError([f"{path}: larger than {_MAX_BYTES} bytes"])
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigurationError([f"{path}: {exc}"]) from exc
    except RecursionError as exc:
        raise ConfigurationError([f"{path}: brackets are nested too deeply"]) from exc
    colours = given.pop("colours", {})
    problems = [*_text_faults(given), *_colour_faults(colours)]
    if problems:
        raise ConfigurationError([f"{path}: {problem}" for problem in problems])
    return Brand(
        name=given.get("name"), contact=given.get("contact"), subject=given.get("subject"), colours=colours
    )


def _text_faults(given: Mapping[str, object]) -> list[str]:
    problems = []
    for key, value in given.items():
        limit = _TEXTS.get(key)
        if limit is None:
            problems.append(f"{key} is not known; the keys are {', '.join(_TEXTS)} and the table colours")
        elif not isinstance(value, str) or not value.strip():
            problems.append(f"{key} must be a text")
        elif len(value) > limit or clean_header(value) != value:
            problems.append(f"{key} must be one printable line of at most {limit} characters")
        elif key == "name" and _ADDRESS_SIGNS.search(value):
            problems.append('name must not look like an address: it may not have @ < > " or \\')
        elif key == "subject" and (unknown := subjects.unknown_placeholders(value)):
            problems.append(
                f"subject has the placeholders {', '.join(unknown)}; "
                f"it may use {', '.join(sorted(subjects.PLACEHOLDERS))}"
            )
    return problems


def _colour_faults(colours: object) -> list[str]:
    if not isinstance(colours, dict):
        return ["colours must be a table"]
    problems = []
    for key, value in colours.items():
        if key not in THEMES and key != "link":
            problems.append(f"colours.{key} is not known; the colours are {', '.join(THEMES)} and link")
        elif not isinstance(value, str) or not _COLOUR.fullmatch(value):
            problems.append(f"colours.{key} must be a colour such as #1a7f37")
        else:
            problems += _contrast_faults(key, value)
    return problems


def _contrast_faults(key: str, value: str) -> list[str]:
    on_white = contrast(value, _CARD)
    problems = []
    if on_white < _TEXT_CONTRAST:
        problems.append(
            f"colours.{key} {value} has a contrast of {on_white:.1f} with white; text needs {_TEXT_CONTRAST}"
        )
    on_dark = contrast(value, _DARK_CARD)
    if key != "link" and on_dark < _SHAPE_CONTRAST:
        problems.append(
            f"colours.{key} {value} has a contrast of {on_dark:.1f} with the dark view; bars need {_SHAPE_CONTRAST}"
        )
    return problems
