"""The inbox: job events, the mails they make, the messages that were refused; within the caller's transaction."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from notifier.domain.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from notifier.domain.vocabulary import FailureReason, InboxOutcome, RejectionReason, Rule


@dataclass(frozen=True, kw_only=True, slots=True)
class NewMail:
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
        """What makes it the same event (D14)."""
        return (self.customer_id, self.source, self.event_id)


Stored = Literal["stored", "duplicate", "conflict"]

# Made once; json.dumps makes one per text. Payloads were parsed from a text, so they hold no cycle.
_json = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode

_INSERT_EVENTS = """
INSERT INTO job_events (customer_id, source, event_id, event_type, payload, payload_sha256, occurred_at, outcome,
    decisions)
SELECT * FROM unnest(%(customers)s::bigint[], %(sources)s::text[], %(ids)s::text[], %(types)s::text[],
    %(payloads)s::jsonb[], %(hashes)s::bytea[], %(times)s::timestamptz[], %(outcomes)s::text[], %(decisions)s::jsonb[])
ON CONFLICT ON CONSTRAINT uq_job_event DO NOTHING
RETURNING id, customer_id, source, event_id
"""

_KNOWN = """
SELECT j.customer_id, j.source, j.event_id, j.payload_sha256
FROM unnest(%(customers)s::bigint[], %(sources)s::text[], %(ids)s::text[]) AS k (customer_id, source, event_id)
JOIN job_events j USING (customer_id, source, event_id)
"""

_INSERT_MAILS = """
INSERT INTO notification_events (job_event_id, customer_id, user_id, recipient_email, recipient_key, event_type, rule,
    subject, status, failure_reason, error_message, job_id, compliance_result_id, message_id, expires_at, finished_at,
    trace_id)
SELECT m.job_event_id, m.customer_id, m.user_id, m.email, m.key, m.event_type, m.rule, m.subject,
    CASE WHEN m.reason IS NULL THEN 'pending' ELSE 'failed' END, m.reason, m.error, m.job_id, m.compliance_result_id,
    m.message_id, now() + m.expire_after * interval '1 second', CASE WHEN m.reason IS NOT NULL THEN now() END,
    m.trace_id
FROM unnest(%(events)s::bigint[], %(customers)s::bigint[], %(users)s::bigint[], %(emails)s::text[], %(keys)s::text[],
    %(types)s::text[], %(rules)s::text[], %(subjects)s::text[], %(reasons)s::text[], %(errors)s::text[],
    %(jobs)s::bigint[], %(results)s::bigint[], %(message_ids)s::text[], %(expire_after)s::float8[], %(traces)s::text[])
    AS m (job_event_id, customer_id, user_id, email, key, event_type, rule, subject, reason, error, job_id,
        compliance_result_id, message_id, expire_after, trace_id)
