"""What every story needs: the language, the reader's zone, the customer, and small readers of the event's JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier.domain.event_texts import read_time
from notifier.rendering.cleaning import lines, one_line, readable, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from notifier.rendering.language import Language
    from notifier.rendering.site import Customer, Site

Row = tuple[str, str]
Link = tuple[str, str]

NAME_LIMIT = 120
VALUE_LIMIT = 300
LIST_LIMIT = 10
_PREHEADER = (35, 110)  # characters: the least that fills a line of an inbox, the most it shows


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """For whom and in which words a story is told."""

    language: Language
    zone: ZoneInfo
    site: Site
    customer: Customer
    product: str

    def gettext(self, message: str, **values: object) -> str:
        """Return the sentence in the reader's language."""
        return self.language.gettext(message, **values)

    def pgettext(self, context: str, message: str) -> str:
        """Return the sentence in the reader's language, as it is said of this thing."""
        return self.language.pgettext(context, message)

    def ngettext(self, singular: str, plural: str, n: int, **values: object) -> str:
        """Return the sentence for `n` things in the reader's language."""
        return self.language.ngettext(singular, plural, n, **values)

    def moment(self, value: object) -> str:
        """Return a time of the event in the reader's zone, "" when there is none."""
        at = when(value)
        return self.language.moment(at, self.zone) if at else ""

    def link(self, name: str, **ids: int | str | None) -> str | None:
        """Return the address of a page of this customer, None when it is not configured."""
        return self.site.link(name, customer_id=self.customer.id, **ids)

    def whose(self) -> list[Row]:
        """Return the customer, and the environment where it is not the usual one."""
        environment = self.site.environment
        return said(
            (self.gettext("Customer"), one_line(self.customer.name, 120)),
            (self.gettext("Environment"), "" if environment == "production" else one_line(environment)),
        )

    def preheader(self, sentences: Iterable[str]) -> str:
        """Return as many whole sentences as an inbox shows, and enough to fill its line."""
        shortest, longest = _PREHEADER
        text = ""
        filler = self.gettext("All that is known about it is in %(product)s.", product=self.product)
        for sentence in (*sentences, filler):
            if not sentence or (sentence is filler and len(text) >= shortest):
                continue
            longer = f"{text} {sentence}" if text else sentence
            if len(longer) > longest:
                return text or one_line(longer, longest)
            text = longer
        return text


def mark(message: str) -> str:
    """Mark a message for extraction; it is translated where it is shown."""
    return message


def part(parent: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return an object inside the event, an empty one when it is missing."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def parts(parent: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    """Return a list of objects inside the event, an empty one when it is missing."""
    value = parent.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def text(parent: Mapping[str, object], key: str, limit: int = NAME_LIMIT) -> str:
    """Return one cleaned line of the event, "" when it is missing or blank."""
    return one_line(parent.get(key), limit)


def count(parent: Mapping[str, object], key: str) -> int | None:
    """Return an integer of the event."""
    value = parent.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def when(value: object) -> datetime | None:
    """Return a time of the event."""
    try:
        return read_time(value)
    except ValueError:
        return None


def sentence(words_of_it: str) -> str:
    """Return the text with a full stop, unless it has one or says nothing."""
    return words_of_it if not words_of_it or words_of_it.endswith((".", "?", "!", "…")) else f"{words_of_it}."


def said(*rows: Row) -> list[Row]:
    """Return the rows that say something."""
    return [row for row in rows if row[1]]


def reading(t: Telling, value: object, *, url: str | None) -> dict[str, object] | None:
    """Return any JSON value for people: an object as at most ten rows, anything else as lines.

    And how many rows more it has, which the page at `url` shows. None when there is nothing to read.
    """
    rows = _rows(value) if isinstance(value, dict) else []
    shown = [] if isinstance(value, dict) else lines_of(value)
    if not rows and not shown:
        return None
    more = len(rows) - LIST_LIMIT
    return {
        "rows": rows[:LIST_LIMIT],
        "lines": shown,
        "more": t.ngettext("and %(n)s more entry", "and %(n)s more entries", more) if more > 0 else "",
        "all": url,
    }


def _rows(value: Mapping[str, object]) -> list[Row]:
    known = [(words(str(key)), _entry(entry)) for key, entry in value.items()]
    return [(label, shown) for label, shown in known if label and shown]


def _entry(entry: object) -> str:
    """Return a value as one line, nested ones as compact JSON; a text that has lines keeps them."""
    if isinstance(entry, str) and "\n" in entry.strip():
        return "\n".join(lines_of(entry))
    return readable(entry, VALUE_LIMIT)


def lines_of(value: object, *, max_lines: int = LIST_LIMIT, max_characters: int = 600) -> list[str]:
    """Return any JSON value as a few lines; text keeps its line breaks."""
    if isinstance(value, list) and all(not isinstance(entry, dict | list) for entry in value):
        value = "\n".join(one_line(entry, VALUE_LIMIT) for entry in value[: max_lines + 1])
    if value is None or value == "":
        return []
    raw = value if isinstance(value, str) else readable(value, max_characters)
    kept, was_cut = lines(raw, max_lines=max_lines, max_characters=max_characters)
    if was_cut and kept and not kept[-1].endswith("…"):
        kept.append("…")
    return kept if any(kept) else []
