"""What templates may do with their values: wrap, align, indent, keep leading blanks, link safely."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

WIDTH = 74  # columns of the text part; 76 to 78 is what mail readers show unwrapped
_LABEL_WIDTH = 18
_LINK = re.compile(r"https?://")
_LONG_NAME = 14  # characters that fit the narrowest column
_DOT = re.compile(r"\.(?=\w)")
_MAIL_ADDRESS = re.compile(r"(?<![^\s@<>&;])[^\s@<>&;]+@[\w.-]+")  # in escaped text
_SHORT = 300  # characters of a sentence worth remembering
_BLANKS = re.compile(r"^ +| {2,}")


def wrap(text: str, first: str = "", rest: str = "") -> str:
    """Return text in lines of at most 74 columns; only an address may be longer, it is never broken."""
    return _known_wrap(text, first, rest) if len(text) <= _SHORT else _wrap(text, first, rest)


def _wrap(text: str, first: str, rest: str) -> str:
    return "\n".join(_wrapped(text, first, rest))


_known_wrap = lru_cache(maxsize=1024)(_wrap)  # the footer's sentences are the same in all mails of a customer


def indent(lines: Iterable[str]) -> str:
    """Return lines indented by two, long ones wrapped."""
    return "\n".join(
        row
        for line in lines
        for row in (_wrapped(line, "  ", "  ", keep_blanks=True) if line.strip() else [""])
    )


def columns(rows: Iterable[tuple[str, str]]) -> str:
    """Return labelled facts as aligned `Label:  value` lines."""
    known = list(rows)
    width = min(_LABEL_WIDTH, max((len(label) + 2 for label, _ in known), default=0))
    return "\n".join(row for label, value in known for row in _labelled(f"{label}: ".ljust(width), value))


def listing(rows: Iterable[Sequence[str]], head: Sequence[str]) -> str:
    """Return a table: in columns if each of its rows fits a line, else as a list of one item per row.

    A column without a head is left out.
    """
    wanted = [place for place, name in enumerate(head) if name]
    table = [[row[place] for place in wanted] for row in (head, *rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(wanted) - 1)]
    lines = [
        "  " + "  ".join((*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1])).rstrip()
        for row in table
    ]
    if all(len(line) <= WIDTH for line in lines) and not any(_is_wide(line) for line in lines):
        return "\n".join(lines)
    legend, *items = (f"{first}: {' - '.join(filter(None, rest))}" for first, *rest in table)
    return "\n".join([wrap(legend), *(wrap(item, "* ", "  ") for item in items)])


def _is_wide(line: str) -> bool:
    """Tell whether a line has characters that do not stand in columns: wide ones, or right to left."""
    return not line.isascii() and any(
        unicodedata.east_asian_width(c) in "WF" or unicodedata.bidirectional(c) in ("R", "AL") for c in line
    )


def _labelled(label: str, value: str) -> list[str]:
    """Return a label and its value; an address too long for the line gets its own, and so does each line of several."""
    if len(label) + len(value) > WIDTH and _LINK.match(value):
        return [label.rstrip(), f"  {value}"]
    if "\n" in value:
        return [*_wrapped(label.rstrip(), "", "  "), indent(value.split("\n"))]
    return _wrapped(value, label, "  ")


def preformatted(lines: Iterable[str]) -> Markup:
    """Return lines as HTML that keeps their breaks, leading and doubled blanks."""
    return Markup("<br>".join(map(_with_its_blanks, lines)))  # noqa: S704 - each was escaped


def _with_its_blanks(line: str) -> str:
    shown = str(escape(line))
    if not shown.startswith(" ") and "  " not in shown:
        return shown
    return _BLANKS.sub(lambda match: "\u00a0" * len(match[0]), shown)


def multiline(value: str) -> Markup:
    """Return a value as HTML; one of several lines keeps them, one of a single line is as by `soft_addresses`."""
    return preformatted(value.split("\n")) if "\n" in value else soft_addresses(value)


def soft_addresses(value: str) -> Markup:
    """Return a value as HTML; long mail addresses in it may break behind `@` and dots rather than anywhere."""
    shown = escape(value)
    return Markup(_MAIL_ADDRESS.sub(_soft_address, shown)) if "@" in value else shown  # noqa: S704 - escaped above


def _soft_address(match: re.Match[str]) -> str:
    return match[0] if len(match[0]) <= _LONG_NAME else _DOT.sub(".<wbr>", match[0].replace("@", "@<wbr>"))


def whole_numbers(text: str) -> str:
    """Return text in which a number stays on the line of the word before it: `Config backup #4812`."""
    return text.replace(" #", "\u00a0#")


def soft(name: str) -> Markup:
    """Return a name as HTML; a long one may break behind its dots rather than anywhere."""
    shown = str(escape(name))
    return Markup(shown if len(name) <= _LONG_NAME else _DOT.sub(".<wbr>", shown))  # noqa: S704 - escaped before


def tidy(text: str) -> str:
    """Return a text part without ragged blanks: no trailing ones, one blank line at most between blocks."""
    rows = [row if row == "-- " else row.rstrip() for row in text.strip("\n").split("\n")]
    kept = [row for index, row in enumerate(rows) if row or (index and rows[index - 1])]
    return "\n".join(kept).strip("\n") + "\n"


def safe_link(is_safe: Callable[[str], bool]) -> Callable[[str], str]:
    """Return the filter `link`: an address our pages may have (B40), or `#` in place of any other."""

    def link(url: str) -> str:
        return url if is_safe(str(url)) else "#"

    return link


def _wrapped(text: str, first: str, rest: str, *, keep_blanks: bool = False) -> list[str]:
    if len(first) + len(text) <= WIDTH and "\n" not in text:
        return [first + text]
    rows = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=not keep_blanks,
    )
    return [part for row in rows for part in _broken(row, rest)]


def _broken(row: str, rest: str) -> list[str]:
    """Break a row that one long word made too wide, unless the word is an address."""
    if len(row) <= WIDTH or _LINK.search(row):
        return [row]
    step = WIDTH - len(rest)
    return [row[:WIDTH], *(rest + row[at : at + step] for at in range(WIDTH, len(row), step))]