ON CONFLICT ON CONSTRAINT uq_notification DO NOTHING
"""

# Last in the transaction and in the order of customers (D30): a claim holds a lane for a moment, and whoever lowers it
# after that lowers what the claim left.
_WAKE_LANES = """
WITH lane AS (
    SELECT l.customer_id, greatest(now(), b.open_until) AS due
    FROM delivery_lanes l JOIN smtp_breakers b USING (server_id)
    WHERE l.customer_id = ANY(%(customers)s) ORDER BY l.customer_id FOR UPDATE OF l
)
UPDATE delivery_lanes l SET next_due_at = least(l.next_due_at, lane.due)
FROM lane WHERE l.customer_id = lane.customer_id
"""

_REJECT = """
INSERT INTO rejected_events (reason, detail, event_id, body_sha256, body_head)
VALUES (%(reason)s, %(detail)s, %(event_id)s, %(sha256)s, %(head)s)
"""

# A committed write, and the right to make the next ones: with a full disk, on a standby or after a lost GRANT a
# SELECT 1 would pass and the next batch fail (D8).
_PROBE_WRITE = """
UPDATE delivery_lanes SET next_due_at = next_due_at WHERE customer_id = (SELECT min(customer_id) FROM delivery_lanes)
"""
_PROBE_RIGHTS = """
SELECT bool_and(has_table_privilege(t, 'INSERT'))
FROM unnest(ARRAY['job_events', 'notification_events', 'rejected_events']) AS t
"""


def add(connection: Connection, events: Sequence[NewEvent]) -> list[Stored]:
    """Write events with their mails; the answer tells, per event: new, known, or known with other content.

    Rows are written in the order of their identity, so that two workers with the same events wait for each other
    instead of deadlocking. Raises DataRejected when a value does not fit the schema.
    """
    order = sorted(range(len(events)), key=lambda i: events[i].identity)
    inserted = _insert_events(connection, [events[i] for i in order])
    new: dict[int, int] = {}  # position -> job_events.id
    for i in order:
        row_id = inserted.pop(events[i].identity, None)
        if row_id is not None:
            new[i] = row_id
    answers: list[Stored] = ["stored"] * len(events)
    repeated = [i for i in range(len(events)) if i not in new]
    if repeated:
        known = _known_hashes(connection, [events[i] for i in repeated])
        for i in repeated:
            same = known[events[i].identity] == events[i].payload_sha256
            answers[i] = "duplicate" if same else "conflict"
    _insert_mails(connection, [(row_id, events[i]) for i, row_id in sorted(new.items())])
    return answers


def _identities(events: Sequence[NewEvent]) -> dict[str, object]:
    return {
        "customers": [e.customer_id for e in events],
        "sources": [e.source for e in events],
        "ids": [e.event_id for e in events],
    }


def _insert_events(connection: Connection, events: Sequence[NewEvent]) -> dict[tuple[int, str, str], int]:
    parameters = {
        **_identities(events),
        "types": [e.event_type for e in events],
        "payloads": [_json(e.payload) for e in events],
        "hashes": [e.payload_sha256 for e in events],
        "times": [e.occurred_at for e in events],
        "outcomes": [e.outcome for e in events],
        "decisions": [_json(e.decisions) for e in events],
    }
    rows = connection.exec_driver_sql(_INSERT_EVENTS, parameters)
    return {(row.customer_id, row.source, row.event_id): row.id for row in rows}


def _known_hashes(connection: Connection, events: Sequence[NewEvent]) -> dict[tuple[int, str, str], bytes]:
    rows = connection.exec_driver_sql(_KNOWN, _identities(events))
    return {(r.customer_id, r.source, r.event_id): bytes(r.payload_sha256) for r in rows}


def _insert_mails(connection: Connection, events: Sequence[tuple[int, NewEvent]]) -> None:
    rows = [(row_id, event, mail) for row_id, event in events for mail in event.mails]
    if not rows:
        return
    parameters = {
        "events": [row_id for row_id, _, _ in rows],
        "customers": [e.customer_id for _, e, _ in rows],
        "users": [m.user_id for _, _, m in rows],
        "emails": [m.recipient_email for _, _, m in rows],
        "keys": [m.recipient_key for _, _, m in rows],
        "types": [e.event_type for _, e, _ in rows],
        "rules": [m.rule for _, _, m in rows],
        "subjects": [m.subject for _, _, m in rows],
        "reasons": [m.failure_reason for _, _, m in rows],
        "errors": [m.error for _, _, m in rows],
        "jobs": [e.job_id for _, e, _ in rows],
        "results": [e.compliance_result_id for _, e, _ in rows],
        "message_ids": [m.message_id for _, _, m in rows],
        "expire_after": [e.expire_after for _, e, _ in rows],
        "traces": [e.trace_id for _, e, _ in rows],
    }
    connection.exec_driver_sql(_INSERT_MAILS, parameters)
    connection.exec_driver_sql(_WAKE_LANES, {"customers": sorted({e.customer_id for _, e, _ in rows})})


def reject(
    connection: Connection,
    *,
    reason: RejectionReason,
    detail: str,
    event_id: str | None,
    body_sha256: bytes,
    body_head: bytes,
) -> None:
    """Note a broker message that goes to the dead-letter queue. body_head: at most 4096 bytes, secrets masked."""
    connection.exec_driver_sql(
        _REJECT,
        {
            "reason": reason,
            "detail": detail.replace("\0", "\ufffd")[:2000],
            "event_id": event_id.replace("\0", "\ufffd")[:200] if event_id else None,
            "sha256": body_sha256,
            "head": body_head[:4096],
        },
    )


def probe(connection: Connection) -> None:
    """Make a write as the intake would; raises DatabaseUnavailable while that is not possible."""
    connection.exec_driver_sql(_PROBE_WRITE)
    if not connection.exec_driver_sql(_PROBE_RIGHTS).scalar():
        raise DatabaseUnavailable("database: this role may not insert into the inbox; apply roles.sql again")
