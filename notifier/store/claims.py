"""Claim, keep, stamp, record, release: the statements of one batch (each is one round trip).

They are functions of schema.sql: PL/pgSQL keeps their plans, and making a plan takes longer than following it. The
clock is the database's. `token` fences every later statement: rows that another worker took back since are not
touched.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from notifier.domain.errors import DatabaseUnavailable, DataRejected, LaneFault
from notifier.store.engine import about_rows, detail_of, plain_rows, timed_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.engine import Connection

    from notifier.domain.outcomes import Settlement
    from notifier.domain.vocabulary import EventType, Rule


class Mail(NamedTuple):
    """One claimed row of the event log with what its mail needs: the first columns of `claim_batch`, in their order."""

    id: int
    job_event_id: int
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
    created_at: datetime
    reader_timezone: str | None
    customer_id: int
    trace_id: str | None


_OF_A_MAIL = len(Mail._fields)  # columns; those behind them are the batch's, and the document


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """The claimed mails of one customer, all for one server.

    documents holds the CloudEvent of each job event, as JSON. config_version is None when the customer has no server of
    its own, and changes with every change of it. proven: the server had a success since its last fault.
    needs_success: the breaker remembers a fault that a success clears. more: another claim may find work, too.
    """

    token: UUID
    server_id: int
    config_version: str | None
    proven: bool
    needs_success: bool
    more: bool
    customer_id: int
    customer_name: str
    locale: str
    timezone: str
    mails: tuple[Mail, ...]
    documents: Mapping[int, str]

    def document(self, mail: Mail) -> Mapping[str, object]:
        """Return the CloudEvent that a mail tells of; read anew each time, since so many would fill the memory."""
        document: dict[str, object] = json.loads(self.documents[mail.job_event_id])
        return document


_CLAIM = """
SELECT id, job_event_id, attempts, ambiguous_count, recipient_email, recipient_key, event_type, rule, subject,
    message_id, job_id, compliance_result_id, created_at, reader_timezone, customer_id, trace_id,
    customer_name, customer_timezone, locale, server_id, config_version, proven, needs_success, more, payload
FROM claim_batch(%(token)s::uuid, %(worker)s, %(lease)s * interval '1 second', %(limit)s, %(connections)s,
    %(unproven)s, %(alone)s, %(slow)s::jsonb)
"""

_PUT_OFF = 60.0  # seconds
_PUT_OFF_AFTER_TIMEOUT = 10.0  # what was locked, or slow, may be free again soon

_LEAVE_OUT = """
SELECT id, error FROM pass_over(%(customer)s, %(seen)s::timestamptz, %(limit)s, %(wait)s * interval '1 second')
"""

_CLAIMABLE = """
SELECT EXISTS (
    SELECT FROM delivery_lanes l JOIN smtp_breakers b ON b.server_id = l.server_id
    WHERE l.next_due_at <= now() AND b.open_until <= now() AND (b.proven OR %(unproven)s)
      AND coalesce((%(slow)s::jsonb ->> l.server_id::text)::integer, 1) > 0
      AND (SELECT count(*) FROM delivery_batches f WHERE f.server_id = l.server_id AND f.alive_until > now())
          < CASE WHEN b.proven THEN %(connections)s ELSE 1 END)
"""

_STAMP = "SELECT * FROM stamp_batch(%(token)s::uuid, %(ids)s::bigint[], %(lease)s * interval '1 second')"
_RECORD = "SELECT * FROM record_batch(%(token)s::uuid, %(verdicts)s::json)"
_RECORD_AND_STAMP = """
SELECT true, id FROM record_batch(%(token)s::uuid, %(verdicts)s::json) AS r (id)
UNION ALL
SELECT false, id FROM stamp_batch(%(token)s::uuid, %(ids)s::bigint[], %(lease)s * interval '1 second') AS s (id)
"""
_KEEP = "UPDATE delivery_batches SET alive_until = DEFAULT WHERE token = ANY(%(tokens)s::uuid[])"
_RELEASE = "SELECT release_batch(%(token)s::uuid)"

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
    0 to leave a server out. Raises LaneFault when that lane's rows do not let themselves be claimed; `pass_over` helps.
    """
    try:
        rows = plain_rows(
            connection,
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
        )
    except (DatabaseUnavailable, DataRejected) as fault:
        raise _of_lane(fault) or fault from fault.__cause__
    if not rows:
        return None
    mails = [Mail._make(row[:_OF_A_MAIL]) for row in rows]
    name, timezone, locale, server_id, config_version, proven, needs_success, more, _ = rows[0][_OF_A_MAIL:]
    return Batch(
        token=token,
        server_id=server_id,
        config_version=config_version,
        proven=proven,
        needs_success=needs_success,
        more=more,
        customer_id=mails[0].customer_id,
        customer_name=name,
        locale=locale,
        timezone=timezone,
        mails=tuple(sorted(mails)),  # by id
        documents={
            mail.job_event_id: row[-1] for mail, row in zip(mails, rows, strict=True) if row[-1] is not None
        },
    )


