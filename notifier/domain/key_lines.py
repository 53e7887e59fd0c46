"""Private keys of which the log kept the end only, or that come line by line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from notifier.domain.secret_grammar import AFTER_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifier.domain.decoding import Json

BEGIN: Final = "-----BEGIN "
END: Final = "-----END "
_BASE64: Final = r"[A-Za-z0-9+/]++={0,2}"
_LINE: Final = re.compile(rf"{AFTER_PREFIX}{_BASE64}[ \t]*+", re.IGNORECASE)
# Lines that became one: blanks between them, or line ends as a program writes them.
_GAP: Final = re.compile(r"((?:[ \t]|\\[rn])+)")
_LONG: Final = re.compile(r"[A-Za-z0-9+/]{16,}+={0,2}")
_SHORT: Final = re.compile(_BASE64)


def hide_key_tails(text: str, mask: str) -> str:
    """Hide what stands before the end of a PEM block whose beginning is not there."""
    *before, rest = text.split(END)
    return END.join([*(part if BEGIN in part else _without_key(part, mask) for part in before), rest])


def hide_key_lines(lines: Sequence[Json], mask: str) -> list[Json]:
    """Hide the lines of a key in a list that has each as a text of its own."""
    shown = list(lines)
    inside = False
    for at, line in enumerate(lines):
        if not isinstance(line, str):
            inside = False
        elif END in line:
            if not inside and BEGIN not in line:
                _hide_before(shown, at, mask)
            inside = False
        elif BEGIN in line:
            inside = True
        elif inside and line:
            inside = _is_key_line(line)
            if inside:
                shown[at] = mask
    return shown


def _hide_before(shown: list[Json], at: int, mask: str) -> None:
    while at and _is_key_line(shown[at - 1]):
        at -= 1
        shown[at] = mask


def _is_key_line(line: Json) -> bool:
    return isinstance(line, str) and _LINE.fullmatch(line.strip()) is not None


def _without_key(text: str, mask: str) -> str:
    """`text` without the lines of base64 it ends with."""
    lines = text.splitlines(keepends=True)
    before_end = "" if text.endswith(("\n", "\r")) or not lines else lines.pop()
    kept = len(lines)
    while kept and _LINE.fullmatch(lines[kept - 1].rstrip("\r\n")):
        kept -= 1
    if kept < len(lines):
        lines[kept:] = [mask + "\n"]
    return "".join(lines) + _without_key_words(before_end, mask)


def _without_key_words(line: str, mask: str) -> str:
    """`line` without the words of base64 it ends with: the last may be short where one before it is long."""
    parts = _GAP.split(line)  # words at even places, gaps at odd ones
    last = len(parts) - 1 if parts[-1] else len(parts) - 3
    first = last
    while first >= 2 and _LONG.fullmatch(parts[first - 2]):  # noqa: PLR2004 - the word before
        first -= 2
    if last < 0 or not (_LONG if first == last else _SHORT).fullmatch(parts[last]):
        return line
    return "".join([*parts[:first], mask, *parts[last + 1 :]])
