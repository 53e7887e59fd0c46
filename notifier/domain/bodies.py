"""A rendered body becomes the MIME parts of a mail, encoded once for all its readers.

What differs between two readers, the reason and the personal unsubscribe link, stands in gaps between soft line breaks
of the encoded body, so the pieces around them stay as they are, whatever they are.
"""

from __future__ import annotations

import binascii
import hashlib
import html
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from notifier.domain.errors import HeaderInjection
from notifier.domain.headers import Header, serialise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.domain.vocabulary import Rule

# Stand in a Body for what differs between its readers: the personal link, and why they get the mail. Cleaning removes
# control characters from everything foreign, so no job, device or customer name can contain them.
UNSUBSCRIBE_PLACEHOLDER = "\x1aunsubscribe\x1a"
REASON_PLACEHOLDER = "\x1areason\x1a"

_REMEMBERED = 1000  # characters of a line worth remembering
_REMEMBERED_LINES = 1024
_SOFT_BREAK = b"=\r\n"
_LINE_LENGTH = 76  # octets of a quoted-printable line, the = at its end included (RFC 2045 section 6.7)
_PLACEHOLDER = re.compile(f"({UNSUBSCRIBE_PLACEHOLDER}|{REASON_PLACEHOLDER})")

_ANY_BOUNDARY = b"=_" + 24 * b"0"
# The headers that say how the body is made, and the blank line behind all headers.
_MIME_BLOCK = (
    serialise(
        (
            Header("MIME-Version", machine="1.0"),
            Header("Content-Type", machine=f'multipart/alternative; boundary="{_ANY_BOUNDARY.decode()}"'),
        )
    )
    + b"\r\n"
)


class Both(NamedTuple):
    """One sentence as it stands in the text and in the HTML."""

    text: str
    html: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """What was rendered from one event for one kind of reader; shared by all its recipients.

    `text` and `html` hold `UNSUBSCRIBE_PLACEHOLDER` where the personal link belongs, and `REASON_PLACEHOLDER` where one
    of `reasons` does; without `reasons` the body is for the readers of one rule. `sender` is the display name of From,
    `list_name` the readable part of List-Id, `severity` one word for filter rules, `language` what the body is written
    in. `note` says why the built-in templates replace the customer's own.
    """

    text: str
    html: str
    language: str
    sender: str
    list_name: str
    severity: str
    note: str | None = None
    reasons: Mapping[Rule, Both] = field(default_factory=dict)


class Gap(NamedTuple):
    """A place between two pieces of an encoded body: for the reason or the link, in the text or the HTML."""

    reason: bool
    html: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedBody:
    """What follows the headers that differ: each of `gaps` is between two of `pieces`. `reasons` are encoded, too.

    The first piece begins with the MIME headers and the blank line behind all headers.
    """

    pieces: tuple[bytes, ...]
    gaps: tuple[Gap, ...]
    reasons: Mapping[Rule, tuple[bytes, bytes]]
    language: str
    sender: str
    list_name: str
    severity: str


def encode_body(body: Body) -> EncodedBody:
    """Encode a body once for all its recipients: text, then HTML, both quoted-printable."""
    # No quoted-printable text contains "=_", so this boundary cannot occur in a part (RFC 2045 section 6.7).
    boundary = f"=_{hashlib.sha256(body.text.encode()).hexdigest()[:24]}"
    pieces: list[bytes] = [_MIME_BLOCK.replace(_ANY_BOUNDARY, boundary.encode())]
    gaps: list[Gap] = []
    for subtype, content in (("plain", body.text), ("html", body.html)):
        pieces[-1] += (
            f'--{boundary}\r\nContent-Type: text/{subtype}; charset="utf-8"\r\n'
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        ).encode()
        before, *rest = _PLACEHOLDER.split(content)
        for placeholder, behind in zip(rest[::2], rest[1::2], strict=True):
            pieces[-1] += _with_room(_lines(before) + _last_break(before)) + _SOFT_BREAK
            gaps.append(Gap(reason=placeholder == REASON_PLACEHOLDER, html=subtype == "html"))
            pieces.append(_SOFT_BREAK)
            before = behind
        pieces[-1] += _lines(before) + b"\r\n\r\n"
    pieces[-1] += f"--{boundary}--\r\n".encode()
    reasons = {
        rule: (_sentence(reason.text), _sentence(reason.html)) for rule, reason in body.reasons.items()
    }
    return EncodedBody(
        pieces=tuple(pieces),
        gaps=tuple(gaps),
        reasons=reasons,
        language=body.language,
        sender=body.sender,
        list_name=body.list_name,
        severity=body.severity,
    )


def fill(gap: Gap, encoded: EncodedBody, *, rule: Rule | None, url: str | None) -> bytes:
    """Return what stands in a gap of one recipient's mail. Raises ValueError when that was not given."""
    if gap.reason:
        if rule is None or rule not in encoded.reasons:
            raise ValueError("the body has a place for the reason, but none was chosen")
        return encoded.reasons[rule][gap.html]
    if url is None:
        raise ValueError("the body has a place for an unsubscribe link, but no link was given")
    return _with_room(_encoded_line(html.escape(url) if gap.html else url))


def _sentence(text: str) -> bytes:
    """Encode what goes into a gap."""
    return _with_room(_lines(text))


def _lines(text: str) -> bytes:
    """Encode lines, without a break behind the last: at most 76 octets before each soft break, no dot where one begins.

    RFC 2045 section 6.7; no line ends with a blank. A dot that begins a line would have to be doubled for every
    recipient, and some mail systems lose it (RFC 2049 section 3). Raises HeaderInjection for a bare CR or LF.
    """
    return b"\r\n".join(map(_encoded_lines.__getitem__, text.splitlines()))


def _last_break(text: str) -> bytes:
    return b"\r\n" if text[-1:].splitlines() == [""] else b""


def _encoded_line(line: str) -> bytes:
    if "\r" in line or "\n" in line:
        raise HeaderInjection("the mail has a bare CR or LF")
    encoded = binascii.b2a_qp(line.encode("utf-8"), istext=True)
    if encoded.startswith(b".") or b"\n." in encoded:
        encoded = b"\n".join(map(_without_first_dot, encoded.split(b"\n")))
    return encoded.replace(b"\n", b"\r\n")  # its soft breaks


def _without_first_dot(line: bytes) -> bytes:
    """Encode the dot that begins an encoded line; a soft break follows it where the line has no room."""
    before = b""
    while line.startswith(b"."):
        line = line[1:]
        if len(line) + 3 <= _LINE_LENGTH:
            return before + b"=2E" + line
        before += b"=2E=\n"
    return before + line


class _EncodedLines(dict[str, bytes]):
    """Encodes lines and remembers them: nearly all lines of a page are the template's."""

    def __missing__(self, line: str) -> bytes:
        encoded = _encoded_line(line)
        if len(line) <= _REMEMBERED:
            if len(self) >= _REMEMBERED_LINES:
                self.clear()
            self[line] = encoded
        return encoded


_encoded_lines = _EncodedLines()


def _with_room(encoded: bytes) -> bytes:
    """Break the last line before its last character where a soft break behind it would be the 77th octet."""
    if len(encoded) - encoded.rfind(b"\n") - 1 < _LINE_LENGTH:
        return encoded
    at = len(encoded) - (3 if encoded[-3:-2] == b"=" else 1)
    return encoded[:at] + _SOFT_BREAK + encoded[at:].replace(b".", b"=2E")
