"""What people do to the event log: resend, cancel, and the row of a test mail.

All functions are safe beside running workers. For many rows call them with a few hundred ids at a time, each
call in a transaction of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy.engine import Connection, Row

    from notifier.domain.outcomes import Settlement


@dataclass(frozen=True, kw_only=True, slots=True)
class Resent:
    """The new row of each old one, and why the others were not resent."""

    created: dict[int, int]
    refused: dict[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """Which rows were cancelled, and why the others were left."""

    cancelled: tuple[int, ...]
    refused: dict[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class TriedTestMail:
    """A test mail that was tried once, and how that ended (a final settlement)."""

    customer_id: int
    user_id: int | None
    recipient_email: str
    recipient_key: str
    subject: str
    message_id: str
    server_id: int
    settlement: Settlement


# The rows are locked, so that of two resends of one row the second sees the first one's new row.
_LOCK_ORIGINALS = "SELECT id FROM notification_events WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE"

_ORIGINALS = """
SELECT n.id, n.customer_id, n.status, n.event_type, n.message_id, newer.id AS newer_id,
    newer.status AS newer_status
FROM notification_events n
LEFT JOIN LATERAL (
    SELECT m.id, m.status FROM notification_events m
    WHERE m.job_event_id = n.job_event_id AND m.recipient_key = n.recipient_key
        AND m.generation > n.generation
    ORDER BY m.generation DESC LIMIT 1) newer ON true
WHERE n.id = ANY(%(ids)s) ORDER BY n.id
"""

_RESEND = """
INSERT INTO notification_events (job_event_id, customer_id, user_id, recipient_email, recipient_key,
    event_type, rule, subject, error_message, job_id, compliance_result_id, message_id, expires_at,
    generation, resent_by, trace_id)
SELECT n.job_event_id, n.customer_id, n.user_id, n.recipient_email, n.recipient_key, n.event_type, n.rule,
    n.subject, CASE WHEN b.open_until > now() THEN b.last_error END, n.job_id, n.compliance_result_id,
    r.message_id, now() + %(expire_after)s * interval '1 second', n.generation + 1, %(resent_by)s, n.trace_id
FROM unnest(%(ids)s::bigint[], %(message_ids)s::text[]) AS r (id, message_id)
JOIN notification_events n ON n.id = r.id
JOIN delivery_lanes l ON l.customer_id = n.customer_id
LEFT JOIN smtp_breakers b ON b.server_id = l.server_id
ORDER BY n.id
ON CONFLICT ON CONSTRAINT uq_notification DO NOTHING
RETURNING id, job_event_id, recipient_key, customer_id,
    (SELECT o.id FROM notification_events o WHERE o.job_event_id = notification_events.job_event_id
        AND o.recipient_key = notification_events.recipient_key
        AND o.generation = notification_events.generation - 1) AS original_id
"""

# Last in the transaction and in the order of customers.
_WAKE_LANES = """
WITH lane AS (
    SELECT l.customer_id, greatest(now(), b.open_until) AS due
    FROM delivery_lanes l JOIN smtp_breakers b USING (server_id)
    WHERE l.customer_id = ANY(%(customers)s) ORDER BY l.customer_id FOR UPDATE OF l
)
UPDATE delivery_lanes l SET next_due_at = least(l.next_due_at, lane.due)
FROM lane WHERE l.customer_id = lane.customer_id
"""

_CANCEL = """
WITH free AS (
    SELECT id FROM notification_events
    WHERE id = ANY(%(ids)s) AND status = 'pending' AND lock_token IS NULL ORDER BY id FOR UPDATE
)
UPDATE notification_events n
SET status = 'failed', failure_reason = 'cancelled', finished_at = now(), error_message = %(message)s
FROM free WHERE n.id = free.id
RETURNING n.id
"""

_STATES = "SELECT id, status, lock_token IS NOT NULL AS held FROM notification_events WHERE id = ANY(%(ids)s)"

_IN_HAND = "a worker is sending it at this moment"

_TEST_MAIL = """
INSERT INTO notification_events (customer_id, user_id, recipient_email, recipient_key, event_type, subject,
    status, failure_reason, error_message, message_id, attempts, ambiguous_count, expires_at, smtp_code,
    smtp_enhanced_code, smtp_response, server_id, sent_at, finished_at)
VALUES (%(customer_id)s, %(user_id)s, %(recipient_email)s, %(recipient_key)s, 'test', %(subject)s, %(status)s,
    %(reason)s, %(error)s, %(message_id)s, %(attempts)s, %(ambiguous)s, now(), %(code)s, %(enhanced)s,
    %(response)s, %(server_id)s, CASE WHEN %(status)s = 'sent' THEN now() END, now())
