"""The way of one broker message: decode, choose, write, settle. It is acked after its rows are committed.

A batch is written by one statement, which is its own transaction: BEGIN and COMMIT would be two round trips. What is
refused is noted after that. Whoever dies in between gets the messages again, and finds the events known.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from notifier.broker.messages import Settle
from notifier.domain.errors import DataRejected, InvalidEvent, RowsUnavailable
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
_BLOCKED = 4.0  # seconds in which a customer who could not be written is not tried again
_ONE_BY_ONE = 15.0  # seconds for the messages of a batch; the main loop is to go round
_OUTAGE = 3  # customers of whom none can be written

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
Answer = InboxOutcome | Literal["duplicate", "later"] | InvalidEvent


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = OwnConnection(engine)
        self._planner = planner
        self._max_event_bytes = max_event_bytes
        self._on_new_mails = on_new_mails
        self._metrics = metrics
        self._tracer = tracer
        self._crashpoint = crashpoint
        self._clock = clock
        # Customers who could not be written, and when they are tried again.
        self._blocked: dict[int | None, float] = {}

    def handle(self, batch: Sequence[BrokerMessage]) -> list[Settle]:
        """Commit the batch and say how to settle each message.

        Those of a customer whose rows cannot be written now, being locked or damaged, are put off: no other waits.
        Raises DatabaseUnavailable when nothing can be written. The messages must then go back to the queue; what was
        committed is a duplicate when they come again.
        """
        self._tracer.intake_began()
        items = [self._decode(message) for message in batch]
        self._metrics.intake_batch(len(batch))
        try:
            answers = self._answers(items)
            self._crashpoint.at("after_commit")
        finally:
            self._on_new_mails()  # of a batch that failed, a part may be written
        with together():
            for item, answer in zip(items, answers, strict=True):
                self._report(item, answer)
        return [_settle(answer) for answer in answers]

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

    def _answers(self, items: Sequence[_Item]) -> list[Answer]:
        """Commit what can be; what cannot be written now is for later, and holds up nothing else."""
        answers: dict[int, Answer] = {}
        jointly = [place for place, item in enumerate(items) if _customer(item) not in self._blocked]
        if len(jointly) > 1:
            # Where one does not fit the schema, or cannot be written, each of them alone shows whether it is the one.
            with suppress(DataRejected, RowsUnavailable):
                committed = self._commit([items[place] for place in jointly])
                answers = dict(zip(jointly, committed, strict=True))
        left = [place for place in range(len(items)) if place not in answers]
        answers |= zip(left, self._one_by_one([items[place] for place in left]), strict=True)
        return [answers[place] for place in range(len(items))]

    def _one_by_one(self, items: Sequence[_Item]) -> list[Answer]:
        ends = self._clock() + _ONE_BY_ONE
        answers: list[Answer] = []
        faults: list[RowsUnavailable] = []
        for item in items:
            customer = _customer(item)
            if self._clock() > ends or self._clock() < self._blocked.get(customer, 0.0):
                answers.append("later")
                continue
            try:
                answers.append(self._commit_alone(item))
                self._blocked.pop(customer, None)
            except RowsUnavailable as exc:
                answers.append("later")
                faults.append(exc)
                self._blocked[customer] = self._clock() + _BLOCKED
                _log.warning("customer_cannot_be_written", customer_id=customer, error=str(exc))
        if len(faults) >= _OUTAGE and all(answer == "later" for answer in answers):
            raise faults[-1]  # it is not about their rows
        return answers

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
        if outcome == "later":
            return
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
                trace_id=None if isinstance(event, UnknownEvent) else event.trace_id,
            )
            _warn_of_routing_key(item.message, event)


def _settle(answer: Answer) -> Settle:
    if answer == "later":
        return Settle.LATER
    return Settle.REJECT if isinstance(answer, InvalidEvent) else Settle.ACK


def _customer(item: _Item) -> int | None:
    return item.event.customer_id if isinstance(item, _Accepted) else None


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


def _warn_of_routing_key(message: BrokerMessage, event: JobEvent | UnknownEvent) -> None:
    """The body decides; a routing key that names another type or customer is a publisher's mistake (B15).

    Without an exchange the routing key is the queue's name: so comes a dead letter that is replayed.
    """
    if not message.exchange:
        return
    named, _, customer = message.routing_key.partition(".")
    if named != event.type or (customer and customer != str(event.customer_id)):
        _log.warning(
            "routing_key_contradicts_body",
            routing_key=message.routing_key[:200],
            event_type=event.type,
            customer_id=event.customer_id,
            event_id=event.id,
        )
