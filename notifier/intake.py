"""The way of one broker message: decode, choose, write, settle. It is acked after its rows are committed.

A batch is written by one statement, which is its own transaction: BEGIN and COMMIT would be two round trips. What is
refused is noted after that. Whoever dies in between gets the messages again, and finds the events known.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from notifier.broker.messages import Settle
from notifier.domain.errors import DataRejected, InvalidEvent
from notifier.domain.events import UnknownEvent, decode
from notifier.domain.masking import mask_json_source
from notifier.domain.vocabulary import InboxOutcome
from notifier.log import together
from notifier.store import inbox
from notifier.store.engine import OwnConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.engine import Connection, Engine

    from notifier.broker.messages import BrokerMessage
    from notifier.crashpoints import Crashpoint
    from notifier.domain.events import JobEvent
    from notifier.metrics import Metrics
    from notifier.planning import Planner
    from notifier.tracing import Tracer

_HEAD = 4096  # bytes of a refused body that are kept

_log = structlog.get_logger(__name__)


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

    on_new_mails is called after a commit that may have made mails due. It keeps a database connection until `close`.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        planner: Planner,
        max_event_bytes: int,
        on_new_mails: Callable[[], None],
        metrics: Metrics,
        tracer: Tracer,
        crashpoint: Crashpoint,
    ) -> None:
        self._database = OwnConnection(engine)
        self._planner = planner
        self._max_event_bytes = max_event_bytes
        self._on_new_mails = on_new_mails
        self._metrics = metrics
        self._tracer = tracer
        self._crashpoint = crashpoint

    def handle(self, batch: Sequence[BrokerMessage]) -> list[Settle]:
        """Commit the batch and say how to settle each message.

        Raises DatabaseUnavailable when not everything was committed. The messages must then go back to the queue; what
        was committed is a duplicate when they come again.
        """
        self._tracer.intake_began()
        items = [self._decode(message) for message in batch]
        self._metrics.intake_batch(len(batch))
        try:
            try:
                answers = self._commit(items)
            except DataRejected:
                # One of them does not fit the schema. Alone, each shows whether it is the one.
                answers = [self._commit_alone(item) for item in items]
            self._crashpoint.at("after_commit")
        finally:
            self._on_new_mails()  # of a batch that failed, a part may be written
        with together():
            for item, answer in zip(items, answers, strict=True):
                self._report(item, answer)
        return [Settle.REJECT if isinstance(answer, InvalidEvent) else Settle.ACK for answer in answers]

    def probe(self) -> None:
        """Raise DatabaseUnavailable unless a batch could be committed now."""
        self._database.run(inbox.probe)

    def close(self) -> None:
        """Give the database connection up; never raises."""
        self._database.close()

    def _decode(self, message: BrokerMessage) -> _Item:
        try:
            event = decode(
                message.body,
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                headers=message.headers,
                max_bytes=self._max_event_bytes,
            )
        except InvalidEvent as fault:
            return _Rejection(message, fault)
        self._crashpoint.on_event(event.id)
        return _Accepted(message, event)

    def _commit_alone(self, item: _Item) -> Answer:
        try:
            return self._commit([item])[0]
        except DataRejected as exc:
            event_id = item.event.id if isinstance(item, _Accepted) else item.fault.event_id
            fault = InvalidEvent("poison", str(exc), event_id=event_id)
            return self._commit([_Rejection(item.message, fault)])[0]

    def _commit(self, items: Sequence[_Item]) -> list[Answer]:
        return self._database.run(self._write, items)

    def _write(self, connection: Connection, items: Sequence[_Item]) -> list[Answer]:
        """Write every item; the answer is its outcome, or why it was refused."""
        outcomes: list[Answer] = [item.fault if isinstance(item, _Rejection) else "ignored" for item in items]
        events = {i: item.event for i, item in enumerate(items) if isinstance(item, _Accepted)}
        entries: dict[int, inbox.NewEvent] = {}
        for position, plan in self._planner.plan(connection, events).items():
            if isinstance(plan, InvalidEvent):
                outcomes[position] = plan
            elif plan is not None:
                entries[position] = plan
        answers = inbox.add(connection, list(entries.values()))
        for (position, entry), answer in zip(entries.items(), answers, strict=True):
            outcomes[position] = _outcome(entry, answer)
        refused = [
            _rejection(item.message, outcome)
            for item, outcome in zip(items, outcomes, strict=True)
            if isinstance(outcome, InvalidEvent)
        ]
        inbox.reject(connection, refused)
        return outcomes

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
            self._tracer.event_taken(event, outcome)
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


def _outcome(entry: inbox.NewEvent, answer: inbox.Stored) -> Answer:
    if answer == "conflict":
        detail = "another payload was accepted under the same customer_id, source and id"
        return InvalidEvent("id_conflict", detail, event_id=entry.event_id)
    return entry.outcome if answer == "stored" else "duplicate"


def _rejection(message: BrokerMessage, fault: InvalidEvent) -> inbox.Rejection:
    head = mask_json_source(message.body[:_HEAD].decode("utf-8", "replace")).encode("utf-8", "replace")
    return inbox.Rejection(
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
