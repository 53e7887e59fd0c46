"""SMTP replies as values, their text made fit for a row and a log line (RFC 5321 4.2, RFC 3463)."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, NamedTuple, Self

from notifier.domain.escapes import without_escapes
from notifier.domain.masking import mask_text

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_TEXT = 500  # characters of `notification_events.smtp_response`
MAX_RETRY_HINT = 3600.0  # seconds; a server may not park a mail for longer
MASK = "***"

_ENHANCED = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_HINT = re.compile(
    r"\b(?:re)?try\b\D{0,60}?\b(\d{1,6})\s*(seconds?|secs?|s|minutes?|mins?|m|hours?|h)\b", re.IGNORECASE
)
_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Reply(NamedTuple):
    """One reply: basic code (200-599), enhanced code ("5.1.1") if any, text cleaned by `clean_text`."""

    code: int
    enhanced: str | None
    text: str

    @classmethod
    def read(cls, code: int, raw: str, *, secrets: Sequence[str] = ()) -> Self:
        """Make a reply of the code and the raw text behind it (lines joined in any way)."""
        found = _ENHANCED.match(raw)
        return cls(code=code, enhanced=found[1] if found else None, text=clean_text(raw, secrets=secrets))

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()


def clean_text(raw: str, *, secrets: Sequence[str] = ()) -> str:
    """Return `raw` as one line of at most 500 printable characters with every secret masked (B55, B56).

    `secrets` are known; what else looks like a secret is masked as in the texts of jobs.
    """
    line = mask_text(_masked(without_escapes(raw), secrets))
    if not line.isprintable():
        line = "".join(c if c.isprintable() else " " for c in line)
    line = " ".join(line.split())
    line = mask_text(_masked(line, secrets))
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def secret_forms(*, username: str | None, password: str | None) -> tuple[str, ...]:
    """Return every text a server could echo that gives the password away, longest first.

    These are the password itself and what AUTH LOGIN and AUTH PLAIN put on the wire (RFC 4616), with and
    without base64 padding.
    """
    if not password:
        return ()
    user = username or ""
    plain = [f"{a}\0{user}\0{password}" for a in ("", user)]
    encoded = [b64encode(text.encode()).decode() for text in (password, *plain)]
    forms = {password, *plain, *encoded, *(text.rstrip("=") for text in encoded)}
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def retry_hint(text: str) -> float:
    """Return the seconds a reply such as "try again in 5 minutes" asks for: at most an hour, 0 if none."""
    found = _HINT.search(text)
    if not found:
        return 0.0
    return min(int(found[1]) * _UNIT_SECONDS[found[2][0].lower()], MAX_RETRY_HINT)


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text
