"""A rendered body and the facts of one log row become the bytes of one mail.

`reference` builds it with the standard library's EmailMessage and is what tests compare with. `assemble`
builds the same mail about fifty times faster: the body is quoted-printable encoded once per event
(`encode_body`), and per recipient only a few headers, the reason and the personal unsubscribe link change. These two
stand between soft line breaks of the encoded body, so the pieces around them stay as they are, whatever they are.
"""

from __future__ import annotations

import binascii
import hashlib
import html
import re
import unicodedata
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from notifier.domain.errors import HeaderInjection
from notifier.domain.headers import Header, clean_header, mailbox, serialise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from notifier.domain.vocabulary import MailType, Rule

# Stand in a Body for what differs between its readers: the personal link, and why they get the mail. Cleaning removes
# control characters from everything foreign, so no job, device or customer name can contain them.
UNSUBSCRIBE_PLACEHOLDER = "\x1aunsubscribe\x1a"
REASON_PLACEHOLDER = "\x1areason\x1a"

_SENDER_LENGTH = 64
_LABEL_LENGTH = 25  # keeps List-Id on a line of 78 characters with most domains
_SENDER_ID = (5, 15)  # shortest and longest sender id of a Feedback-ID
_URL = re.compile(r"https?://[!-;=?-~]+")  # printable ASCII without the angle brackets and the blank
_PLACEHOLDER_MARK = "\x1a"  # in every placeholder
_REMEMBERED = 1000  # characters of a line worth remembering
_SOFT_BREAK = b"=\r\n"
_LINE_LENGTH = 76  # octets of a quoted-printable line, the = at its end included (RFC 2045 section 6.7)
_PLACEHOLDER = re.compile(f"({UNSUBSCRIBE_PLACEHOLDER}|{REASON_PLACEHOLDER})")


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

    def personal(self, unsubscribe_url: str | None, rule: Rule | None = None) -> tuple[str, str]:
        """Return the text and HTML as one recipient, chosen by `rule`, gets them."""
        url = unsubscribe_url or ""
        text = self.text.replace(UNSUBSCRIBE_PLACEHOLDER, url)
        markup = self.html.replace(UNSUBSCRIBE_PLACEHOLDER, html.escape(url))
        if rule is None or rule not in self.reasons:
            return text, markup
        reason = self.reasons[rule]
        return text.replace(REASON_PLACEHOLDER, reason.text), markup.replace(REASON_PLACEHOLDER, reason.html)