RETURNING id
"""


def resend(
    connection: Connection,
    ids: Iterable[int],
    *,
    resent_by: str,
    expire_after: float,
    message_id_for: Callable[[str], str],
) -> Resent:
    """Make a new pending row, one generation later, of each row that is final and the latest of its mail.

    message_id_for gives a new Message-ID for the old one. The new mails expire `expire_after` seconds from
    now. Call it inside a transaction: it lowers the lanes last.
    """
    wanted = sorted(set(ids))
    connection.exec_driver_sql(_LOCK_ORIGINALS, {"ids": wanted})
    originals = {row.id: row for row in connection.exec_driver_sql(_ORIGINALS, {"ids": wanted})}
    refused = {i: why for i in wanted if (why := _why_not_resent(i, originals.get(i))) is not None}
    chosen = [originals[i] for i in wanted if i not in refused]
    if not chosen:
        return Resent(created={}, refused=refused)
    parameters = {
        "ids": [row.id for row in chosen],
        "message_ids": [message_id_for(row.message_id) for row in chosen],
        "expire_after": expire_after,
        "resent_by": resent_by[:200],
    }
    rows = connection.exec_driver_sql(_RESEND, parameters).all()
    created = {row.original_id: row.id for row in rows}
    for row in chosen:
        if row.id not in created:
            refused[row.id] = "another resend of this mail was faster"
    connection.exec_driver_sql(_WAKE_LANES, {"customers": sorted({row.customer_id for row in rows})})
    return Resent(created=created, refused=refused)


def not_resendable(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Return which of these `resend` would leave at this moment, and why; nothing is locked or changed."""
    originals = {row.id: row for row in connection.exec_driver_sql(_ORIGINALS, {"ids": list(ids)})}
    return {i: why for i in ids if (why := _why_not_resent(i, originals.get(i))) is not None}


def not_cancellable(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Return which of these `cancel` would leave at this moment, and why; nothing is locked or changed."""
    states = {row.id: row for row in connection.exec_driver_sql(_STATES, {"ids": list(ids)})}
    return {i: why for i in ids if (why := _why_not_cancelled(i, states.get(i))) is not None}


def _why_not_resent(row_id: int, row: Row[tuple[object, ...]] | None) -> str | None:
    if row is None:
        return f"there is no mail {row_id}"
    if row.status == "pending":
        return "it is still pending: it will be sent by itself"
    if row.event_type == "test":
        return "it is a test mail: send another one with notifier smtp test"
    if row.newer_id is not None:
        return f"it was resent before, as mail {row.newer_id} ({row.newer_status})"
    return None


def cancel(connection: Connection, ids: Sequence[int], *, cancelled_by: str) -> Cancelled:
    """Fail the pending rows among these as `cancelled`; rows in flight are left to their worker."""
    wanted = sorted(set(ids))
    message = f"cancelled by {cancelled_by}"[:1000]
    done = {row.id for row in connection.exec_driver_sql(_CANCEL, {"ids": wanted, "message": message})}
    states = {row.id: row for row in connection.exec_driver_sql(_STATES, {"ids": wanted})}
    # A row that a worker released in between is said to be in hand: it was, when we looked for it.
    refused = {i: _why_not_cancelled(i, states.get(i)) or _IN_HAND for i in wanted if i not in done}
    return Cancelled(cancelled=tuple(sorted(done)), refused=refused)


def _why_not_cancelled(row_id: int, row: Row[tuple[object, ...]] | None) -> str | None:
    if row is None:
        return f"there is no mail {row_id}"
    if row.status != "pending":
        return f"it is {row.status}, which is final"
    return _IN_HAND if row.held else None


def add_test_mail(connection: Connection, mail: TriedTestMail) -> int:
    """Write the row of a test mail with its result; returns its id."""
    end = mail.settlement
    parameters = {
        "customer_id": mail.customer_id,
        "user_id": mail.user_id,
        "recipient_email": mail.recipient_email,
        "recipient_key": mail.recipient_key,
        "subject": mail.subject,
        "message_id": mail.message_id,
        "server_id": mail.server_id,
        "status": end.status,
        "reason": end.failure_reason,
        "error": end.message,
        "attempts": int(end.attempt_kept),
        "ambiguous": int(end.ambiguous),
        "code": end.reply.code if end.reply else None,
        "enhanced": end.reply.enhanced if end.reply else None,
        "response": end.reply.text[:500] if end.reply else None,
    }
    return int(connection.exec_driver_sql(_TEST_MAIL, parameters).scalar_one())
