"""From job events to the rows they make: who gets a mail, with which subject, or why the event is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from notifier.domain import recipients
from notifier.domain.addresses import parse_mailbox
from notifier.domain.errors import InvalidAddress, InvalidEvent
from notifier.domain.events import UnknownEvent
from notifier.domain.identifiers import message_id
from notifier.domain.masking import mask_json
from notifier.rendering.site import Customer
from notifier.store import audience as audiences
from notifier.store import inbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from notifier.domain.events import JobEvent
    from notifier.domain.vocabulary import EventType, FailureReason, Role

Plan = inbox.NewEvent | InvalidEvent | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanningRules:
    """What planning needs of the settings.

    default_sender is the From address of the [smtp] section, None when it has no host or other transport.
    message_id_domain replaces the domain of the sender; fallback_domain is used where there is no sender at all.
    expire_after in seconds.
    """

    recipients: recipients.Rules
    expire_after: float
    default_sender: str | None
    message_id_domain: str | None
    fallback_domain: str


class Planner:
    """Plans the rows of a batch with a handful of queries, however many events it has.

    subject renders the subject of a stored document for a customer. new_uuid gives unique, time-ordered ids.
    """

    def __init__(
        self,
        *,
        rules: PlanningRules,
        subject: Callable[[Mapping[str, object], Customer], str],
        new_uuid: Callable[[], UUID],
    ) -> None:
        self._rules = rules
        self._subject = subject
        self._new_uuid = new_uuid

    def plan(self, connection: Connection, events: Mapping[int, JobEvent | UnknownEvent]) -> dict[int, Plan]:
        """Return, under the key of each event, its rows, why it is refused, or None: nothing to write (B14)."""
        if not events:
            return {}
        known = {key: event for key, event in events.items() if not isinstance(event, UnknownEvent)}
        audience = self._audience(connection, events.values(), list(known.values()))
        plans: dict[int, Plan] = {}
        candidates = dict(zip(known, audience.candidates, strict=True))
        for key, event in events.items():
            account = audience.accounts.get(event.customer_id) if event.customer_id is not None else None
            if isinstance(event, UnknownEvent):
                plans[key] = _ignored(event, account) if account is not None else None
            elif account is None:
                detail = f"there is no customer {event.customer_id}"
                plans[key] = InvalidEvent("unknown_customer", detail, event_id=event.id)
            else:
                counts = audience.counts.get(event.customer_id, {})
                plans[key] = self._planned(event, account, candidates[key], counts)
        return plans

    def _audience(
        self, connection: Connection, events: Iterable[JobEvent | UnknownEvent], known: Sequence[JobEvent]
    ) -> audiences.Audience:
        """Ask who might get mails about the known events; of the unknown ones, only for the customers."""
        questions = [
            audiences.Question(
                customer_id=event.customer_id, event_type=event.type, roles=self._default_roles(event.type)
            )
            for event in known
        ]
        return audiences.read(
            connection, {e.customer_id for e in events if e.customer_id is not None}, questions
        )

    def _default_roles(self, event_type: EventType) -> tuple[Role, ...]:
        return tuple(sorted(recipients.default_roles(self._rules.recipients, event_type)))

    def _planned(
        self,
        event: JobEvent,
        account: audiences.Account,
        candidates: Sequence[recipients.Candidate],
        counts: Mapping[str, int],
    ) -> inbox.NewEvent | InvalidEvent:
        """Choose the recipients of an event (docs/contract.md)."""
        try:
            selection = recipients.select(
                candidates,
                event_type=event.type,
                job_type=event.job_type,
                rules=self._rules.recipients,
                others=audiences.others(counts, candidates),
            )
        except InvalidEvent as fault:
            fault.event_id = event.id
            return fault
        return self._entry(event, account, selection)

    def _entry(
        self, event: JobEvent, account: audiences.Account, selection: recipients.Selection
    ) -> inbox.NewEvent:
        document = _masked(event)
        customer = Customer(
            id=account.customer_id, name=account.name, locale=account.locale, timezone=account.timezone
        )
        subject = self._subject(document, customer) if selection.recipients else ""
        return inbox.NewEvent(
            customer_id=event.customer_id,
            source=event.source,
            event_id=event.id,
            event_type=event.type,
            payload=document,
            payload_sha256=event.payload_sha256,
            occurred_at=event.time,
            outcome="accepted" if selection.recipients else "no_recipients",
            decisions=selection.as_json(),
            job_id=event.job_id,
            compliance_result_id=event.compliance_result_id,
            trace_id=event.trace_id,
            expire_after=self._rules.expire_after,
            mails=self._mails(selection.recipients, account, subject),
        )

    def _mails(
        self, chosen: Sequence[recipients.Recipient], account: audiences.Account, subject: str
    ) -> tuple[inbox.NewMail, ...]:
        domain = self._message_id_domain(account)
        return tuple(self._mail(one, account, subject, domain) for one in chosen)

    def _mail(
        self, recipient: recipients.Recipient, account: audiences.Account, subject: str, domain: str
    ) -> inbox.NewMail:
        reason, error = self._hopeless(recipient, account)
        return inbox.NewMail(
            user_id=recipient.user_id,
            recipient_email=recipient.address,
            recipient_key=recipient.recipient_key,
            rule=recipient.rule,
            subject=subject,
            message_id=message_id(self._new_uuid(), domain),
            failure_reason=reason,
            error=error or account.held_because,
        )

    def _message_id_domain(self, account: audiences.Account) -> str:
        """Return the domain of the sender, never the name of this machine."""
        if self._rules.message_id_domain:
            return self._rules.message_id_domain
        try:
            return parse_mailbox(account.from_email or self._rules.default_sender or "").domain
        except (
            InvalidAddress
        ):  # no server at all, or a sender that will end the mail with a reason of its own
            return self._rules.fallback_domain

    def _hopeless(
        self, recipient: recipients.Recipient, account: audiences.Account
    ) -> tuple[FailureReason | None, str | None]:
        """Say why a mail need not even be tried: its row is failed at once, so that the log shows it."""
        if recipient.problem is not None:
            return "invalid_recipient", recipient.problem
        if not account.enabled:
            return "smtp_disabled", "the customer's SMTP configuration is disabled; enable it to send mails"
        if account.server_id == 0 and self._rules.default_sender is None:
            return (
                "no_smtp_config",
                "the customer has no SMTP configuration and the [smtp] section names no host",
            )
        return None, None


def _ignored(event: UnknownEvent, account: audiences.Account) -> inbox.NewEvent:
    return inbox.NewEvent(
        customer_id=account.customer_id,
        source=event.source,
        event_id=event.id,
        event_type=event.type,
        payload=_masked(event),
        payload_sha256=event.payload_sha256,
        occurred_at=event.occurred_at,
        outcome="ignored",
        decisions={},
        job_id=None,
        compliance_result_id=None,
        trace_id=None,
        expire_after=0.0,
        mails=(),
    )


def _masked(event: JobEvent | UnknownEvent) -> dict[str, object]:
    """The document as it is stored and mailed: without the secrets that jobs print."""
    return cast("dict[str, object]", mask_json(event.document))
