"""A mail as the inbox received it, and its readable parts."""

from __future__ import annotations

from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from email.message import EmailMessage

# What the parser throws at mails that no standard allows; the page still shows such a mail.
_BROKEN = (LookupError, ValueError, AttributeError, TypeError)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredMail:
    """Envelope and source of one accepted mail. `number` counts from 1 in the order of arrival."""

    number: int
    received_at: datetime
    mail_from: str
    rcpt_tos: tuple[str, ...]
    source: bytes

    @property
    def message(self) -> EmailMessage:
        """The parsed mail."""
        return message_from_bytes(self.source, policy=policy.default)

    def header(self, name: str) -> str:
        """The decoded value of a header, empty if it is missing."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """All headers in their order: decoded, or raw where they cannot be decoded."""
        message = self.message
        return tuple((name, _decoded(message, position)) for position, name in enumerate(message.keys()))

    @property
    def subject(self) -> str:
        """The decoded subject."""
        return self.header("Subject")

    @property
    def message_id(self) -> str:
        """The Message-ID with its angle brackets."""
        return self.header("Message-ID")

    @property
    def text(self) -> str | None:
        """The plain text body, None without one."""
        return self._body("plain")

    @property
    def html(self) -> str | None:
        """The HTML body, None without one."""
        return self._body("html")

    @property
    def source_text(self) -> str:
        """The whole mail as it came over the wire."""
        return self.source.decode("utf-8", "replace").replace("\r\n", "\n")

    def _body(self, kind: str) -> str | None:
        part = self.message.get_body(preferencelist=(kind,))
        if part is None:
            return None
        try:
            return str(part.get_content())
        except _BROKEN:
            payload = part.get_payload(decode=True)
            return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""


def _decoded(message: EmailMessage, position: int) -> str:
    try:
        return str(message.values()[position])
    except _BROKEN:
        return str(list(message.raw_items())[position][1])
