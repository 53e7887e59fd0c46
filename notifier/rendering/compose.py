"""Template sources become one flat text with inlined CSS, once per template (docs/why.md, Mails).

Layout and body are joined as text at their `{% include "…" %}` lines, because premailer must see the whole page
and cannot read Jinja. Jinja's tags are swapped for words or comments while it works, and swapped back after.
"""

from __future__ import annotations

import logging
import re
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

MAX_SOURCE = 128 * 1024  # characters of one joined template; the built-in ones have about 8,000
_INCLUDE = re.compile(
    r"""(^[ \t]*)?\{%-?\s*include\s+["']([a-z_]+(?:/[a-z_]+)?\.(?:html|txt|css))["']\s*-?%\}(?(1)[ \t]*\n?)""",
    re.MULTILINE,
)
_OTHER_INCLUDE = re.compile(r"\{%-?\s*(?:include|extends|import|from|block)\b[^%]{0,80}")
_STYLES = re.compile(r"<style\b[^>]*>(.*?)(?:</style|\Z)", re.DOTALL | re.IGNORECASE)
_CSS_IMPORT = re.compile(r"@(?:import|\\)", re.IGNORECASE)
_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_SWAPPED = re.compile(r"<!--jj(\d+)jj-->|jj(\d+)jj")
_STYLE = re.compile(r"""( style=(?:"|'))((?:(?<=")[^"]*(?="))|(?:(?<=')[^']*(?=')))["']""")
_BLANKS = re.compile(r"([:;,])\s+")
_MAX_DEPTH = 5


class Sources:
    """Template files of one event type: the customer's folder before the built-in one, and nothing outside."""

    def __init__(self, mail_type: str, folders: Sequence[Path]) -> None:
        self._mail_type = mail_type
        self._folders = folders

    def read(self, name: str) -> str:
        """Return a file's text: `body.html` is the event type's, every other name is a path in the folders.

        Raises ConfigurationError naming a file that is missing, too long, outside the folders or not UTF-8.
        """
        path = name if "/" in name or name.endswith(".css") else f"{self._mail_type}/{name}"
        for folder in self._folders:
            candidate = folder / path
            if not candidate.is_file():
                continue
            if not candidate.resolve().is_relative_to(folder.resolve()):
                raise ConfigurationError([f"template {candidate} points outside its folder"])
            if candidate.stat().st_size > MAX_SOURCE:
                raise ConfigurationError([f"template {candidate} is larger than {MAX_SOURCE} bytes"])
            try:
                return candidate.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as exc:
                raise ConfigurationError([f"template {candidate} cannot be read: {exc}"]) from exc
        raise ConfigurationError([f"template {path} is missing in {self._folders[-1]}"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Pages:
    """The joined templates of one mail, still with Jinja's tags."""

    html: str
    text: str


def pages(sources: Sources, theme: Mapping[str, str]) -> Pages:
    """Return the layout joined with the bodies of a mail, CSS not yet inlined. Raises ConfigurationError as `join`."""
    return Pages(
        html=join("layout/page.html", sources, theme),
        text=join("layout/page.txt", sources, theme),
    )


def join(name: str, sources: Sources, theme: Mapping[str, str]) -> str:
    """Return a template with its includes replaced by their text, and the theme's values in its CSS.

    Raises ConfigurationError naming the template and what is wrong with it.
    """
    joined = _expand(name, sources, theme, 0)
    if len(joined) > MAX_SOURCE:
        raise ConfigurationError(
            [f"template {name} has {len(joined)} characters; at most {MAX_SOURCE} are allowed"]
        )
    return joined


def _expand(name: str, sources: Sources, theme: Mapping[str, str], depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise ConfigurationError([f"template {name} is included inside itself"])
    source = sources.read(name)
    if name.endswith(".css"):
        try:
            return string.Template(source).substitute(theme)
        except (KeyError, ValueError) as exc:
            raise ConfigurationError(
                [f"template {name} uses a colour or font that is not there: {exc}"]
            ) from exc
    expanded = _INCLUDE.sub(lambda match: _expand(match[2], sources, theme, depth + 1), source)
    if other := _OTHER_INCLUDE.search(expanded):
        raise ConfigurationError(
            [f'template {name}: {other[0].strip()} … cannot be used; write {{% include "layout/….html" %}}']
        )
    return expanded


def inlined(joined: Pages) -> Pages:
    """Return pages with the CSS of their HTML inlined. Raises ConfigurationError as `inline`."""
    return Pages(html=inline(joined.html), text=joined.text)


def all_inlined(joined: Iterable[Pages]) -> list[Pages]:
    """Return many pages inlined. Raises ConfigurationError as `inline`."""
    return [inlined(one) for one in joined]


def inline(source: str) -> str:
    """Return an HTML template with its CSS in style attributes; `<style data-premailer="ignore">` stays.

    Raises ConfigurationError for `@import`: cssutils would fetch what it names, from wherever that is.
    """
    if any(_CSS_IMPORT.search(block) for block in _STYLES.findall(source)):
        raise ConfigurationError(
            ["template layout/page.html: its styles use @import, which mail programs do not follow"]
        )
    from premailer import Premailer  # noqa: PLC0415 - a worker, which inlines elsewhere, need not hold it

    tags: list[str] = []

    def swap(match: re.Match[str]) -> str:
        tags.append(match[0])
        word = f"jj{len(tags) - 1}jj"
        before = source[: match.start()]
        in_comment = before.rfind("<!--") > before.rfind("-->")
        in_tag = before.rfind("<") > before.rfind(">")
        # Between elements a bare word would be moved out of its table; a comment stays where it is.
        return word if in_comment or in_tag or match[0].startswith("{{") else f"<!--{word}-->"

    swapped = _TAG.sub(swap, source)
    page = Premailer(
        swapped,
        base_url=None,
        allow_network=False,
        disable_validation=True,
        cssutils_logging_level=logging.CRITICAL,
        disable_link_rewrites=True,
        remove_classes=False,
    ).transform(pretty_print=False)
    page = _STYLE.sub(lambda match: match[1] + _BLANKS.sub(r"\1", match[2]) + match[1][-1], page)
    restored = _SWAPPED.sub(lambda match: tags[int(match[1] or match[2])], page)
    return "\n".join(line.strip() for line in restored.splitlines() if line.strip()) + "\n"
