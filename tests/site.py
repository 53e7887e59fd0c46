"""`python -m tests.site build/site`: judges the built documentation. Exit code 1 when something is wrong.

Every page of docs/ must be there; every link and every picture must lead somewhere, to a heading too; no script, style,
font or picture may come from outside, and each page must forbid the browser to fetch any.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS: Final = Path(__file__).parents[1] / "docs"
POLICY: Final = "Content-Security-Policy"
_LOADED: Final = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "link": "href",
}
_NOT_LOADED: Final = {"prev", "next", "canonical", "alternate"}  # what <link rel> only names
_CSS_URL: Final = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s]+)""")


@dataclass
class Page(HTMLParser):
    """What a page links to, loads, and offers as targets of links."""

    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    policy: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take one element in."""
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if found.get(_LOADED.get(tag, "")) and found.get("rel") not in _NOT_LOADED:
            self.loaded.append(found[_LOADED[tag]])
        if found.get("http-equiv") == POLICY:
            self.policy = found.get("content", "")
        self.loaded += _CSS_URL.findall(found.get("style", ""))


def read(text: str) -> Page:
    """Return what is in a page."""
    page = Page()
    page.feed(text)
    return page


def outside(address: str) -> bool:
    """Whether a browser would go to another host for it."""
    return bool(urlsplit(address).netloc)


def faults(site: Path, docs: Path = DOCS) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong."""
    pages = {file: read(file.read_text("utf-8")) for file in sorted(site.glob("**/*.html"))}
    for source in sorted(docs.glob("*.md")):
        if site / f"{source.stem}.html" not in pages:
            yield f"{source.name} is not in the site: name it in the nav of mkdocs.yml"
    for file, page in pages.items():
        if "default-src 'self'" not in page.policy:
            yield f"{file.name} lets the browser load from anywhere: it has no {POLICY}"
        yield from (f"{file.name} loads {address}" for address in page.loaded if outside(address))
        if file.name != "404.html":  # its links depend on where it is served
            yield from _lost(file, page, pages)
    for sheet in sorted(site.glob("**/*.css")):
        for address in _CSS_URL.findall(sheet.read_text("utf-8")):
            if outside(address):
                yield f"{sheet.name} loads {address}"


def _lost(file: Path, page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    """Yield what the page links to or loads and is not there."""
    for address in (*page.links, *page.loaded):
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
        target = target / "index.html" if target.is_dir() else target
        if not target.exists():
            yield f"{file.name} leads to {address}, which is not there"
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
            yield f"{file.name} leads to {address}, and there is no such heading"


def main(site: Path) -> int:
    """Print what is wrong with the site; returns the exit code."""
    found = list(faults(site.resolve()))
    pages = len(list(site.glob("**/*.html")))
    sys.stdout.write("".join(f"{line}\n" for line in found) + f"{pages} pages, {len(found)} faults\n")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