class MailFacts(
    NamedTuple
):  # made for every mail: a frozen dataclass of so many fields costs ten times as much
    """What one mail needs beside its body: the log row, its event and its server.

    `message_id` has its angle brackets and was stored with the row (D17). `date` has an offset. `rule` chooses one of
    the body's reasons.
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
    rule: Rule | None = None


class Gap(NamedTuple):
    """A place between two pieces of an encoded body: for the reason or the link, in the text or the HTML."""

    reason: bool
    html: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedBody:
    """What follows the headers that differ: each of `gaps` is between two of `pieces`. `reasons` are encoded, too.

    The first piece begins with the MIME headers and the blank line behind all headers.
    """

    boundary: str
    pieces: tuple[bytes, ...]
    gaps: tuple[Gap, ...]
    reasons: Mapping[Rule, tuple[bytes, bytes]]
    language: str
    sender: str
    list_name: str
    severity: str


def encode_body(body: Body) -> EncodedBody:
    """Encode a body once for all its recipients: text, then HTML, both quoted-printable (D28)."""
    # No quoted-printable text contains "=_", so this boundary cannot occur in a part (RFC 2045 section 6.7).
    boundary = f"=_{hashlib.sha256(body.text.encode()).hexdigest()[:24]}"
    pieces: list[bytes] = [_mime_block(boundary)]
    gaps: list[Gap] = []
    for subtype, content in (("plain", body.text), ("html", body.html)):
        pieces[-1] += (
            f'--{boundary}\r\nContent-Type: text/{subtype}; charset="utf-8"\r\n'
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        ).encode()
        encoded: list[bytes] = []  # lines of the piece in hand
        for line in content.splitlines() or [""]:
            if _PLACEHOLDER_MARK not in line:
                encoded.append(_quoted_printable(line))
                continue
            first, *rest = _PLACEHOLDER.split(line)
            encoded.append(_quoted_printable(first))
            for placeholder, part in zip(rest[::2], rest[1::2], strict=True):
                pieces[-1] += _with_room(b"\r\n".join(encoded)) + _SOFT_BREAK
                gaps.append(Gap(reason=placeholder == REASON_PLACEHOLDER, html=subtype == "html"))
                pieces.append(_SOFT_BREAK)
                encoded = [_quoted_printable(part)]
        pieces[-1] += b"\r\n".join([*encoded, b"", b""])
    pieces[-1] += f"--{boundary}--\r\n".encode()
    reasons = {
        rule: (_sentence(reason.text), _sentence(reason.html)) for rule, reason in body.reasons.items()
    }
    return EncodedBody(
        boundary=boundary,
        pieces=tuple(pieces),
        gaps=tuple(gaps),
        reasons=reasons,
        language=body.language,
        sender=body.sender,
        list_name=body.list_name,
        severity=body.severity,
    )


def assemble(facts: MailFacts, encoded: EncodedBody, unsubscribe_url: str | None) -> bytes:
    """Return the whole mail, CRLF lines, ready for SMTP DATA.

    Raises HeaderInjection when the headers are not exactly the intended ones or a bare CR or LF got in,
    InvalidAddress for From, Reply-To or To, ValueError for a body that needs a link or a reason where none is given.
    """
    shared = _shared(facts, encoded)
    first, last = _shared_blocks(shared)
    head = b"".join((first, serialise(_personal_headers(facts, unsubscribe_url)), last))
    _check_line_ends(head)
    parts = [head, encoded.pieces[0]]
    for gap, piece in zip(encoded.gaps, encoded.pieces[1:], strict=True):
        parts += (_filled(gap, facts, encoded, unsubscribe_url), piece)
    return b"".join(parts)


def _filled(gap: Gap, facts: MailFacts, encoded: EncodedBody, url: str | None) -> bytes:
    if gap.reason:
        if facts.rule is None or facts.rule not in encoded.reasons:
            raise ValueError("the body has a place for the reason, but none was chosen")
        return encoded.reasons[facts.rule][gap.html]
    if url is None:
        raise ValueError("the body has a place for an unsubscribe link, but no link was given")
    return _with_room(_quoted_printable(html.escape(url) if gap.html else url))


def reference(facts: MailFacts, body: Body, unsubscribe_url: str | None) -> EmailMessage:
    """Return the same mail as the standard library builds it: slow, and the measure for `assemble`."""
    encoded = encode_body(body)
    message = EmailMessage(policy=SMTP.clone(max_line_length=78))
    personal = body.personal(unsubscribe_url, facts.rule)
    text, markup = (_canonical(part).replace("\r\n", "\n") for part in personal)
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(markup, subtype="html", cte="quoted-printable")
    message.set_boundary(encoded.boundary)
    # Only now: add_alternative moves every Content-… header it finds into the first part.
    for header in headers(facts, encoded, unsubscribe_url):
        message[header.name] = header.text
    return message


def headers(facts: MailFacts, encoded: EncodedBody, unsubscribe_url: str | None) -> tuple[Header, ...]:
    """Return every header but the MIME ones, in order, already cleaned."""
    shared = _shared(facts, encoded)
    return (*_first_headers(shared), *_personal_headers(facts, unsubscribe_url), *_last_headers(shared))


def _personal_headers(facts: MailFacts, url: str | None) -> tuple[Header, ...]:
    """Return the headers that no two mails have in common."""
    found = (
        Header("To", machine=mailbox(facts.to_address)),
        Header("Date", machine=format_datetime(facts.date)),
        Header("Message-ID", machine=facts.message_id),
    )
    if facts.mail_type == "test":
        return (*found, Header("X-Entity-Ref-ID", machine=facts.message_id))  # a test mail never threads
    return found if url is None else (*found, *_unsubscribe(url))


def _unsubscribe(url: str) -> tuple[Header, ...]:
    """List-Unsubscribe (RFC 2369) and one-click (RFC 8058), which wants https."""
    if not _URL.fullmatch(url):
        raise HeaderInjection("the unsubscribe link is not a plain http(s) address; check links.unsubscribe")
    unsubscribe = Header("List-Unsubscribe", machine=f"<{url}>")
    if not url.startswith("https://"):
        return (unsubscribe,)
    return (unsubscribe, Header("List-Unsubscribe-Post", machine="List-Unsubscribe=One-Click"))


class _Shared(NamedTuple):
    """What the headers say that all mails about one event through one server have in common."""

    mail_type: MailType
    product: str
    environment: str
    customer_id: int
    customer_name: str
    subject: str
    from_email: str
    reply_to_email: str | None
    job_id: int | None
    compliance_result_id: int | None
    trace_id: str | None
    language: str
    sender: str
    list_name: str
    severity: str


def _shared(facts: MailFacts, encoded: EncodedBody) -> _Shared:
    return _Shared(
        facts.mail_type,
        facts.product,
        facts.environment,
        facts.customer_id,
        facts.customer_name,
        facts.subject,
        facts.from_email,
        facts.reply_to_email,
        facts.job_id,
        facts.compliance_result_id,
        facts.trace_id,
        encoded.language,
        encoded.sender,
        encoded.list_name,
        encoded.severity,
    )


@lru_cache(maxsize=256)
def _shared_blocks(shared: _Shared) -> tuple[bytes, bytes]:
    """Return the header lines before and behind the personal ones."""
    return serialise(_first_headers(shared)), serialise(_last_headers(shared))


def _mime_block(boundary: str) -> bytes:
    """Return the headers that say how the body is made, and the blank line behind all headers."""
    content_type = f'multipart/alternative; boundary="{boundary}"'
    return (
        serialise((Header("MIME-Version", machine="1.0"), Header("Content-Type", machine=content_type)))
        + b"\r\n"
    )


def _first_headers(shared: _Shared) -> tuple[Header, ...]:
    sender = _cut(clean_header(shared.sender), _SENDER_LENGTH)
    reply_to = (Header("Reply-To", machine=mailbox(shared.reply_to_email)),) if shared.reply_to_email else ()
    return (
        Header("From", sender, f"<{mailbox(shared.from_email)}>", quoted=True),
        *reply_to,
        Header("Subject", clean_header(shared.subject)),
    )


def _last_headers(shared: _Shared) -> tuple[Header, ...]:
    domain = mailbox(shared.from_email).rpartition("@")[2]
    return (
        *_thread(shared, domain),
        Header("Auto-Submitted", machine="auto-generated"),
        Header("X-Auto-Response-Suppress", machine="All"),
        *_list(shared, domain),
        Header("Feedback-ID", machine=_feedback_id(shared)),
        *_filters(shared),
        Header("Content-Language", machine=shared.language),
    )


def _thread(shared: _Shared, domain: str) -> tuple[Header, ...]:
    """Every mail about a job names the same root, which no mail is."""
    if shared.job_id is not None:
        root = f"<job.{shared.customer_id}.{shared.job_id}@{domain}>"
    elif shared.compliance_result_id is not None:
        root = f"<compliance-result.{shared.customer_id}.{shared.compliance_result_id}@{domain}>"
    else:
        return ()
    return (Header("In-Reply-To", machine=root), Header("References", machine=root))


def _list(shared: _Shared, domain: str) -> tuple[Header, ...]:
    """List-Id (RFC 2919): one list per event type and customer."""
    if shared.mail_type == "test":
        return ()
    customer = _label(shared.customer_name) or f"customer-{shared.customer_id}"
    list_id = f"<{_label(shared.mail_type)}.{customer}.notify.{domain}>"
    return (Header("List-Id", clean_header(shared.list_name), list_id, quoted=True),)


def _feedback_id(shared: _Shared) -> str:
    """Groups only, never a value of one mail or one person."""
    sender = _label(shared.product).replace("-", "")
    shortest, longest = _SENDER_ID
    sender = (sender if len(sender) >= shortest else f"{sender}notifier")[:longest]
    return f"{shared.mail_type}:{shared.customer_id}:{_label(shared.environment) or 'none'}:{sender}"


def _filters(shared: _Shared) -> list[Header]:
    """X-{Product}-… for people's filter rules."""
    prefix = f"X-{'-'.join(part.capitalize() for part in _label(shared.product).split('-')) or 'Notifier'}"
    found = [Header(f"{prefix}-Event", machine=shared.mail_type)]
    if shared.job_id is not None:
        found.append(Header(f"{prefix}-Job", machine=str(shared.job_id)))
    if shared.compliance_result_id is not None:
        found.append(Header(f"{prefix}-Compliance-Result", machine=str(shared.compliance_result_id)))
    customer = clean_header(shared.customer_name) or str(shared.customer_id)
    found += (Header(f"{prefix}-Customer", customer), Header(f"{prefix}-Severity", machine=shared.severity))
    if shared.trace_id:
        found.append(Header(f"{prefix}-Trace-Id", machine=shared.trace_id))
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


