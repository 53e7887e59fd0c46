"""A rendered body and the facts of one log row become the bytes of one mail.

The body was encoded once per event and headers are lines: the standard library's EmailMessage, which tests compare
with, takes more than a hundred times as long (`make bench-rendering`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier.domain.bodies import fill
from notifier.domain.errors import HeaderInjection
from notifier.domain.mail_headers import head

if TYPE_CHECKING:
    from notifier.domain.bodies import EncodedBody
    from notifier.domain.mail_headers import MailFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A mail and its envelope, for one recipient.

    Its pieces, one after another, are the mail; those that are the same for all readers of an event exist once.
    dotless: `pieces` made them, so no line begins with a dot, and nobody need look for one.
    """

    mail_from: str
    rcpt_to: str
    pieces: tuple[bytes, ...]
    dotless: bool = False

    @property
    def size(self) -> int:
        """Bytes of the mail."""
        return sum(map(len, self.pieces))

    @property
    def data(self) -> bytes:
        """The mail in one piece."""
        return b"".join(self.pieces)


def assemble(facts: MailFacts, encoded: EncodedBody, unsubscribe_url: str | None) -> bytes:
    """Return the whole mail; for the rest see `pieces`."""
    return b"".join(pieces(facts, encoded, unsubscribe_url))


def pieces(facts: MailFacts, encoded: EncodedBody, unsubscribe_url: str | None) -> tuple[bytes, ...]:
    """Return the mail, CRLF lines, ready for SMTP DATA, in pieces, of which most are the body's own.

    No line begins with a dot.

    Raises HeaderInjection when the headers are not exactly the intended ones or a bare CR or LF got in,
    InvalidAddress for From, Reply-To or To, ValueError for a body that needs a link or a reason where none is given.
    """
    lines = head(facts, encoded, unsubscribe_url)
    _check_line_ends(lines)
    parts = [lines, encoded.pieces[0]]
    for gap, piece in zip(encoded.gaps, encoded.pieces[1:], strict=True):
        parts += (fill(gap, encoded, rule=facts.rule, url=unsubscribe_url), piece)
    return tuple(parts)


def _check_line_ends(data: bytes) -> None:
    pairs = data.count(b"\r\n")
    if data.count(b"\r") != pairs or data.count(b"\n") != pairs:
        raise HeaderInjection("the mail has a bare CR or LF")
