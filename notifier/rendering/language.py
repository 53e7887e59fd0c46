"""The languages mails are written in: sentences by gettext catalogues, dates and numbers by Babel."""

from __future__ import annotations

import gettext
import io
from datetime import UTC, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import localedata
from babel.core import Locale, get_global
from babel.dates import format_date, get_timezone_name
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from babel.numbers import format_decimal

from notifier.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date, datetime
    from pathlib import Path

ENGLISH = "en"
_FORMATS = {"en": "en_GB"}  # day, month, year; 24 hours
# Babel guesses no locale, once the languages are loaded, and nobody asks it about countries.
_NOT_ASKED: Final = ("likely_subtags", "territory_languages", "territory_currencies")
# Of what Babel knows, no mail names a currency, a unit of measure, a language or "three days ago".
_UNSAID = (
    "compact_currency_formats",
    "compact_decimal_formats",
    "compound_unit_patterns",
    "currency_names",
    "currency_names_plural",
    "currency_symbols",
    "date_fields",
    "interval_formats",
    "languages",
    "scripts",
    "unit_display_names",
    "unit_patterns",
)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


class Language:
    """One language: its sentences and how it writes dates and numbers. Immutable after construction."""

    def __init__(self, code: str, catalogue: gettext.NullTranslations) -> None:
        self.code = code
        self.direction = Locale.parse(code).text_direction
        self._formats = Locale.parse(_FORMATS.get(code, code))
        self._catalogue = catalogue
        self._zone_names: dict[tuple[str, str], str] = {}

    def gettext(self, message: str, **values: object) -> str:
        """Return the sentence in this language, `%(name)s` filled in."""
        return self._catalogue.gettext(message) % values

    def pgettext(self, context: str, message: str) -> str:
        """Return the sentence in this language, as it is said in this context."""
        return self._catalogue.pgettext(context, message)

    def ngettext(self, singular: str, plural: str, n: int, **values: object) -> str:
        """Return the sentence for `n` things; `%(n)s` is the number, written as this language does."""
        return self._catalogue.ngettext(singular, plural, n) % {"n": self.number(n), **values}

    def number(self, n: int) -> str:
        """Return a count with this language's grouping: `12,000`."""
        return str(n) if 0 <= n < 1000 else str(format_decimal(n, locale=self._formats))  # noqa: PLR2004 - no grouping below

    def size(self, octets: int) -> str:
        """Return a size in binary units: `1.5 MiB`."""
        value, unit = float(octets), 0
        while value >= _STEP and unit < len(_UNITS) - 1:
            value, unit = value / _STEP, unit + 1
        number = format_decimal(value, "#,##0.0" if unit else "0", locale=self._formats)
        return f"{number} {_UNITS[unit]}"

    def moment(self, at: datetime, zone: ZoneInfo) -> str:
        """Return a time in the reader's zone: `4 March 2025, 03:00 CET (UTC+01:00)`."""
        try:
            local = at.astimezone(zone)
        except OverflowError:  # the last hours of year 9999 and the first of year 1 exist in UTC only (B54)
            local = at.astimezone(UTC)
        day = _date(local.date(), self._formats)
        where = _spelled(self._zone_name(local, zone), local.utcoffset())
        return f"{day}, {local.hour:02}:{local.minute:02} {where}"

    def _zone_name(self, local: datetime, zone: ZoneInfo) -> str:
        """Return the zone's short name in this language where it has one of its own: MEZ, and IST as anywhere."""
        name = local.tzname() or ""
        if self.code == ENGLISH or not name.isalpha():
            return name
        key = (zone.key, name)
        known = self._zone_names.get(key)
        if known is None:
            own = get_timezone_name(local, "short", locale=self._formats)
            known = self._zone_names[key] = own if own.isalpha() else name
        return known


@lru_cache(maxsize=512)
def _spelled(name: str, offset: timedelta | None) -> str:
    """Return a zone's short name where it has one, and its offset: `CET (UTC+01:00)`."""
    if name == "UTC":
        return "UTC"
    minutes = (offset or timedelta()) // timedelta(minutes=1)
    hours, minute = divmod(abs(minutes), 60)
    spelled = f"UTC{'-' if minutes < 0 else '+'}{hours:02}:{minute:02}"
    return f"{name} ({spelled})" if name.isalpha() else spelled


@lru_cache(maxsize=512)
def _date(day: date, formats: Locale) -> str:
    return format_date(day, "long", locale=formats)


@lru_cache(maxsize=512)
def duration(seconds: float) -> str:
    """Return a duration in the two largest units that matter: `6 min 12 s`, `2 h 5 min`, `1 d 3 h`."""
    total = max(0, round(seconds))
    minutes, second = divmod(total, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    parts = [(days, "d"), (hour, "h"), (minute, "min"), (second, "s")]
    first = next((index for index, (amount, _) in enumerate(parts) if amount), len(parts) - 1)
    shown = [f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount]
    return " ".join(shown) or "0 s"


@lru_cache(maxsize=1024)
def zone(*names: str) -> ZoneInfo:
    """Return the first time zone of these that exists, else UTC."""
    for name in names:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return ZoneInfo("UTC")


def load(directory: Path) -> Mapping[str, Language]:
    """Return English and every language with a catalogue `<code>.po` in the directory.

    Raises ConfigurationError naming a catalogue that cannot be read.
    """
    languages = {ENGLISH: Language(ENGLISH, gettext.NullTranslations())}
    for path in sorted(directory.glob("*.po")):
        try:
            with path.open("rb") as source:
                catalogue = read_po(source, locale=path.stem, abort_invalid=True)
        except (OSError, ValueError, PoFileError) as exc:
            raise ConfigurationError([f"the catalogue {path} cannot be read: {exc}"]) from exc
        compiled = io.BytesIO()
        write_mo(compiled, catalogue)
        compiled.seek(0)
        languages[path.stem] = Language(path.stem, gettext.GNUTranslations(compiled))
    return languages


def forget_what_no_mail_says(languages: Iterable[str]) -> None:
    """Free what Babel holds and no mail in these languages says (2.7 MiB), for good: for a process that makes mails."""
    for unasked in _NOT_ASKED:
        cast("dict[str, object]", get_global(unasked)).clear()
    for code in languages:
        for locale in ("root", code, _FORMATS.get(code, code)):
            data = localedata.load(locale)
            for name in _UNSAID:
                data.pop(name, None)


def choose(languages: Mapping[str, Language], *locales: str) -> Language:
    """Return the language of the first locale we have a catalogue for (`de_CH` -> German), else English."""
    for locale in locales:
        code = locale.replace("-", "_").partition("_")[0].lower()
        if code in languages:
            return languages[code]
    return languages[ENGLISH]
