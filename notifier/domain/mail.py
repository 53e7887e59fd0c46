"""A rendered body and the facts of one log row become the bytes of one mail.

`reference` builds it with the standard library's EmailMessage and is what tests compare with. `assemble`
builds the same mail about fifty times faster: the body is quoted-printable encoded once per event
(`encode_body`), and per recipient only the headers and the personal unsubscribe link change. The link stands
between two soft line breaks of the encoded body, so the pieces around it stay as they are, whatever it is.
"""

from __future__ import annotations

import binascii
import hashlib
import html
import re
import unicodedata
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING

from notifier.domain.errors import HeaderInjection
from notifier.domain.headers import Header, clean_header, mailbox, serialise

if TYPE_CHECKING:
    from datetime import datetime

    from notifier.domain.vocabulary import MailType

# Stands for the personal link in a Body. Cleaning removes control characters from everything foreign,
# so no job, device or customer name can contain it.
UNSUBSCRIBE_PLACEHOLDER = "\x1aunsubscribe\x1a"

_SENDER_LENGTH = 64
_LABEL_LENGTH = 25  # keeps List-Id on a line of 78 characters with most domains
_SENDER_ID = (5, 15)  # shortest and longest sender id of a Feedback-ID
_URL = re.compile(r"https?://[!-;=?-~]+")  # printable ASCII without the angle brackets and the blank
_SOFT_BREAK = b"=\r\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """What was rendered from one event for one kind of reader; shared by all its recipients.

    `text` and `html` hold `UNSUBSCRIBE_PLACEHOLDER` where the personal link belongs. `sender` is the display
    name of From, `list_name` the readable part of List-Id, `severity` one word for filter rules, `language`
    what the body is written in. `note` says why the built-in templates replace the customer's own.
    """

    text: str
    html: str
    language: str
    sender: str
    list_name: str
    severity: str
    note: str | None = None

    def personal(self, unsubscribe_url: str | None) -> tuple[str, str]:
        """Return the text and HTML as one recipient gets them."""
        url = unsubscribe_url or ""
        return (
            self.text.replace(UNSUBSCRIBE_PLACEHOLDER, url),
            self.html.replace(UNSUBSCRIBE_PLACEHOLDER, html.escape(url)),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MailFacts:
    """What the headers of one mail need beside the body: the log row, its event and its server.

    `message_id` has its angle brackets and was stored with the row (D17). `date` has an offset.
    """

    mail_type: MailType
    product: str
    environment: str
    customer_id: int
    customer_name: str
    subject: str
    from_email: str
    reply_to_email: str | None
    to_address: str
    message_id: str
    date: datetime
    job_id: int | None = None
    compliance_result_id: int | None = None
    trace_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedBody:
    """The MIME parts of a Body. Between two pieces belongs the personal link, in `gaps` as text or HTML."""

    boundary: str
    pieces: tuple[bytes, ...]
    gaps: tuple[bool, ...]  # True where the link stands in HTML
    language: str
    sender: str
    list_name: str
    severity: str


def encode_body(body: Body) -> EncodedBody:
    """Encode a body once for all its recipients: text, then HTML, both quoted-printable (D28)."""
    digest = hashlib.sha256(f"{body.text}\0{body.html}".encode()).hexdigest()[:24]
    # No quoted-printable text contains "=_", so this boundary cannot occur in a part (RFC 2045 section 6.7).
    boundary = f"=_{digest}"
    pieces: list[bytes] = [b""]
    gaps: list[bool] = []
    for subtype, content in (("plain", body.text), ("html", body.html)):
        pieces[-1] += (
            f'--{boundary}\r\nContent-Type: text/{subtype}; charset="utf-8"\r\n'
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        ).encode()
        first, *rest = _canonical(content).split(UNSUBSCRIBE_PLACEHOLDER)
        pieces[-1] += _quoted_printable(first)
        for part in rest:
            pieces[-1] += _SOFT_BREAK
            gaps.append(subtype == "html")
            pieces.append(_SOFT_BREAK + _quoted_printable(part))
        pieces[-1] += b"\r\n"
    pieces[-1] += f"--{boundary}--\r\n".encode()
    for piece in pieces:
        _check_line_ends(piece)
    return EncodedBody(
        boundary=boundary,
        pieces=tuple(pieces),
        gaps=tuple(gaps),
        language=body.language,
        sender=body.sender,
        list_name=body.list_name,
        severity=body.severity,
    )


def assemble(facts: MailFacts, encoded: EncodedBody, unsubscribe_url: str | None) -> bytes:
    """Return the whole mail, CRLF lines, ready for SMTP DATA.

    Raises HeaderInjection when the headers are not exactly the intended ones or a bare CR or LF got in,
    InvalidAddress for From, Reply-To or To, ValueError for a body that needs a link where none is given.
    """
    if encoded.gaps and unsubscribe_url is None:
        raise ValueError("the body has a place for an unsubscribe link, but no link was given")
    head = serialise(
        (
            *headers(facts, encoded, unsubscribe_url),
            Header("MIME-Version", machine="1.0"),
            Header("Content-Type", machine=f'multipart/alternative; boundary="{encoded.boundary}"'),
        )
    )
    _check_line_ends(head)
    parts = [head, b"\r\n", encoded.pieces[0]]
    for is_html, piece in zip(encoded.gaps, encoded.pieces[1:], strict=True):
        url = unsubscribe_url or ""
        parts += (_quoted_printable(html.escape(url) if is_html else url), piece)
    return b"".join(parts)


def reference(facts: MailFacts, body: Body, unsubscribe_url: str | None) -> EmailMessage:
    """Return the same mail as the standard library builds it: slow, and the measure for `assemble`."""
    encoded = encode_body(body)
    message = EmailMessage(policy=SMTP.clone(max_line_length=78))
    text, markup = (_canonical(part).replace("\r\n", "\n") for part in body.personal(unsubscribe_url))
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(markup, subtype="html", cte="quoted-printable")
    message.set_boundary(encoded.boundary)
    # Only now: add_alternative moves every Content-… header it finds into the first part.
    for header in headers(facts, encoded, unsubscribe_url):
        message[header.name] = header.text
    return message


def headers(facts: MailFacts, encoded: EncodedBody, unsubscribe_url: str | None) -> tuple[Header, ...]:
    """Return every header but the MIME ones, in order, already cleaned."""
    from_address = mailbox(facts.from_email)
    domain = from_address.rpartition("@")[2]
    found = [
        Header("From", _cut(clean_header(encoded.sender), _SENDER_LENGTH), f"<{from_address}>", quoted=True),
        Header("To", machine=mailbox(facts.to_address)),
    ]
    if facts.reply_to_email:
        found.append(Header("Reply-To", machine=mailbox(facts.reply_to_email)))
    found += (
        Header("Subject", clean_header(facts.subject)),
        Header("Date", machine=format_datetime(facts.date)),
        Header("Message-ID", machine=facts.message_id),
        *_thread(facts, domain),
        Header("Auto-Submitted", machine="auto-generated"),
        Header("X-Auto-Response-Suppress", machine="All"),
        *_list(facts, encoded, domain, unsubscribe_url),
        Header("Feedback-ID", machine=_feedback_id(facts)),
        *_filters(facts, encoded),
        Header("Content-Language", machine=encoded.language),
    )
    return tuple(found)


def _thread(facts: MailFacts, domain: str) -> tuple[Header, ...]:
    """Every mail about a job names the same root, which no mail is; a test mail never threads."""
    if facts.job_id is not None:
        root = f"<job.{facts.customer_id}.{facts.job_id}@{domain}>"
    elif facts.compliance_result_id is not None:
        root = f"<compliance-result.{facts.customer_id}.{facts.compliance_result_id}@{domain}>"
    else:
        return (Header("X-Entity-Ref-ID", machine=facts.message_id),)
    return (Header("In-Reply-To", machine=root), Header("References", machine=root))


def _list(facts: MailFacts, encoded: EncodedBody, domain: str, url: str | None) -> tuple[Header, ...]:
    """List-Id (RFC 2919), List-Unsubscribe (RFC 2369) and one-click (RFC 8058), which wants https."""
    if facts.mail_type == "test":
        return ()
    customer = _label(facts.customer_name) or f"customer-{facts.customer_id}"
    list_id = f"<{_label(facts.mail_type)}.{customer}.notify.{domain}>"
    name = Header("List-Id", clean_header(encoded.list_name), list_id, quoted=True)
    if url is None:
        return (name,)
    if not _URL.fullmatch(url):
        raise HeaderInjection("the unsubscribe link is not a plain http(s) address; check links.unsubscribe")
    unsubscribe = Header("List-Unsubscribe", machine=f"<{url}>")
    if not url.startswith("https://"):
        return (name, unsubscribe)
    return (name, unsubscribe, Header("List-Unsubscribe-Post", machine="List-Unsubscribe=One-Click"))


def _feedback_id(facts: MailFacts) -> str:
    """Groups only, never a value of one mail or one person."""
    sender = _label(facts.product).replace("-", "")
    shortest, longest = _SENDER_ID
    sender = (sender if len(sender) >= shortest else f"{sender}notifier")[:longest]
    return f"{facts.mail_type}:{facts.customer_id}:{_label(facts.environment) or 'none'}:{sender}"


def _filters(facts: MailFacts, encoded: EncodedBody) -> list[Header]:
    """X-{Product}-… for people's filter rules."""
    prefix = f"X-{'-'.join(part.capitalize() for part in _label(facts.product).split('-')) or 'Notifier'}"
    found = [Header(f"{prefix}-Event", machine=facts.mail_type)]
    if facts.job_id is not None:
        found.append(Header(f"{prefix}-Job", machine=str(facts.job_id)))
    if facts.compliance_result_id is not None:
        found.append(Header(f"{prefix}-Compliance-Result", machine=str(facts.compliance_result_id)))
    customer = clean_header(facts.customer_name) or str(facts.customer_id)
    found += (Header(f"{prefix}-Customer", customer), Header(f"{prefix}-Severity", machine=encoded.severity))
    if facts.trace_id:
        found.append(Header(f"{prefix}-Trace-Id", machine=facts.trace_id))
    return found


def _label(name: str) -> str:
    """Return the ASCII letters, digits and hyphens of a name: `Acme Nörd` -> `acme-nord`; maybe nothing."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:_LABEL_LENGTH].strip("-")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3].rstrip() + "..."


def _canonical(content: str) -> str:
    """Whatever separates lines becomes CRLF, with one at the very end."""
    return "\r\n".join(content.splitlines()) + "\r\n"


def _quoted_printable(text: str) -> bytes:
    """Lines of at most 76 octets; a lone dot and blanks at line ends are encoded (RFC 2045 section 6.7)."""
    encoded = binascii.b2a_qp(text.encode("utf-8"), istext=True)
    # Its soft breaks follow the first line end it sees; without one they would be bare LFs.
    return encoded if "\n" in text else encoded.replace(b"\n", b"\r\n")


def _check_line_ends(data: bytes) -> None:
    pairs = data.count(b"\r\n")
    if data.count(b"\r") != pairs or data.count(b"\n") != pairs:
        raise HeaderInjection("the mail has a bare CR or LF")
