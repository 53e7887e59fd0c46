"""The safety net: leases that ran out, workers that fell silent, mails past their time, lanes that fell asleep."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from notifier.domain.backlog import Backlog
from notifier.store.stuck_rows import change_found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection, Row

    from notifier.domain.vocabulary import FailureReason
    from notifier.store.stuck_rows import StuckRows

MAX_LOST_CLAIMS = 3
LOST_AGAIN_SECONDS = 60.0

# Each task first reads which rows it is about, without a lock, then changes these (`stuck_rows`). The change asks again
# whether they are still as they were; that a mail has not ended it asks by finished_at: the planner has no index for
# that which it could prefer to the ids.
_LOST = """
WITH held AS (
    SELECT m.id, b.token, b.alive_until FROM delivery_batches b CROSS JOIN unnest(b.mails) AS m (id)
)
SELECT n.id FROM held h JOIN notification_events n ON n.id = h.id AND n.lock_token = h.token
WHERE n.id = ANY (ARRAY(SELECT id FROM held)) AND n.id <> ALL (%(stuck)s::bigint[])
    AND (n.lease_until < now() OR (n.handoff_at IS NULL AND h.alive_until < now()))
ORDER BY n.id LIMIT %(rows)s
"""

# Never stamped: surely not sent, and never to be, since the stamp of a row that was given back fails. So a worker that
# is merely taken for dead does no harm, and nobody waits for the end of its lease. Stamped: nobody knows, so it counts
# as ambiguous. Who lost a second worker comes back at a time of its own, so that mails do not go down again and
# again with the one among them that kills.
_TAKE_BACK = """
WITH held AS (
    SELECT m.id, b.token, b.alive_until FROM delivery_batches b CROSS JOIN unnest(b.mails) AS m (id)
), lost AS (
    SELECT n.id, n.handoff_at IS NOT NULL AS stamped
    FROM held h JOIN notification_events n ON n.id = h.id AND n.lock_token = h.token
    WHERE n.id = ANY (%(ids)s::bigint[])
        AND (n.lease_until < now() OR (n.handoff_at IS NULL AND h.alive_until < now()))
    ORDER BY n.id FOR UPDATE OF n SKIP LOCKED
), judged AS (
    SELECT n.id, l.stamped,
        CASE WHEN NOT l.stamped AND n.lost_claims + 1 >= %(max_lost)s THEN 'render_error'
             WHEN l.stamped AND (%(fail)s OR n.ambiguous_count + 1 > %(max_ambiguous)s
                                 OR n.attempts >= %(max_attempts)s) THEN 'ambiguous' END AS reason
    FROM lost l JOIN notification_events n ON n.id = l.id
), done AS (
    UPDATE notification_events n
    SET status = CASE WHEN j.reason IS NULL THEN 'pending' ELSE 'failed' END,
        failure_reason = j.reason,
        finished_at = CASE WHEN j.reason IS NOT NULL THEN now() END,
        ambiguous_count = n.ambiguous_count + j.stamped::int,
        lost_claims = n.lost_claims + (NOT j.stamped)::int,
        expiry_reason = CASE WHEN j.stamped THEN 'ambiguous' ELSE n.expiry_reason END,
        next_attempt_at = now() + interval '1 second' * CASE WHEN j.stamped THEN %(delay)s
            WHEN n.lost_claims > 0 THEN random() * %(lost_again)s ELSE 0 END,
        error_message = CASE WHEN j.stamped
            THEN 'a worker vanished while the mail was on its way; nobody knows whether the server took it'
            ELSE 'a worker vanished while preparing the mail' END,
        lock_token = NULL, locked_by = NULL, lease_until = NULL, handoff_at = NULL
    FROM judged j WHERE n.id = j.id
    RETURNING n.id, n.customer_id, n.status, n.failure_reason, n.next_attempt_at, j.stamped
)
SELECT customer_id, stamped, failure_reason, count(*) AS mails, min(next_attempt_at) AS due FROM done GROUP BY 1, 2, 3
"""

_LOWER_LANES = "SELECT lower_lanes(%(customers)s::bigint[], %(due)s::timestamptz[])"

_END_BATCHES = "SELECT end_batches(ARRAY(SELECT token FROM delivery_batches))"

_LATE = """
SELECT n.id FROM notification_events n
WHERE n.status = 'pending' AND n.expires_at < now() AND (n.lease_until IS NULL OR n.lease_until < now())
    AND n.id <> ALL (%(stuck)s::bigint[])