def _sentence(text: str) -> bytes:
    """Encode what goes into a gap."""
    return _with_room(b"\r\n".join(map(_quoted_printable, text.splitlines())))


def _quoted_printable(line: str) -> bytes:
    """Encode a line: at most 76 octets before each soft break, a lone dot and blanks at its end encoded (RFC 2045 6.7).

    Raises HeaderInjection when it is more than one line.
    """
    return _known_line(line) if len(line) <= _REMEMBERED else _encoded_line(line)


def _encoded_line(line: str) -> bytes:
    if "\r" in line or "\n" in line:
        raise HeaderInjection("the mail has a bare CR or LF")
    encoded = binascii.b2a_qp(line.encode("utf-8"), istext=True).replace(b"\n", b"\r\n")  # its soft breaks
    # A dot alone after its own break, it overlooks.
    return encoded[:-1] + b"=2E" if encoded.endswith(_SOFT_BREAK + b".") else encoded


_known_line = lru_cache(maxsize=4096)(_encoded_line)  # nearly all lines of a page are the template's


def _with_room(encoded: bytes) -> bytes:
    """Break the last line before its last character where a soft break behind it would be the 77th octet."""
    if len(encoded) - encoded.rfind(b"\n") - 1 < _LINE_LENGTH:
        return encoded
    at = len(encoded) - (3 if encoded[-3:-2] == b"=" else 1)
    return encoded[:at] + _SOFT_BREAK + encoded[at:]


def _check_line_ends(data: bytes) -> None:
    pairs = data.count(b"\r\n")
    if data.count(b"\r") != pairs or data.count(b"\n") != pairs:
        raise HeaderInjection("the mail has a bare CR or LF")
