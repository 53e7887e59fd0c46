"""Every header of a mail but the MIME ones (docs/contract.md, RFC 5322, 2369, 2919, 3834, 8058)."""

from __future__ import annotations

import re
import unicodedata
from email.utils import format_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from notifier.domain.errors import HeaderInjection
from notifier.domain.headers import Header, clean_header, mailbox, serialise

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from notifier.domain.bodies import EncodedBody
    from notifier.domain.vocabulary import MailType, Rule

_SENDER_LENGTH = 64
_LABEL_LENGTH = 25  # keeps List-Id on a line of 78 characters with most domains
_SENDER_ID = (5, 15)  # shortest and longest sender id of a Feedback-ID
_URL = re.compile(r"https?://[!-;=?-~]+")  # printable ASCII without the angle brackets and the blank


class MailFacts(
    NamedTuple
):  # made for every mail: a frozen dataclass of so many fields costs ten times as much
    """What one mail needs beside its body: the log row, its event and its server.

    `message_id` has its angle brackets and was stored with the row. `date` has an offset. `rule` chooses one of
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


def head(facts: MailFacts, encoded: EncodedBody, unsubscribe_url: str | None) -> bytes:
    """Return every header but the MIME ones, as lines; what all mails of an event have in common is made once."""
    first, last = _shared_blocks(_shared(facts, encoded))
    return b"".join((first, serialise(_personal_headers(facts, unsubscribe_url)), last))


def _personal_headers(facts: MailFacts, url: str | None) -> tuple[Header, ...]:
    """Return the headers that no two mails have in common."""
    found = (
        Header("To", machine=mailbox(facts.to_address)),
        Header("Date", machine=_date(facts.date.replace(microsecond=0), facts.date.utcoffset())),
        Header("Message-ID", machine=facts.message_id),
    )
    if facts.mail_type == "test":
        return (*found, Header("X-Entity-Ref-ID", machine=facts.message_id))  # a test mail never threads
    return found if url is None else (*found, *_unsubscribe(url))


@lru_cache(maxsize=8)  # many mails leave within a second
def _date(second: datetime, _offset: timedelta | None) -> str:
    """Return the text of a time; times of several zones are equal, their texts are not."""
    return format_datetime(second)


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


@lru_cache(maxsize=1024)
def _label(name: str) -> str:
    """Return the ASCII letters, digits and hyphens of a name: `Acme Nörd` -> `acme-nord`; maybe nothing."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:_LABEL_LENGTH].strip("-")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3].rstrip() + "..."