ORDER BY n.expires_at LIMIT %(rows)s
"""

# The reason is the last fault that kept it waiting: its own, else its server's.
_EXPIRE = """
WITH late AS (
    SELECT n.id, b.last_reason, b.last_error
    FROM notification_events n
    LEFT JOIN delivery_lanes l ON l.customer_id = n.customer_id
    LEFT JOIN smtp_breakers b ON b.server_id = l.server_id
    WHERE n.id = ANY (%(ids)s::bigint[])
      AND n.finished_at IS NULL AND n.expires_at < now() AND (n.lease_until IS NULL OR n.lease_until < now())
    ORDER BY n.expires_at FOR UPDATE OF n SKIP LOCKED
)
UPDATE notification_events n
SET status = 'failed', finished_at = now(),
    failure_reason = CASE WHEN n.handoff_at IS NOT NULL THEN 'ambiguous'
                          ELSE coalesce(n.expiry_reason, late.last_reason, 'expired') END,
    ambiguous_count = n.ambiguous_count + (n.handoff_at IS NOT NULL)::int,
    error_message = coalesce(n.error_message, late.last_error, 'it could not be sent before it expired'),
    lock_token = NULL, locked_by = NULL, lease_until = NULL, handoff_at = NULL
FROM late WHERE n.id = late.id
RETURNING n.failure_reason
"""

# Most are told when the breaker opens; those taken in, or given back, in that very moment are not.
_UNTOLD = """
SELECT n.id
FROM smtp_breakers b JOIN delivery_lanes l USING (server_id) JOIN notification_events n USING (customer_id)
WHERE b.open_until > now() AND b.last_error IS NOT NULL
  AND n.status = 'pending' AND n.lock_token IS NULL AND n.error_message IS NULL
  AND n.id <> ALL (%(stuck)s::bigint[])
LIMIT %(rows)s
"""

_TELL_HELD = """
WITH untold AS (
    SELECT n.id, b.last_error
    FROM notification_events n
    JOIN delivery_lanes l USING (customer_id)
    JOIN smtp_breakers b ON b.server_id = l.server_id
    WHERE n.id = ANY (%(ids)s::bigint[]) AND b.open_until > now() AND b.last_error IS NOT NULL
      AND n.finished_at IS NULL AND n.lock_token IS NULL AND n.error_message IS NULL
    ORDER BY n.id FOR UPDATE OF n SKIP LOCKED
)
UPDATE notification_events n SET error_message = u.last_error FROM untold u WHERE n.id = u.id
"""

_REPAIR_LANES = """
WITH truth AS (
    SELECT c.id AS customer_id, coalesce(s.id, 0) AS server_id,
        coalesce((SELECT greatest(min(n.next_attempt_at), b.open_until,
                                  CASE WHEN l.passed_over = '{}' THEN l.passed_over_until END)
                  FROM notification_events n
                  WHERE n.customer_id = c.id AND n.status = 'pending' AND n.lock_token IS NULL
                    AND n.expires_at > now() AND NOT (l.passed_over_until > now() AND n.id = ANY (l.passed_over))
                  HAVING count(*) > 0), 'infinity') AS due
    FROM (SELECT DISTINCT customer_id AS id FROM notification_events WHERE status = 'pending' AND lock_token IS NULL) c
    JOIN delivery_lanes l ON l.customer_id = c.id
    LEFT JOIN smtp_configs s ON s.customer_id = c.id
    LEFT JOIN smtp_breakers b ON b.server_id = coalesce(s.id, 0)
), asleep AS (
    SELECT l.customer_id, t.server_id, t.due FROM delivery_lanes l JOIN truth t USING (customer_id)
    WHERE l.next_due_at > greatest(t.due, now()) + interval '5 seconds' OR l.server_id <> t.server_id
    ORDER BY l.customer_id FOR UPDATE OF l SKIP LOCKED
)
UPDATE delivery_lanes l SET next_due_at = least(l.next_due_at, a.due), server_id = a.server_id
FROM asleep a WHERE l.customer_id = a.customer_id
"""


# A mail behind an open breaker becomes due when the breaker lets it: greatest() passes over its '-infinity' and NULL.
_BACKLOG = """
SELECT count(*) AS pending, count(*) FILTER (WHERE n.next_attempt_at <= now() AND n.lock_token IS NULL) AS due,
    extract(epoch FROM now() - min(n.created_at))::float8 AS age,
    extract(epoch FROM now() - min(greatest(n.next_attempt_at, b.open_until))
        FILTER (WHERE n.lock_token IS NULL))::float8 AS due_age,
    extract(epoch FROM now() - min(n.created_at) FILTER (WHERE b.trips > 0))::float8 AS held_age,
    (SELECT count(*) FROM smtp_breakers WHERE open_until > now()) AS breakers
