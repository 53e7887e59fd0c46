"""The inbox: job events, the mails they make, the messages that were refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from notifier.domain.errors import DatabaseUnavailable
from notifier.store import completeness
from notifier.store.engine import plain_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from notifier.domain.vocabulary import FailureReason, InboxOutcome, RejectionReason, Rule


class NewMail(NamedTuple):
    """A row of the event log to be written. failure_reason set: it ends as failed at once, with error as the text.

    A pending mail may carry an error too: the fault of its server, whose breaker is open.
    """

    user_id: int
    recipient_email: str
    recipient_key: str
    rule: Rule
    subject: str
    message_id: str
    failure_reason: FailureReason | None
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """A job event to be written with its mails. payload is JSON without secrets, payload_sha256 of the original."""

    customer_id: int
    source: str
    event_id: str
    event_type: str
    payload: Mapping[str, object]
    payload_sha256: bytes
    occurred_at: datetime | None
    outcome: InboxOutcome
    decisions: Mapping[str, object]
    job_id: int | None
    compliance_result_id: int | None
    trace_id: str | None
    expire_after: float
    mails: tuple[NewMail, ...]

    @property
    def identity(self) -> tuple[int, str, str]:
        """What makes it the same event."""
        return (self.customer_id, self.source, self.event_id)


class Rejection(NamedTuple):
    """A broker message that goes to the dead-letter queue. body_head: at most 4096 bytes, secrets masked."""

    reason: RejectionReason
    detail: str
    event_id: str | None
    body_sha256: bytes
    body_head: bytes


Stored = Literal["stored", "duplicate", "conflict"]

# Made once; json.dumps makes one per text. Payloads were parsed from a text, so they hold no cycle.
_json = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode

_TAKE_IN = "SELECT * FROM take_in(%(events)s::json)"

_REJECT = """
INSERT INTO rejected_events (reason, detail, event_id, body_sha256, body_head)
SELECT * FROM unnest(%(reasons)s::text[], %(details)s::text[], %(event_ids)s::text[], %(sha256s)s::bytea[],
    %(heads)s::bytea[])
"""

# A committed write, and the right to make the next ones: with a full disk, on a standby or after a lost GRANT a
# SELECT 1 would pass and the next batch fail.
_PROBE_WRITE = """
UPDATE delivery_lanes SET next_due_at = next_due_at
WHERE customer_id = (SELECT customer_id FROM delivery_lanes ORDER BY customer_id LIMIT 1 FOR UPDATE SKIP LOCKED)
"""
_PROBE_RIGHTS = """
SELECT bool_and(has_table_privilege(t, 'INSERT'))
FROM unnest(ARRAY['job_events', 'notification_events', 'rejected_events']) AS t
"""


def add(connection: Connection, events: Sequence[NewEvent]) -> list[Stored]:
    """Write events with their mails; the answer tells, per event: new, known, or known with other content.

    Raises DataRejected when a value does not fit the schema.
    """
    answers: dict[int, Stored] = {}
    left = list(range(len(events)))
    while left:
        # Of several with one identity the first goes first: the others are known then.
        chosen = {events[place].identity: place for place in reversed(left)}.values()
        answers |= _take_in(connection, {place: events[place] for place in sorted(chosen)})
        left = [place for place in left if place not in answers]
    return [answers[place] for place in range(len(events))]


def _take_in(connection: Connection, events: Mapping[int, NewEvent]) -> dict[int, Stored]:
    written = _json([{"place": place, **_as_json(event)} for place, event in events.items()])
    answers: dict[int, Stored] = dict.fromkeys(events, "stored")
    for place, same in plain_rows(connection, _TAKE_IN, {"events": written}):
        answers[place] = "duplicate" if same else "conflict"
    return answers


def _as_json(event: NewEvent) -> dict[str, object]:
    return {
        "customer_id": event.customer_id,
        "source": event.source,
        "event_id": event.event_id,
        "event_type": event.event_type,
        "payload": event.payload,
        "payload_sha256": event.payload_sha256.hex(),
        "occurred_at": event.occurred_at.isoformat() if event.occurred_at else None,
        "outcome": event.outcome,
        "decisions": event.decisions,
        "job_id": event.job_id,
        "compliance_result_id": event.compliance_result_id,
        "trace_id": event.trace_id,
        "expire_after": event.expire_after,
        "mails": [mail._asdict() for mail in event.mails],
    }


def reject(connection: Connection, rejections: Sequence[Rejection]) -> None:
    """Note broker messages that go to the dead-letter queue, all or none."""
    if not rejections:
        return
    connection.exec_driver_sql(
        _REJECT,
        {
            "reasons": [one.reason for one in rejections],
            "details": [one.detail.replace("\0", "\ufffd")[:2000] for one in rejections],
            "event_ids": [one.event_id and one.event_id.replace("\0", "\ufffd")[:200] for one in rejections],
            "sha256s": [one.body_sha256 for one in rejections],
            "heads": [one.body_head[:4096] for one in rejections],
        },
    )


def probe(connection: Connection) -> None:
    """Make a write as the intake would; raises DatabaseUnavailable while that is not possible."""
    if damage := completeness.damage(connection):
        raise damage
    connection.exec_driver_sql(_PROBE_WRITE)
    if not connection.exec_driver_sql(_PROBE_RIGHTS).scalar():
        raise DatabaseUnavailable("database: this role may not insert into the inbox; apply roles.sql again")
