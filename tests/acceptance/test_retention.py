"""`notifier maintain` beside a worker that has its hands full."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING

from tests.acceptance.world import event_id, failed_job

if TYPE_CHECKING:
    from tests.acceptance.world import Customer, World

OLD = 2000  # events of long ago whose mails were sent
PENDING = range(9001, 9011)  # jobs of long ago whose mails still wait, as after a long stop of all workers
FAILED = range(9101, 9121)  # jobs of long ago whose mails failed, and which somebody sends again just now
NEW = 100

_OLD_EVENTS = """
WITH event AS (
    INSERT INTO job_events (customer_id, source, event_id, event_type, payload, payload_sha256, outcome, received_at)
    SELECT %s, 'tests/jobs', 'old-' || n, 'job_failed', '{}', sha256(n::text::bytea), 'accepted',
        now() - interval '60 days' - n * interval '1 s'
    FROM generate_series(1, %s) n RETURNING id, customer_id, received_at)
INSERT INTO notification_events (job_event_id, customer_id, user_id, recipient_email, recipient_key, event_type, rule,
    subject, status, message_id, expires_at, created_at, finished_at, sent_at)
SELECT id, customer_id, 1, 'old@reader.example', 'old@reader.example', 'job_failed', 'role_default', 'old', 'sent',
    '<old-' || id || '@reader.example>', received_at, received_at, received_at, received_at FROM event
"""
_OLD_EVENT = """
WITH event AS (
    INSERT INTO job_events (customer_id, source, event_id, event_type, payload, payload_sha256, outcome, received_at)
    VALUES (%s, 'tests/jobs', %s, 'job_failed', %s, %s, 'accepted', now() - interval '60 days')
    RETURNING id, customer_id, received_at, event_id)
INSERT INTO notification_events (job_event_id, customer_id, user_id, recipient_email, recipient_key, event_type, rule,
    subject, status, failure_reason, message_id, expires_at, created_at, finished_at)
SELECT event.id, customer_id, u.id, u.email, u.email, 'job_failed', 'role_default', 'A job failed',
    CASE WHEN reason IS NULL THEN 'pending' ELSE 'failed' END, reason, '<' || event_id || '@sender.example>',
    now() + interval '1 day', received_at, CASE WHEN reason IS NOT NULL THEN received_at END
FROM event, users u, (SELECT %s AS reason) r WHERE u.email = %s
"""


def _from_long_ago(world: World, customer: Customer, admin: str) -> None:
    world.database.execute(_OLD_EVENTS, (customer.id, OLD))
    for numbers, reason in ((PENDING, None), (FAILED, "permanent_smtp")):
        for number in numbers:
            body = failed_job(customer, number)
            values = (
                customer.id,
                event_id(number),
                body.decode(),
                hashlib.sha256(body).digest(),
                reason,
                admin,
            )
            world.database.execute(_OLD_EVENT, values)
    world.database.execute("UPDATE delivery_lanes SET next_due_at = now()")


def test_maintain_beside_a_busy_worker_deletes_what_is_old_and_nothing_that_is_needed(world: World) -> None:
    customer = world.customer()
    (admin,) = world.admins(customer.id)
    _from_long_ago(world, customer, admin)
    done = threading.Event()
    deleted: list[int] = []

    def maintain() -> None:
        deleted.append(json.loads(world.command("maintain", "--days", "30", "--json"))["job_events"])

    def maintain_again_and_again() -> None:
        while not done.is_set():
            maintain()

    def send_again() -> None:
        world.command("events", "resend", "--reason", "permanent_smtp", "--yes")

    world.worker().ready()
    beside = [threading.Thread(target=maintain_again_and_again), threading.Thread(target=send_again)]
    for thread in beside:
        thread.start()
    for number in range(1, NEW + 1):
        world.fail_job(customer, number)
    beside[1].join()
    done.set()
    beside[0].join()
    # Events that were deleted before they could be sent again are gone with their rows; the others are here whole.
    again = [row.event_id for row in world.rows() if row.generation == 1]
    world.wait_settled(NEW + len(PENDING) + 2 * len(again))

    maintain()  # what somebody held was left for the next time
    assert sum(deleted) == OLD + len(FAILED) - len(again)
    recipients = frozenset({admin})
    for kept in (*map(event_id, PENDING), *again):
        world.expect(customer, kept, recipients)
    verdict = world.verdict()
    assert (verdict.lost, verdict.extra, verdict.stuck, verdict.violations) == (0, 0, 0, ())
    rows = world.rows()
    assert {row.status for row in rows if row.generation == 1 or row.event_id not in again} == {"sent"}
    assert world.ask("SELECT count(*) FROM job_events")[0] == (NEW + len(PENDING) + len(again),)
