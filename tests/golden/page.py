"""An HTML mail as a reader sees it: visible text, links, and the colours every text ends up with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import lxml.html

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_DARK_CANVAS, _CANVAS = "#121212", "#ffffff"


@dataclass(frozen=True, slots=True)
class Coloured:
    """A piece of text with its colour, the colour behind it and its size in pixels."""

    text: str
    colour: str
    behind: str
    size: float


class Page:
    """One parsed HTML mail."""

    def __init__(self, html: str) -> None:
        self.html = html
        self.tree: lxml.html.HtmlElement = lxml.html.document_fromstring(html)

    def find(self, path: str) -> list[lxml.html.HtmlElement]:
        """The elements an XPath names."""
        return cast("list[lxml.html.HtmlElement]", self.tree.xpath(path))

    @property
    def links(self) -> list[tuple[str, str]]:
        """Target and text of every link, in order."""
        return [(a.get("href") or "", " ".join(a.text_content().split())) for a in self.tree.iter("a")]

    @property
    def visible(self) -> str:
        """The text people see, blanks collapsed."""
        return " ".join(" ".join(piece.text for piece in self.texts(dark=False)).split())

    @property
    def preheader(self) -> str:
        """The hidden first text."""
        found = self.find("//*[@class='preheader']")
        return " ".join(found[0].text_content().split()) if found else ""

    def texts(self, *, dark: bool) -> Iterator[Coloured]:
        """Every visible text with its colours, by its inline styles and, when dark, the dark rules."""
        rules = dark_rules(self.html) if dark else {}
        start = _DARK_CANVAS if dark else _CANVAS
        yield from _walk(self.tree.body, rules, "#000000", start, 16.0)


def dark_rules(html: str) -> Mapping[str, dict[str, str]]:
    """The declarations of the dark rules by class; each must be `!important` to beat an inline style."""
    block = html.partition("@media (prefers-color-scheme: dark) {")[2].partition("\n}\n")[0]
    found: dict[str, dict[str, str]] = {}
    for selectors, body in _RULE.findall(block):
        for selector in selectors.split(","):
            found.setdefault(selector.strip().lstrip("."), {}).update(style_of(body))
    return found


def style_of(style: str) -> dict[str, str]:
    """The declarations of a style attribute."""
    pairs = (part.partition(":") for part in style.split(";") if ":" in part)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _walk(
    element: lxml.html.HtmlElement, rules: Mapping[str, dict[str, str]], colour: str, behind: str, size: float
) -> Iterator[Coloured]:
    if not isinstance(element.tag, str) or element.tag in ("style", "title", "script"):
        return
    own = style_of(element.get("style") or "")
    if own.get("display") == "none":
        return
    for name in (element.get("class") or "").split():
        own |= {key: value.replace("!important", "").strip() for key, value in rules.get(name, {}).items()}
    colour, behind = own.get("color", colour), own.get("background-color", behind)
    size = float(own.get("font-size", f"{size}px").removesuffix("px"))
    if element.text and element.text.strip():
        yield Coloured(element.text.strip(), colour, behind, size)
    for child in element:
        yield from _walk(child, rules, colour, behind, size)
        if child.tail and child.tail.strip():
            yield Coloured(child.tail.strip(), colour, behind, size)