def _of_lane(fault: DatabaseUnavailable | DataRejected) -> LaneFault | None:
    late = timed_out(fault)
    if not late and not about_rows(fault):
        return None
    try:
        lane = json.loads(detail_of(fault) or "{}")
    except ValueError:  # not claim_batch's words
        return None
    if not isinstance(lane, dict) or lane.get("customer_id") is None:
        return None
    return LaneFault(
        str(fault), customer_id=lane["customer_id"], seen=lane["passed_over_until"], timed_out=late
    )


def pass_over(connection: Connection, fault: LaneFault, *, limit: int) -> list[tuple[int | None, str]]:
    """Find those of a customer's first `limit` due mails that cannot be claimed, and leave them out for ten minutes.

    Returns their ids and why. An id None: no such mail was found, or very many, and the customer waits for a minute,
    or for ten seconds after a time-out, where none is looked for. Empty: another worker was quicker.
    """
    parameters = {
        "customer": fault.customer_id,
        "seen": fault.seen,
        "limit": 0 if fault.timed_out else limit,
        "wait": _PUT_OFF_AFTER_TIMEOUT if fault.timed_out else _PUT_OFF,
    }
    found = plain_rows(connection, _LEAVE_OUT, parameters)
    return [(row_id, str(fault) if row_id is None else reason) for row_id, reason in found]


def claimable(connection: Connection, *, connections: int, unproven: bool, slow: str) -> bool:
    """Tell whether a lane waits that a claim could have had, were it not locked by another claim just now."""
    parameters = {"connections": connections, "unproven": unproven, "slow": slow}
    ((found,),) = plain_rows(connection, _CLAIMABLE, parameters)
    return bool(found)


def keep(connection: Connection, tokens: Sequence[UUID]) -> None:
    """Say that the worker of these batches lives. Unsaid for 30 seconds, it is taken for dead."""
    connection.exec_driver_sql(_KEEP, {"tokens": [str(token) for token in tokens]})


def release(connection: Connection, *, token: UUID) -> None:
    """Free a batch that was never stamped; for a claim whose answer was lost with the connection."""
    connection.exec_driver_sql(_RELEASE, {"token": str(token)})


def stamp(connection: Connection, *, token: UUID, ids: Sequence[int], lease: float) -> frozenset[int]:
    """Commit that these mails may now leave, and count an attempt. Only the ids returned are still ours to send."""
    parameters = {"token": str(token), "ids": list(ids), "lease": lease}
    return frozenset([row[0] for row in plain_rows(connection, _STAMP, parameters)])


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
    parameters = {"token": str(token), "verdicts": _verdicts(settlements, notes)}
    return frozenset([row[0] for row in plain_rows(connection, _RECORD, parameters)])


def record_and_stamp(
    connection: Connection,
    *,
    token: UUID,
    settlements: Mapping[int, Settlement],
    notes: Mapping[int, str],
    ids: Sequence[int],
    lease: float,
) -> tuple[frozenset[int], frozenset[int]]:
    """Do what `record` and then `stamp` do, in one transaction; return what each does."""
    parameters = {
        "token": str(token),
        "verdicts": _verdicts(settlements, notes),
        "ids": list(ids),
        "lease": lease,
    }
    rows = plain_rows(connection, _RECORD_AND_STAMP, parameters)
    recorded = frozenset([row_id for is_recorded, row_id in rows if is_recorded])
    return recorded, frozenset([row_id for is_recorded, row_id in rows if not is_recorded])


def _verdicts(settlements: Mapping[int, Settlement], notes: Mapping[int, str]) -> str:
    return json.dumps([_verdict(row_id, found, notes.get(row_id)) for row_id, found in settlements.items()])


def _verdict(row_id: int, found: Settlement, note: str | None) -> dict[str, object]:
    reply = found.reply
    return {
        "id": row_id,
        "status": found.status,
        "failure_reason": found.failure_reason,
        "delay": found.delay or 0.0,
        "message": _storable(found.message, 1000),
        "code": reply.code if reply and reply.code in _CODES else None,
        "enhanced_code": _storable(reply.enhanced, 20) if reply else None,
        "response": _storable(reply.text, 500) if reply else None,
        "attempt_kept": found.attempt_kept,
        "ambiguous": found.ambiguous,
        "expiry_reason": found.expiry_reason,
        "note": _storable(note, 1000),
    }


def _storable(text: str | None, limit: int) -> str | None:
    """Return a text that no column refuses: a result that cannot be written would be a mail sent again."""
    if text is None:
        return None
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()[:limit]
