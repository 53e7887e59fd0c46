"""Claim, stamp, record, release: the four statements of one batch (D15, D30; each is one round trip).

The clock is the database's (D33). `token` fences every later statement: rows that another worker took back since
are not touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from notifier.domain.outcomes import Settlement
    from notifier.domain.vocabulary import EventType, Rule


class Mail(NamedTuple):
    """One claimed row of the event log with what its mail needs."""

    id: int
    job_event_id: int
    customer_id: int
    attempts: int
    ambiguous_count: int
    recipient_email: str
    recipient_key: str
    event_type: EventType
    rule: Rule
    subject: str
    message_id: str
    job_id: int | None
    compliance_result_id: int | None
    reader_timezone: str | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """The claimed mails of one customer, all for one server.

    documents holds the CloudEvent of each job event. config_version is None when the customer has no server of its
    own, and changes with every change of it. proven: the server had a success since its last fault. needs_success:
    the breaker remembers a fault that a success clears.
    """

    token: UUID
    server_id: int
    config_version: str | None
    proven: bool
    needs_success: bool
    customer_id: int
    customer_name: str
    locale: str
    timezone: str
    mails: tuple[Mail, ...]
    documents: Mapping[int, Mapping[str, object]]


_CLAIM = """
SELECT * FROM claim_batch(%(token)s::uuid, %(worker)s, %(lease)s * interval '1 second', %(limit)s, %(connections)s,
    %(unproven)s, %(alone)s, %(slow)s::jsonb)
"""

_CLAIMABLE = """
SELECT EXISTS (
    SELECT FROM delivery_lanes l JOIN smtp_breakers b ON b.server_id = l.server_id
    WHERE l.next_due_at <= now() AND b.open_until <= now() AND (b.proven OR %(unproven)s)
      AND coalesce((%(slow)s::jsonb ->> l.server_id::text)::integer, 1) > 0
      AND (SELECT count(DISTINCT n.lock_token) FROM notification_events n
           WHERE n.server_id = l.server_id AND n.lock_token IS NOT NULL)
          < CASE WHEN b.proven THEN %(connections)s ELSE 1 END)
