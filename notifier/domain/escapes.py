"""What foreign text carries but does not show: escape sequences of terminals, and characters without width."""

from __future__ import annotations

import re
from typing import Final

# ECMA-48: a control sequence, perhaps cut off; a string with its end; any other escape. The one-character
# forms of 8-bit terminals count as well. A string that never ends loses its beginning only, and none is
# looked for beyond the next one's beginning: that would be quadratic.
_SEQUENCE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])(?:[^\x07\x1b\x90\x98\x9b-\x9f]*+(?:\x07|\x1b\\|\x9c))?"
    r"|\x1b(?: [F-N]|[!-/]{1,2}+[0-~]|[0-~])?"
)
_MAY_BEGIN_ONE: Final = re.compile(r"[\x1b\x90\x98\x9b\x9d-\x9f]")
# The same as programs write it (`\x1b[31m`, `^[[1m`, `#033[0m`; within JSON with more backslashes), and colours whose
# escape character was lost on the way.
_WRITTEN: Final = re.compile(
    r"(?:\\{1,8}+(?:x1b|u001b|033|e)|\^\[|#033)\[[0-?]*+[ -/]*+[@-~]"
    r"|\u241b?\[(?:\d{1,3};){0,5}\d{1,3}m",
    re.IGNORECASE,
)
# A pager's line, which backspaces take back, and a letter that is printed twice to look bold or underlined.
_PAGER: Final = re.compile(r"<?-{1,3}+ ?more ?-{1,3}+>?[ ]?\x08++[ ]*+\x08*+", re.IGNORECASE)
_OVERSTRUCK: Final = re.compile(r"_\x08(?=.)|(.)\x08(?=\1)")
_CONTROLS: Final = bytes([*range(0x09), *range(0x0E, 0x20), 0x7F])  # neither tabs nor line ends
# U+FFFD stands where a NUL or another broken character was.
_NO_WIDTH: Final = (
    r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\ufffd\U000e0000-\U000e0fff"
)
_UNSEEN: Final = re.compile(rf"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f{_NO_WIDTH}]")
_BLANK: Final = re.compile(r"[\xa0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000]")
_UNUSUAL: Final = re.compile(rf"{_UNSEEN.pattern}|{_BLANK.pattern}")


def without_escapes(text: str) -> str:
    """`text` without escape sequences, each taken away whole; everything else stays."""
    if text.isprintable() or not _MAY_BEGIN_ONE.search(text):
        return text
    return _SEQUENCE.sub("", text)


def as_seen(text: str) -> str:
    """`text` as a reader sees it: no escape sequence, nothing without width, every blank a plain one."""
    if _has_something_unseen(text):
        text = _OVERSTRUCK.sub("", _PAGER.sub("", _SEQUENCE.sub("", text)))
        text = _BLANK.sub(" ", _UNSEEN.sub("", text))
    return _WRITTEN.sub("", text) if "[" in text else text


def _has_something_unseen(text: str) -> bool:
    if text.isascii():  # quicker than an expression
        return len(text.encode("ascii").translate(None, _CONTROLS)) < len(text)
    return _UNUSUAL.search(text) is not None
