"""Foreign text made fit for a mail body: no escape sequences, no controls, nothing invisible, not too much."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import lru_cache

from notifier.domain.escapes import without_escapes

_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
# What reorders or hides text is shown as its code instead. Zero-width joiners stay: scripts and emoji need them.
_INVISIBLE = re.compile(
    r"[\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
)
# Mails are pasted and forwarded into systems that run templates of their own; ours are done by then.
_DELIMITERS = re.compile(r"\{(?=[{%#])|(?<=[%#])(?=\})|\}(?=\})")
_SHORT = 80  # characters of a text worth remembering
_SCAN_LIMIT = 20_000  # characters looked at before cutting; far above every limit of a mail


def clean(text: str) -> str:
    """Return text without ANSI escapes and controls, line ends as LF (B26, B38).

    Invisible characters are shown as their code, template delimiters are pulled apart.
    """
    bounded = text[:_SCAN_LIMIT]
    if "{" in bounded or "}" in bounded:
        bounded = _DELIMITERS.sub(r"\g<0> ", bounded)
    if bounded.isascii() and bounded.replace("\n", "").isprintable():  # nearly all texts
        return bounded.removesuffix("\n")
    # NUL is stored as U+FFFD, which cannot be stored otherwise (B20); people read it as a broken mail.
    plain = _CONTROLS.sub("", without_escapes(bounded).replace("\t", "    ").replace("\ufffd", "?"))
    lines = "\n".join(plain.splitlines())
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", lines)


def one_line(value: object, limit: int = 200) -> str:
    """Return a scalar as one cleaned line of at most `limit` characters; "" for None and blank text."""
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return _known_line(text, limit) if len(text) <= _SHORT else _line(text, limit)


def _line(text: str, limit: int) -> str:
    return cut(" ".join(clean(text).split()), limit)


_known_line = lru_cache(maxsize=4096)(_line)  # names of devices, people and customers come again and again


def lines(text: str, *, max_lines: int, max_characters: int) -> tuple[list[str], bool]:
    """Return the first cleaned lines within both limits, and whether something was cut."""
    rows = [row.rstrip() for row in clean(text).strip("\n").split("\n")]
    kept: list[str] = []
    room = max_characters
    for row in rows[:max_lines]:
        if len(row) > room:
            kept += [cut(row, room)] if room > 1 else []
            return kept, True
        kept.append(row)
        room -= len(row) + 1
    return kept, len(rows) > max_lines or len(text) > _SCAN_LIMIT


def cut(text: str, limit: int) -> str:
    """Return at most `limit` characters; what was cut ends in an ellipsis and never inside a cluster."""
    if len(text) <= limit:
        return text
    end = limit - 1
    while end > 0 and (unicodedata.combining(text[end]) or text[end] in "\u200d\ufe0f"):
        end -= 1
    return text[:end].rstrip() + "…"


def words(name: str) -> str:
    """Return a machine's name as words: `config_backup` -> `Config backup`."""
    text = one_line(name.replace("_", " ").replace("-", " ") if name.isascii() else name, 120)
    return text[:1].upper() + text[1:]


def readable(value: object, limit: int = 200) -> str:
    """Return any JSON value as one line: scalars as they are, lists of them with commas, the rest as JSON."""
    if isinstance(value, list) and not any(isinstance(entry, dict | list) for entry in value):
        return cut(", ".join(one_line(entry, limit) for entry in value), limit)
    if isinstance(value, dict | list):
        return cut(one_line(json.dumps(value, ensure_ascii=False), limit), limit)
    return one_line(value, limit)
