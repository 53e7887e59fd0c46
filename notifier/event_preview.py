"""The mail of an event as one reader would get it, made on the very way of a real one, and not sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import SMTP
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from notifier.domain.addresses import parse_mailbox
from notifier.domain.errors import InvalidAddress, NotFound
from notifier.domain.identifiers import message_id
from notifier.domain.recipients import decide, select
from notifier.domain.servers import DEFAULT_SERVER_ID, SmtpServer
from notifier.rendering.site import Customer
from notifier.routes import server_of
from notifier.store import audience, people, smtp_configs
from notifier.store.claims import Batch, Mail

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from email.message import EmailMessage

    from sqlalchemy.engine import Connection

    from notifier.composing import Composer
    from notifier.domain.event_models import JobEvent
    from notifier.domain.recipients import Rules
    from notifier.domain.vocabulary import Rule
    from notifier.rendering.renderer import Renderer

Format = Literal["html", "text", "eml", "subject"]

SAMPLE_CUSTOMER = "Sample customer"
SAMPLE_ADDRESS = "recipient@example.com"
_NOBODY = UUID(int=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipient:
    """Whom the preview is for. `rule` is what the mail's footer speaks of."""

    address: str
    rule: Rule
    timezone: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """Who sends to whom. `remarks`: what a person must know to read the preview rightly."""

    customer: Customer
    recipient: Recipient
    sender: SmtpServer
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """One mail in all its forms."""

    subject: str
    text: str
    html: str
    eml: bytes
    remarks: tuple[str, ...]

    def form(self, wanted: Format) -> bytes:
        """Return one form as it is written to a file."""
        if wanted == "eml":
            return self.eml
        text = {"html": self.html, "text": self.text, "subject": f"{self.subject}\n"}[wanted]
        return text.encode()


def sample_situation(customer_id: int, sender: SmtpServer | None, *, why: str) -> Situation:
    """Return a made-up customer and reader, for a template that is looked at without a database."""
    return Situation(
        customer=Customer(id=customer_id, name=SAMPLE_CUSTOMER),
        recipient=Recipient(address=SAMPLE_ADDRESS, rule="role_default", timezone=None),
        sender=sender or _sample_sender(),
        remarks=(f"{why}; so the names and the sender are made up",),
    )


def situation(
    connection: Connection,
    event: JobEvent,
    *,
    rules: Rules,
    default: SmtpServer | None,
    customer_id: int | None,
    user_id: int | None,
) -> Situation:
    """Return customer, reader and sender: the ones asked for, else the event's customer and its first recipient.

    Raises NotFound for an unknown customer or user.
    """
    wanted = customer_id or event.customer_id
    account = audience.accounts(connection, [wanted]).get(wanted)
    if account is None:
        msg = f"there is no customer {wanted}; the platform writes the table customers"
        raise NotFound(msg)
    recipient, remarks = _recipient(connection, event, wanted, rules, user_id)
    return Situation(
        customer=Customer(
            id=account.customer_id, name=account.name, locale=account.locale, timezone=account.timezone
        ),
        recipient=recipient,
        sender=_sender(connection, wanted) or default or _sample_sender(),
        remarks=remarks,
    )


def _recipient(
    connection: Connection, event: JobEvent, customer_id: int, rules: Rules, user_id: int | None
) -> tuple[Recipient, tuple[str, ...]]:
    candidates = audience.everyone(
        connection, customer_id=customer_id, event_type=event.type, user_id=user_id
    )
    if user_id is None:
        chosen = select(
            candidates, event_type=event.type, job_type=event.job_type, rules=rules, others={}
        ).recipients
        if not chosen:
            sample = Recipient(address=SAMPLE_ADDRESS, rule="role_default", timezone=None)
            return sample, (f"nobody would get this mail: {SAMPLE_ADDRESS} is made up",)
        first = chosen[0]
        zone = people.get(connection, first.user_id).timezone
        return Recipient(address=first.address, rule=first.rule, timezone=zone), ()
    user = people.get(connection, user_id)
    decision = decide(candidates[0], event_type=event.type, job_type=event.job_type, rules=rules)
    if decision.selected and decision.address:
        return Recipient(address=decision.address, rule=decision.rule, timezone=user.timezone), ()
    remark = f"{user.username} would not get this mail ({decision.rule}); notifier explain says why"
    recipient = Recipient(address=user.email or SAMPLE_ADDRESS, rule="role_default", timezone=user.timezone)
    return recipient, (remark,)


def _sender(connection: Connection, customer_id: int) -> SmtpServer | None:
    """Return the customer's own server as a sender: no password is needed to look."""
    stored = smtp_configs.of_customer(connection, customer_id)
    return None if stored is None else server_of(stored, password=None)


def _sample_sender() -> SmtpServer:
    return SmtpServer(
        server_id=DEFAULT_SERVER_ID,
        version="",
        host="smtp.example.com",
        port=587,
        use_tls=True,
        use_ssl=False,
        username=None,
        password=None,
        from_email="notifier@example.com",
        reply_to_email=None,
    )


def preview(
    event: JobEvent,
    document: Mapping[str, object],
    there: Situation,
    *,
    renderer: Renderer,
    composer: Composer,
    now: datetime,
) -> Preview:
    """Return the mail. Raises SmtpFault in phase prepare when it cannot be made."""
    customer, recipient = there.customer, there.recipient
    mail = Mail(
        id=0,
        job_event_id=0,
        customer_id=customer.id,
        attempts=0,
        ambiguous_count=0,
        recipient_email=recipient.address,
        recipient_key=_key(recipient.address),
        event_type=event.type,
        rule=recipient.rule,
        subject=renderer.subject(document, customer),
        message_id=message_id(_NOBODY, there.sender.from_email.rpartition("@")[2]),
        job_id=event.job_id,
        compliance_result_id=event.compliance_result_id,
        reader_timezone=recipient.timezone,
        created_at=now,
        trace_id=event.trace_id,
    )
    batch = Batch(
        token=_NOBODY,
        server_id=there.sender.server_id,
        config_version=None,
        proven=True,
        needs_success=False,
        more=False,
        customer_id=customer.id,
        customer_name=customer.name,
        locale=customer.locale,
        timezone=customer.timezone,
        mails=(mail,),
        documents={mail.job_event_id: json.dumps(document)},
    )
    composed = composer.compose(mail, batch, there.sender)
    message = message_from_bytes(composed.data, policy=SMTP)
    return Preview(
        subject=mail.subject,
        text=_part(message, "plain"),
        html=_part(message, "html"),
        eml=composed.data,
        remarks=there.remarks + ((composed.note,) if composed.note else ()),
    )


def _key(address: str) -> str:
    try:
        return parse_mailbox(address).key
    except InvalidAddress:
        return address


def _part(message: EmailMessage, subtype: Literal["plain", "html"]) -> str:
    part = message.get_body((subtype,))
    return str(part.get_content()).replace("\r\n", "\n") if part is not None else ""
