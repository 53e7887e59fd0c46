"""The way of one broker message: decode, choose, write, settle. It is acked after its rows are committed (D1)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import structlog

from notifier.broker.messages import Settle
from notifier.domain import recipients
from notifier.domain.errors import DataRejected, InvalidEvent
from notifier.domain.events import UnknownEvent, decode
from notifier.domain.identifiers import message_id
from notifier.domain.masking import mask_json, mask_text
from notifier.domain.vocabulary import InboxOutcome
from notifier.rendering.site import Customer
from notifier.store import audience, inbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.engine import Connection, Engine

    from notifier.broker.messages import BrokerMessage
    from notifier.crashpoints import Crashpoint
    from notifier.domain.events import JobEvent
    from notifier.domain.vocabulary import FailureReason
    from notifier.metrics import Metrics

_HEAD = 4096  # bytes of a refused body that are kept

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeRules:
    """What the intake needs of the settings.

    default_sender is the From address of the [smtp] section, None when it has no host or other transport.
    message_id_domain replaces the domain of the sender; fallback_domain is used where there is no sender at all.
    expire_after in seconds.
    """

    recipients: recipients.Rules
    max_event_bytes: int
    expire_after: float
    default_sender: str | None
    message_id_domain: str | None
    fallback_domain: str


@dataclass(frozen=True, slots=True)
class _Rejection:
    message: BrokerMessage
    fault: InvalidEvent


@dataclass(frozen=True, slots=True)
class _Accepted:
    message: BrokerMessage
    event: JobEvent | UnknownEvent


_Item = _Rejection | _Accepted
Answer = InboxOutcome | Literal["duplicate"] | InvalidEvent


class Intake:
    """Turns batches of broker messages into rows; used by one thread.

    subject renders the subject of a stored document for a customer. new_uuid gives unique, time-ordered ids.
    on_new_mails is called after a commit that made mails due.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        rules: IntakeRules,
        subject: Callable[[Mapping[str, object], Customer], str],
        new_uuid: Callable[[], UUID],
        on_new_mails: Callable[[], None],
        metrics: Metrics,
        crashpoint: Crashpoint,
    ) -> None:
        self._engine = engine
        self._rules = rules
        self._subject = subject
        self._new_uuid = new_uuid
        self._on_new_mails = on_new_mails
        self._metrics = metrics
        self._crashpoint = crashpoint

    def handle(self, batch: Sequence[BrokerMessage]) -> list[Settle]:
        """Commit the batch and say how to settle each message.

        Raises DatabaseUnavailable when nothing was committed; the messages must then go back to the queue.
        """
        items = [self._decode(message) for message in batch]
        self._metrics.intake_batch(len(batch))
        try:
            answers = self._commit(items)
        except DataRejected:
            # One of them does not fit the schema. Alone, each shows whether it is the one.
            answers = [self._commit_alone(item) for item in items]
        self._crashpoint.at("after_commit")
        self._on_new_mails()
        return answers

    def probe(self) -> None:
        """Raise DatabaseUnavailable unless a batch could be committed now."""
        with self._engine.begin() as connection:
            inbox.probe(connection)

    def _decode(self, message: BrokerMessage) -> _Item:
        try:
            event = decode(
                message.body,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                headers=message.headers,
                max_bytes=self._rules.max_event_bytes,
            )
        except InvalidEvent as fault:
            return _Rejection(message, fault)
        self._crashpoint.on_event(event.id)
        return _Accepted(message, event)

    def _commit_alone(self, item: _Item) -> Settle:
        try:
            return self._commit([item])[0]
        except DataRejected as exc:
            event_id = item.event.id if isinstance(item, _Accepted) else item.fault.event_id
            fault = InvalidEvent("poison", str(exc), event_id=event_id)
            return self._commit([_Rejection(item.message, fault)])[0]

    def _commit(self, items: Sequence[_Item]) -> list[Settle]:
        with self._engine.begin() as connection:
            outcomes = self._write(connection, items)
        for item, outcome in zip(items, outcomes, strict=True):
            self._report(item, outcome)
        return [Settle.REJECT if isinstance(outcome, InvalidEvent) else Settle.ACK for outcome in outcomes]

    def _write(self, connection: Connection, items: Sequence[_Item]) -> list[Answer]:
        """Write every item; the answer is its outcome, or why it was refused."""
        outcomes: list[Answer] = [item.fault if isinstance(item, _Rejection) else "ignored" for item in items]
        planned = self._plan(connection, items, outcomes)
        answers = inbox.add(connection, list(planned.values()))
        for (position, entry), answer in zip(planned.items(), answers, strict=True):
            if answer == "conflict":
                detail = "another payload was accepted under the same customer_id, source and id"
                outcomes[position] = InvalidEvent("id_conflict", detail, event_id=entry.event_id)
            else:
                outcomes[position] = entry.outcome if answer == "stored" else "duplicate"
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, InvalidEvent):
                _note_rejection(connection, item.message, outcome)
        return outcomes

    def _plan(
        self, connection: Connection, items: Sequence[_Item], outcomes: list[Answer]
    ) -> dict[int, inbox.NewEvent]:
        """Make the rows of all events that can be accepted, by position; note in `outcomes` why others cannot."""
        events = {i: item.event for i, item in enumerate(items) if isinstance(item, _Accepted)}
        ids = {event.customer_id for event in events.values() if event.customer_id is not None}
        accounts = audience.accounts(connection, ids) if ids else {}
        planned: dict[int, inbox.NewEvent] = {}
        job_events: dict[int, JobEvent] = {}
        for position, event in events.items():
            account = accounts.get(event.customer_id) if event.customer_id is not None else None
            if isinstance(event, UnknownEvent):
                if account is not None:
                    planned[position] = _ignored(event, account)
            elif account is None:
                detail = f"there is no customer {event.customer_id}"
                outcomes[position] = InvalidEvent("unknown_customer", detail, event_id=event.id)
            else:
                job_events[position] = event
        for position, selection in self._select(connection, job_events).items():
            event = job_events[position]
            if isinstance(selection, InvalidEvent):
                outcomes[position] = selection
            else:
                planned[position] = self._entry(event, accounts[event.customer_id], selection)
        return dict(sorted(planned.items()))

    def _select(
        self, connection: Connection, events: Mapping[int, JobEvent]
    ) -> dict[int, recipients.Selection | InvalidEvent]:
        """Choose the recipients of each event (contract section 4)."""
        if not events:
            return {}
        rules = self._rules.recipients
        questions = [
            audience.Question(
                customer_id=event.customer_id,
                event_type=event.type,
                roles=tuple(sorted(recipients.default_roles(rules, event.type))),
            )
            for event in events.values()
        ]
        counts = audience.role_counts(connection, {q.customer_id for q in questions})
        found = audience.candidates(connection, questions)
        selections: dict[int, recipients.Selection | InvalidEvent] = {}
        for (position, event), candidates in zip(events.items(), found, strict=True):
            try:
                selections[position] = recipients.select(
                    candidates,
                    event_type=event.type,
                    job_type=event.job_type,
                    rules=rules,
                    others=audience.others(counts.get(event.customer_id, {}), candidates),
                )
            except InvalidEvent as fault:
                fault.event_id = event.id
                selections[position] = fault
        return selections

    def _entry(
        self, event: JobEvent, account: audience.Account, selection: recipients.Selection
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
            trace_id=event.traceparent.split("-")[1] if event.traceparent else None,
            expire_after=self._rules.expire_after,
            mails=tuple(self._mail(one, account, subject) for one in selection.recipients),
        )

    def _mail(
        self, recipient: recipients.Recipient, account: audience.Account, subject: str
    ) -> inbox.NewMail:
        sender = account.from_email or self._rules.default_sender
        domain = (
            self._rules.message_id_domain
            or (sender.rpartition("@")[2] if sender else "")
            or self._rules.fallback_domain
        )
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

    def _hopeless(
        self, recipient: recipients.Recipient, account: audience.Account
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

    def _report(self, item: _Item, outcome: Answer) -> None:
        if isinstance(outcome, InvalidEvent):
            self._metrics.event_rejected(outcome.reason)
            _log.warning(
                "event_rejected",
                reason=outcome.reason,
                detail=outcome.detail[:300],
                event_id=outcome.event_id,
                routing_key=item.message.routing_key[:200],
                redelivered=item.message.redelivered,
            )
        elif isinstance(item, _Accepted):
            event = item.event
            if outcome == "duplicate":
                self._metrics.event_duplicate()
            else:
                self._metrics.event_taken(event.type, outcome)
            _log.info(
                "event_taken",
                outcome=outcome,
                event_id=event.id,
                source=event.source,
                event_type=event.type,
                customer_id=event.customer_id,
                trace_id=_trace_id(event),
            )
            _warn_of_routing_key(item.message, event)


def _ignored(event: UnknownEvent, account: audience.Account) -> inbox.NewEvent:
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


def _note_rejection(connection: Connection, message: BrokerMessage, fault: InvalidEvent) -> None:
    head = mask_text(message.body[:_HEAD].decode("utf-8", "replace")).encode("utf-8", "replace")
    inbox.reject(
        connection,
        reason=fault.reason,
        detail=fault.detail,
        event_id=fault.event_id,
        body_sha256=hashlib.sha256(message.body).digest(),
        body_head=head[:_HEAD],
    )


def _trace_id(event: JobEvent | UnknownEvent) -> str | None:
    traceparent = None if isinstance(event, UnknownEvent) else event.traceparent
    return traceparent.split("-")[1] if traceparent else None


def _warn_of_routing_key(message: BrokerMessage, event: JobEvent | UnknownEvent) -> None:
    """The body decides; a routing key that names another type or customer is a publisher's mistake (B15)."""
    named, _, customer = message.routing_key.partition(".")
    if named != event.type or (customer and customer != str(event.customer_id)):
        _log.warning(
            "routing_key_contradicts_body",
            routing_key=message.routing_key[:200],
            event_type=event.type,
            customer_id=event.customer_id,
            event_id=event.id,
        )