FROM notification_events n
LEFT JOIN delivery_lanes l ON l.customer_id = n.customer_id
LEFT JOIN smtp_breakers b ON b.server_id = l.server_id
WHERE n.status = 'pending'
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenBack:
    """Rows whose worker vanished: never handed over, possibly handed over, and of both those that ended, by reason."""

    unsent: int
    ambiguous: int
    failed: Mapping[FailureReason, int]


def take_back(
    connection: Connection,
    *,
    max_attempts: int,
    max_ambiguous: int,
    ambiguous_delay: float,
    fail_ambiguous: bool,
    stuck: StuckRows,
) -> TakenBack:
    """Free up to 500 rows whose lease ran out, or that were not about to leave when their worker fell silent.

    ambiguous_delay in seconds. Rows that cannot be updated become stuck.
    """
    parameters = {
        "max_lost": MAX_LOST_CLAIMS,
        "fail": fail_ambiguous,
        "max_ambiguous": max_ambiguous,
        "max_attempts": max_attempts,
        "delay": ambiguous_delay,
        "lost_again": LOST_AGAIN_SECONDS,
    }

    def change(ids: list[int]) -> list[Row[Any]]:
        rows = connection.exec_driver_sql(_TAKE_BACK, {**parameters, "ids": ids}).all()
        due = {
            customer: min(row.due for row in rows if row.customer_id == customer)
            for customer in {row.customer_id for row in rows if row.failure_reason is None}
        }
        if due:
            lanes = {"customers": list(due), "due": list(due.values())}
            connection.exec_driver_sql(_LOWER_LANES, lanes)
        return list(rows)

    rows = [row for part in change_found(connection, _LOST, change, stuck) for row in part]
    connection.exec_driver_sql(_END_BATCHES)
    failed: Counter[FailureReason] = Counter()
    for row in rows:
        if row.failure_reason is not None:
            failed[row.failure_reason] += row.mails
    return TakenBack(
        unsent=sum(row.mails for row in rows if not row.stamped),
        ambiguous=sum(row.mails for row in rows if row.stamped),
        failed=failed,
    )


def expire(connection: Connection, *, stuck: StuckRows) -> list[FailureReason]:
    """Fail up to 500 mails past their time, breaker or not; returns the failure reason of each.

    Rows that cannot be updated become stuck.
    """

    def change(ids: list[int]) -> list[FailureReason]:
        return [row[0] for row in connection.exec_driver_sql(_EXPIRE, {"ids": ids})]

    return [reason for part in change_found(connection, _LATE, change, stuck) for reason in part]


def tell_held(connection: Connection, *, stuck: StuckRows) -> int:
    """Give up to 500 mails that an open breaker holds, and that say no fault, the server's; returns how many.

    Rows that cannot be updated become stuck.
    """

    def change(ids: list[int]) -> int:
        return int(connection.exec_driver_sql(_TELL_HELD, {"ids": ids}).rowcount)

    return sum(change_found(connection, _UNTOLD, change, stuck))


def repair_lanes(connection: Connection) -> int:
    """Wake lanes that sleep although a mail of theirs is due; returns how many. 0 unless rows were changed by hand."""
    return int(connection.exec_driver_sql(_REPAIR_LANES).rowcount)


def backlog(connection: Connection) -> Backlog:
    """Count what waits."""
    row = connection.exec_driver_sql(_BACKLOG).one()
    age, due_age, held_age = (max(0.0, found or 0.0) for found in (row.age, row.due_age, row.held_age))
    return Backlog(
        pending=row.pending,
        due=row.due,
        oldest_pending_age=age,
        oldest_due_age=due_age,
        oldest_held_age=held_age,
        breakers_open=row.breakers,
    )
