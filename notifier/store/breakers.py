"""The breaker of each SMTP server, shared by all workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

FAULTS_TO_OPEN = 3
REFUSALS_TO_OPEN = 10
_WAITING_ROWS_TOLD = 1000  # rows that get the server's fault as their error text when a breaker opens


_SUCCESS = """
UPDATE smtp_breakers b
SET failures = 0, refusals = 0, trips = 0, open_until = '-infinity', proven = true,
    last_error = NULL, last_reason = NULL
FROM (SELECT server_id, open_until > now() AS was_open FROM smtp_breakers WHERE server_id = %(server)s FOR UPDATE) w
WHERE b.server_id = w.server_id AND (w.was_open OR b.failures > 0 OR b.refusals > 0 OR b.trips > 0 OR NOT b.proven)
RETURNING w.was_open
"""

# One fault is one count, however many mails waited behind it. While open, nothing is counted: batches that were under
# way when it opened would only push it further out. A half-open breaker (trips > 0) opens again at the first fault.
_FAULT = """
UPDATE smtp_breakers b
SET failures = CASE WHEN w.opens OR w.is_open THEN 0 ELSE b.failures + %(soft)s END,
    refusals = CASE WHEN w.opens OR w.is_open THEN 0 ELSE b.refusals + %(refusal)s END,
    trips = b.trips + w.opens::int,
    open_until = CASE WHEN w.opens
        THEN now() + least(%(initial)s * power(2, least(b.trips, 20)), %(maximum)s) * %(stretch)s * interval '1 second'
        ELSE b.open_until END,
    proven = b.proven AND NOT (w.opens OR %(soft)s > 0),
    last_error = %(message)s,
    last_reason = %(reason)s,
    last_fault_at = now()
FROM (SELECT server_id, open_until > now() AS is_open,
          open_until <= now() AND (%(at_once)s OR (trips > 0 AND %(soft)s > 0)
              OR failures + %(soft)s >= %(faults)s OR refusals + %(refusal)s >= %(refusals_to_open)s) AS opens
      FROM smtp_breakers WHERE server_id = %(server)s FOR UPDATE) w
WHERE b.server_id = w.server_id
RETURNING w.opens
"""

_HOLD_LANES = """
UPDATE delivery_lanes l SET next_due_at = greatest(l.next_due_at, w.open_until)
FROM (SELECT d.customer_id, b.open_until FROM delivery_lanes d JOIN smtp_breakers b USING (server_id)
      WHERE d.server_id = %(server)s AND d.next_due_at < b.open_until
      ORDER BY d.customer_id FOR UPDATE OF d SKIP LOCKED) w
WHERE l.customer_id = w.customer_id
"""

_TELL_WAITING = """
UPDATE notification_events n SET error_message = %(message)s
WHERE n.id IN (
    SELECT d.id FROM delivery_lanes l JOIN notification_events d ON d.customer_id = l.customer_id
    WHERE l.server_id = %(server)s AND d.status = 'pending' AND d.lock_token IS NULL
      AND d.error_message IS DISTINCT FROM %(message)s
    LIMIT %(limit)s FOR UPDATE OF d SKIP LOCKED)
"""

_ADOPT_DEFAULT = """
UPDATE smtp_breakers b SET settings_hash = %(hash)s, open_until = '-infinity', failures = 0, refusals = 0, trips = 0,
    proven = false, last_error = NULL, last_reason = NULL
FROM (SELECT settings_hash FROM smtp_breakers WHERE server_id = 0) before
WHERE b.server_id = 0 AND b.settings_hash IS DISTINCT FROM %(hash)s
RETURNING before.settings_hash IS NOT NULL
"""

_WAKE_LANES = """
UPDATE delivery_lanes SET next_due_at = now() WHERE server_id = %(server)s AND next_due_at < 'infinity'
"""


def success(connection: Connection, server_id: int) -> None:
    """Close the breaker and prove the server; mails that it held are due at once.

    The delivery loop calls it only when the claim said that there is something to clear.
    """
    if connection.exec_driver_sql(_SUCCESS, {"server": server_id}).scalar():
        connection.exec_driver_sql(_WAKE_LANES, {"server": server_id})


def fault(
    connection: Connection,
    server_id: int,
    *,
    message: str,
    reason: str | None,
    soft: bool,
    refusals: int,
    at_once: bool,
    initial: float,
    maximum: float,
    stretch: float,
) -> bool:
    """Count one fault of the server; True when this one opened its breaker.

    reason is auth or tls for a fault of the configuration. soft counts one towards three, refusals
    add towards ten in a row, at_once opens. It stays open for initial seconds, doubled
    with each opening up to maximum, times stretch (jitter). When it opens, the lanes of its customers are put off and
    the mails that wait show the fault.
    """
    parameters = {
        "server": server_id,
        "message": message[:1000],
        "reason": reason,
        "soft": int(soft),
        "refusal": refusals,
        "at_once": at_once,
        "initial": initial,
        "maximum": maximum,
        "stretch": stretch,
        "faults": FAULTS_TO_OPEN,
        "refusals_to_open": REFUSALS_TO_OPEN,
    }
    opened = bool(connection.exec_driver_sql(_FAULT, parameters).scalar())
    if opened:
        connection.exec_driver_sql(_HOLD_LANES, {"server": server_id})
        connection.exec_driver_sql(
            _TELL_WAITING, {"server": server_id, "message": message[:1000], "limit": _WAITING_ROWS_TOLD}
        )
    return opened


def adopt_default(connection: Connection, settings_hash: bytes) -> bool:
    """At start: a changed [smtp] section closes the breaker of server 0. True when there was another before."""
    changed: bool | None = connection.exec_driver_sql(_ADOPT_DEFAULT, {"hash": settings_hash}).scalar()
    if changed is not None:
        connection.exec_driver_sql(_WAKE_LANES, {"server": 0})
    return bool(changed)