"""

_RELEASE = """
WITH done AS (
    UPDATE notification_events SET lock_token = NULL, locked_by = NULL, lease_until = NULL
    WHERE lock_token = %(token)s::uuid AND handoff_at IS NULL AND status = 'pending'
    RETURNING customer_id
)
UPDATE delivery_lanes l SET next_due_at = least(l.next_due_at, greatest(now(), b.open_until))
FROM (SELECT DISTINCT customer_id FROM done) d, smtp_breakers b
WHERE l.customer_id = d.customer_id AND b.server_id = l.server_id
"""

_STAMP = """
UPDATE notification_events
SET handoff_at = now(), lease_until = now() + %(lease)s * interval '1 second', attempts = attempts + 1
WHERE id = ANY(%(ids)s) AND lock_token = %(token)s::uuid AND status = 'pending' AND lease_until > now()
RETURNING id
"""

# Fenced by the token alone: a result that comes after the lease, but before anybody took the row back, is still true.
_RECORD = """
WITH verdict AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(statuses)s::text[], %(reasons)s::text[], %(delays)s::float8[],
        %(messages)s::text[], %(codes)s::int[], %(enhanced)s::text[], %(responses)s::text[], %(kept)s::int[],
        %(ambiguous)s::int[], %(expiry_reasons)s::text[], %(notes)s::text[])
        AS v (id, status, reason, delay, message, code, enhanced, response, attempt, ambiguous, expiry_reason, note)
), done AS (
    UPDATE notification_events n
    SET status = v.status, failure_reason = v.reason,
        error_message = CASE WHEN v.status = 'pending' THEN coalesce(v.message, n.error_message) ELSE v.message END,
        expiry_reason = v.expiry_reason,
        note = coalesce(v.note, n.note),
        smtp_code = coalesce(v.code, n.smtp_code),
        smtp_enhanced_code = CASE WHEN v.code IS NULL THEN n.smtp_enhanced_code ELSE v.enhanced END,
        smtp_response = CASE WHEN v.code IS NULL THEN n.smtp_response ELSE v.response END,
        attempts = n.attempts + CASE WHEN n.handoff_at IS NULL THEN 0 ELSE v.attempt END,
        ambiguous_count = n.ambiguous_count + v.ambiguous,
        next_attempt_at = CASE WHEN v.status = 'pending' THEN now() + v.delay * interval '1 second'
                               ELSE n.next_attempt_at END,
        sent_at = CASE WHEN v.status = 'sent' THEN now() END,
        finished_at = CASE WHEN v.status <> 'pending' THEN now() END,
        lock_token = NULL, locked_by = NULL, lease_until = NULL, handoff_at = NULL
    FROM verdict v
    WHERE n.id = v.id AND n.lock_token = %(token)s::uuid AND n.status = 'pending'
    RETURNING n.id, n.customer_id, n.status, n.next_attempt_at
), lane AS (
    UPDATE delivery_lanes l SET next_due_at = least(l.next_due_at, greatest(d.due, b.open_until))
    FROM (SELECT customer_id, min(next_attempt_at) AS due FROM done WHERE status = 'pending' GROUP BY 1) d,
        smtp_breakers b
    WHERE l.customer_id = d.customer_id AND b.server_id = l.server_id
)
SELECT id FROM done
"""

_CODES = range(200, 600)  # what an SMTP reply may be (RFC 5321 4.2)


def claim(
    connection: Connection,
    *,
    token: UUID,
    worker: str,
    lease: float,
    limit: int,
    connections: int,
    unproven: bool,
    alone: bool,
    slow: str,
) -> Batch | None:
    """Take the lane that waited longest and lock its due mails for `lease` seconds; None when no lane could be had.

    connections caps the batches of one proven server over all workers; unproven says whether a server without a
    success since its last fault may be taken; alone makes every batch one mail; slow is JSON {"server_id": rows},
    0 to leave a server out.
    """
    rows = connection.exec_driver_sql(
        _CLAIM,
        {
            "token": str(token),
            "worker": worker,
            "lease": lease,
            "limit": limit,
            "connections": connections,
            "unproven": unproven,
            "alone": alone,
            "slow": slow,
        },
    ).all()
    if not rows:
        return None
    first = rows[0]
    return Batch(
        token=token,
        server_id=first.server_id,
        config_version=first.config_version,
        proven=first.proven,
        needs_success=first.needs_success,
        customer_id=first.customer_id,
        customer_name=first.customer_name,
        locale=first.locale,
        timezone=first.customer_timezone,
        mails=tuple(_mail(row) for row in sorted(rows, key=lambda row: int(row.id))),
        documents={row.job_event_id: row.payload for row in rows if row.payload is not None},
    )


def _mail(row: Any) -> Mail:  # noqa: ANN401 - a driver row has no static type
    return Mail(
        id=row.id,
        job_event_id=row.job_event_id,
        customer_id=row.customer_id,
        attempts=row.attempts,
        ambiguous_count=row.ambiguous_count,
        recipient_email=row.recipient_email,
        recipient_key=row.recipient_key,
        event_type=row.event_type,
        rule=row.rule,
        subject=row.subject,
        message_id=row.message_id,
        job_id=row.job_id,
        compliance_result_id=row.compliance_result_id,
        reader_timezone=row.reader_timezone,
        created_at=row.created_at,
    )


def claimable(connection: Connection, *, connections: int, unproven: bool, slow: str) -> bool:
    """Tell whether a lane waits that a claim could have had, were it not locked by another claim just now (D30)."""
    parameters = {"connections": connections, "unproven": unproven, "slow": slow}
    return bool(connection.exec_driver_sql(_CLAIMABLE, parameters).scalar_one())


def release(connection: Connection, *, token: UUID) -> int:
    """Free a batch that was never stamped; for a claim whose answer was lost with the connection."""
    return int(connection.exec_driver_sql(_RELEASE, {"token": str(token)}).rowcount)


def stamp(connection: Connection, *, token: UUID, ids: Sequence[int], lease: float) -> frozenset[int]:
    """Commit that these mails may now leave, and count an attempt. Only the ids returned are still ours to send."""
    parameters = {"token": str(token), "ids": list(ids), "lease": lease}
    return frozenset(row[0] for row in connection.exec_driver_sql(_STAMP, parameters))


def record(
    connection: Connection,
    *,
    token: UUID,
    settlements: Mapping[int, Settlement],
    notes: Mapping[int, str],
) -> frozenset[int]:
    """Write the settlement of each row id, free the rows, and lower the lane for those that stay pending.

    notes holds what else the rows of some mails must say.

    Returns the ids that were still ours. A row that stays pending is due `delay` seconds from now, but its lane not
    before the server's breaker closes.
    """
    items = list(settlements.items())
    replies = [s.reply for _, s in items]
    parameters = {
        "token": str(token),
        "ids": [row_id for row_id, _ in items],
        "statuses": [s.status for _, s in items],
        "reasons": [s.failure_reason for _, s in items],
        "delays": [s.delay or 0.0 for _, s in items],
        "messages": [_storable(s.message, 1000) for _, s in items],
        "codes": [r.code if r and r.code in _CODES else None for r in replies],
        "enhanced": [_storable(r.enhanced, 20) if r else None for r in replies],
        "responses": [_storable(r.text, 500) if r else None for r in replies],
        "kept": [0 if s.attempt_kept else -1 for _, s in items],
        "ambiguous": [int(s.ambiguous) for _, s in items],
        "expiry_reasons": [s.expiry_reason for _, s in items],
        "notes": [_storable(notes.get(row_id), 1000) for row_id, _ in items],
    }
    return frozenset(row[0] for row in connection.exec_driver_sql(_RECORD, parameters))


def _storable(text: str | None, limit: int) -> str | None:
    """Return a text that no column refuses: a result that cannot be written would be a mail sent again."""
    if text is None:
        return None
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()[:limit]
