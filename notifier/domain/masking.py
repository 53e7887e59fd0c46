"""Hides secrets in what jobs print, before anything of it is stored, logged or mailed.

Rather too much is hidden than a secret shown; sentences about passwords ("password changed") stay readable.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from notifier.domain.escapes import as_seen
from notifier.domain.key_lines import BEGIN, END, hide_key_lines, hide_key_tails
from notifier.domain.secret_names import is_secret_name
from notifier.domain.secret_patterns import SECRET_PATTERNS

if TYPE_CHECKING:
    from notifier.domain.decoding import Json

MASK: Final = "********"

_HINTS: Final = tuple(sorted({hint for one in SECRET_PATTERNS for hint in one.hints}))
# A text with none of these has no hint at all: `secret` speaks for `shared-secret`, too.
_FEWEST_HINTS: Final = tuple(h for h in _HINTS if not any(other != h and other in h for other in _HINTS))
# Hints with a character that most texts do not have are looked for only where it is.
_MARKS: Final = {mark: tuple(hint for hint in _FEWEST_HINTS if mark in hint) for mark in "_="}
_OTHER_HINTS: Final = tuple(hint for hint in _FEWEST_HINTS if not any(mark in hint for mark in _MARKS))
_ANY_HINT: Final = re.compile("|".join(map(re.escape, _FEWEST_HINTS)))
_PATTERNS: Final = tuple((frozenset(one.hints), one.expression) for one in SECRET_PATTERNS)
_OPENING_QUOTE: Final = re.compile(r"""(?:\\?["'])?""")
# An odd number of backslashes before the letter; an even one is a text with backslashes (RFC 8259 section 7).
_ESCAPED: Final = re.compile(r"(?<!\\)((?>(?:\\\\)*))\\([nrt])")
# A character as its code; a backspace has a short one.
_CODED: Final = re.compile(r"(?<!\\)((?>(?:\\\\)*))\\(u[0-9a-fA-F]{4}|b)")
_QUOTE: Final = re.compile(r'(?<!\\)"')
_UNESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}
_ASIDE: Final = str.maketrans("\n\r\t", "\x1c\x1d\x1e")  # real ones, which JSON has between its values only
_BACK: Final = str.maketrans("\x1c\x1d\x1e", "\n\r\t")
_SHORT: Final = 40  # characters of a name or a text worth remembering
_MANY: Final = 2048  # harmless texts that are remembered
_QUESTION: Final = 200  # characters at the end of a text that may ask for the one after it


_harmless: Final[set[str]] = set()  # short texts seen before; nothing with a hint of a secret is kept


def mask_text(text: str) -> str:
    """`text` with every secret it shows replaced by eight asterisks.

    A text with escape sequences or invisible characters loses them if it shows a secret, and stays as it is if not.
    """
    if text in _harmless:  # names of devices, states and people come again and again
        return text
    seen = as_seen(text)
    if seen is not text:
        masked = _masked(seen)
        if masked != seen:
            return masked
    return _masked(text)


def _masked(text: str) -> str:
    lowered = text.lower()
    if not _has_a_hint(lowered):
        if len(text) <= _SHORT:
            if len(_harmless) >= _MANY:
                _harmless.clear()
            _harmless.add(text)
        return text
    found = frozenset([hint for hint in _HINTS if hint in lowered])
    masked = hide_key_tails(text, MASK) if END in text else text
    for hints, expression in _PATTERNS:
        if not hints.isdisjoint(found):
            masked = expression.sub(_hide, masked)
    return masked


def _has_a_hint(lowered: str) -> bool:
    """Most texts have none. Plain searches are quicker than one expression, except in a few characters."""
    if len(lowered) <= _SHORT:
        return _ANY_HINT.search(lowered) is not None
    for hint in _OTHER_HINTS:
        if hint in lowered:
            return True
    for mark, hints in _MARKS.items():  # noqa: SIM110 - any() with a generator takes twice as long
        if mark in lowered and any(hint in lowered for hint in hints):
            return True
    return False


def mask_json_source(text: str) -> str:
    """`mask_text` for JSON as it was written, perhaps broken: each line of each string is a line of its own.

    Without that a device's configuration in one string is one line, and only the first secret in it is found.
    Characters written as their code are read as what they are.
    """
    seen = as_seen(_CODED.sub(_character, text))
    masked = _masked_source(seen)
    return masked if masked != seen else _masked_source(text)


def _masked_source(text: str) -> str:
    plain = _QUOTE.sub("\n\x1f\n", text.translate(_ASIDE))
    plain = _ESCAPED.sub(lambda found: found[1] + _UNESCAPED[found[2]], plain)
    masked = _masked(plain).replace("\n\x1f\n", '"')
    for letter, character in _UNESCAPED.items():
        masked = masked.replace(character, "\\" + letter)
    return _masked(masked.translate(_BACK))


def _character(code: re.Match[str]) -> str:
    """The character a code stands for, unless JSON needs the code: for quotes, backslashes and line ends."""
    character = "\b" if code[2] == "b" else chr(int(code[2][1:], 16))
    needed = character in '"\\\n\r\t' or "\ud800" <= character <= "\udfff"
    return code[0] if needed else code[1] + character


def mask_json(value: Json) -> Json:
    """A copy of plain JSON with every text masked, and every value under a name that announces a secret."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict):
        masked: dict[str, Json] = {}
        for name, item in value.items():
            shown, secret = _known_name(name) if len(name) <= _SHORT else _name(name)
            if secret:
                masked[shown] = _mask_leaves(item)
            elif isinstance(item, str):  # most of an event, without a further call
                masked[shown] = mask_text(item)
            else:
                masked[shown] = mask_json(item)
        return masked
    return _mask_list(value) if isinstance(value, list) else value


def _mask_list(items: list[Json]) -> list[Json]:
    """A list may be a log, line by line: a key spans several of them, a password follows the question for it."""
    if not items or not isinstance(items[0], str):
        return [mask_json(item) for item in items]
    if any(isinstance(item, str) and (BEGIN in item or END in item) for item in items):
        items = hide_key_lines(items, MASK)
    masked = [mask_json(item) for item in items]
    for at, (question, answer) in enumerate(pairwise(items), start=1):
        if isinstance(question, str) and isinstance(answer, str) and question.rstrip().endswith((":", "=")):
            asked = question.rstrip()[-_QUESTION:].splitlines()[-1]
            masked[at] = mask_text(f"{asked}\n{answer}").partition("\n")[2]
    return masked


def _name(name: str) -> tuple[str, bool]:
    """Return a name without secrets in it, and whether it announces one."""
    return mask_text(name), is_secret_name(name)


_known_name = lru_cache(maxsize=1024)(_name)  # events of one kind have the same few names


def _hide(found: re.Match[str]) -> str:
    """The whole match with its `value` hidden; the quote a value opens with stays."""
    start, end = found.span("value")
    quote = _OPENING_QUOTE.match(found.string, start, end)
    kept = quote.end() if quote else start
    return found.string[found.start() : kept] + MASK + found.string[end : found.end()]


def _mask_leaves(value: Json) -> Json:
    match value:
        case None | bool() | "":
            return value
        case list():
            return [_mask_leaves(item) for item in value]
        case dict():
            return {name: _mask_leaves(item) for name, item in value.items()}
        case _:
            return MASK
