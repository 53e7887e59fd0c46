"""Header lines: cleaned, encoded, folded (RFC 5322, RFC 2047).

Python 3.11 itself lets an encoded word smuggle a line break into a header (CVE-2024-6923), so nothing here
relies on the standard library refusing it: foreign text loses its controls and every `=?` before it is
encoded, machine-made values are refused unless they are printable, and the finished block is compared with
the exact list of names that was asked for.
"""

from __future__ import annotations

import re
from email.header import Header as EncodedHeader
from functools import lru_cache
from typing import NamedTuple

from notifier.domain.addresses import parse_mailbox
from notifier.domain.errors import HeaderInjection
from notifier.domain.escapes import without_escapes

MAX_LENGTH = 200
_LINE = 78  # RFC 5322 section 2.1.1
_FIELD_NAME = re.compile(r"[!-9;-~]+")  # RFC 5322 section 2.2: printable ASCII but the colon
_BEGUN_LINE = re.compile(r"^([^ \t\r\n][^:\r\n]*)", re.MULTILINE)  # what a reader takes for a field's name


class Header(NamedTuple):
    """One field: a name, words for people, a part for machines (`<a@b>`, an id); either may be empty."""

    name: str
    words: str = ""
    machine: str = ""
    quoted: bool = False

    @property
    def text(self) -> str:
        """The value, neither folded nor encoded."""
        words = self.words
        if self.quoted and words:
            words = '"' + words.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{words} {self.machine}" if words and self.machine else words or self.machine


@lru_cache(maxsize=2048)
def clean_header(text: str) -> str:
    """Return foreign text fit for a header: one line, printable, no `=?`, at most 200 characters (B22-B27).

    Escape sequences go whole; controls, line and paragraph separators, bidirectional overrides and zero-width
    characters become blanks.
    """
    plain = without_escapes(text)
    printable = plain if plain.isprintable() else "".join(c if c.isprintable() else " " for c in plain)
    collapsed = " ".join(printable.replace("=?", "= ?").split())
    return collapsed if len(collapsed) <= MAX_LENGTH else collapsed[: MAX_LENGTH - 1].rstrip() + "…"


@lru_cache(maxsize=4096)
def mailbox(text: str) -> str:
    """Return a plain address with its domain as A-labels. Raises InvalidAddress."""
    return parse_mailbox(text).address


def serialise(headers: tuple[Header, ...]) -> bytes:
    """Return the header block, CRLF lines, without the blank line after it.

    Raises HeaderInjection when the result has other field names than were asked for.
    """
    block = "".join([_line(*header) for header in headers])
    found = _BEGUN_LINE.findall(block)
    if found != [header.name for header in headers] or "\r\n\r\n" in block:
        raise HeaderInjection(f"the mail would have the headers {', '.join(found)}")
    return block.encode()


def _line(name: str, words: str, machine: str, quoted: bool) -> str:  # noqa: FBT001 - the fields of Header
    if not _FIELD_NAME.fullmatch(name):
        raise HeaderInjection(f"{clean_header(name)!r} is not a header name")
    if machine and not _is_one_line(machine):
        raise HeaderInjection(f"{name} would carry controls or blanks that break its form")
    if not words:
        # An address with a non-ASCII local part goes out as it is (RFC 6532); the server then needs SMTPUTF8.
        line = f"{name}: {machine}\r\n"
        return _folded(name, machine) if len(line) > _LINE + 2 else line
    return _words_line(name, words, machine, quoted)


@lru_cache(maxsize=2048)
def _words_line(name: str, words: str, machine: str, quoted: bool) -> str:  # noqa: FBT001 - the fields of Header
    """Return the line of a field with words in it; the same few lines serve all recipients of an event."""
    if clean_header(words) != words:
        raise HeaderInjection(f"{name} was not cleaned before it was written")
    if words.isascii():
        return _folded(name, Header(name, words, machine, quoted).text)
    encoded = EncodedHeader(words, charset="utf-8", header_name=name, maxlinelen=_LINE - 2).encode(
        linesep="\r\n"
    )
    last = encoded.rpartition("\r\n")[2]
    room = _LINE - len(last) - (len(name) + 2 if last == encoded else 0)
    gap = " " if len(machine) < room else "\r\n "
    return f"{name}: {encoded}{gap + machine if machine else ''}\r\n"


def _folded(name: str, value: str) -> str:
    """Fold at blanks so that lines keep to 78 characters where the words allow it."""
    lines, line = [], f"{name}:"
    for word in value.split(" "):
        if len(line) + 1 + len(word) > _LINE and line.strip():
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line]) + "\r\n"


def _is_one_line(machine: str) -> bool:
    return machine.isprintable() and "=?" not in machine
