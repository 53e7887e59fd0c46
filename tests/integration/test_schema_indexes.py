"""Each index serves the query it was made for; the planner is asked about full tables, with sequential scans dear."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.dialects import postgresql

from notifier.store import breakers, event_log, retention, sweep
from notifier.store.event_log import LogFilter
from tests.store_rows import add_customer

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_FILL = """
INSERT INTO job_events (customer_id, source, event_id, event_type, payload, payload_sha256, outcome, received_at)
SELECT CASE WHEN n %% 2 = 0 THEN 3 ELSE 1 + n %% 400 END, 's', n::text, 'job_failed',
    jsonb_build_object('data', jsonb_build_object('job', jsonb_build_object('id', n))), sha256(n::text::bytea),
    'accepted', now() - n * interval '1 min'
FROM generate_series(1, 20000) n;
INSERT INTO notification_events (job_event_id, customer_id, user_id, recipient_email, recipient_key, event_type, rule,
    subject, status, failure_reason, message_id, job_id, compliance_result_id, expires_at, created_at, next_attempt_at,
    finished_at, sent_at)
SELECT j.id, j.customer_id, 1, 'a@example.org', 'a@example.org', 'job_failed', 'role_default', 's',
    CASE WHEN j.id %% 3 = 0 THEN 'pending' WHEN j.id %% 50 = 1 THEN 'failed' ELSE 'sent' END,
    CASE WHEN j.id %% 3 > 0 AND j.id %% 50 = 1 THEN 'auth' END, j.id::text, j.id, j.id,
    now() + interval '1 day', j.received_at,
    j.received_at, CASE WHEN j.id %% 3 > 0 THEN j.received_at END,
    CASE WHEN j.id %% 3 > 0 AND j.id %% 50 <> 1 THEN j.received_at END
FROM job_events j;
UPDATE delivery_lanes SET server_id = customer_id, next_due_at = now() WHERE customer_id > 4;
INSERT INTO smtp_breakers (server_id) SELECT customer_id FROM delivery_lanes WHERE customer_id > 4;
ANALYZE
"""


def _listing(wanted: LogFilter, ordering: event_log.Ordering = "-created_at") -> str:
    query = event_log._ROWS.where(*wanted.conditions()).order_by(*wanted.order(ordering)).limit(50)
    return str(query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))  # type: ignore[no-untyped-call]


CASES = {
    "ix_due": "SELECT id FROM notification_events WHERE customer_id = 3 AND status = 'pending' AND lock_token IS NULL "
    "AND next_attempt_at <= now() ORDER BY next_attempt_at, id LIMIT 16",
    "ix_batches_server": "SELECT count(*) FROM delivery_batches WHERE server_id = 3",
    "ix_expiry": sweep._LATE % {"rows": 500, "stuck": "'{}'"},
    "ix_log_customer": _listing(LogFilter(customer_ids=(8,))),
    "ix_log_sent": _listing(LogFilter(customer_ids=(3,), status="sent"), "-sent_at"),
    "ix_log_created": _listing(LogFilter()),
    "ix_log_job": _listing(LogFilter(job_id=77)),
    "ix_log_compliance": _listing(LogFilter(compliance_result_id=77)),
    "ix_log_failed": "SELECT id FROM notification_events WHERE status = 'failed' ORDER BY finished_at DESC LIMIT 50",
    "ix_job_events_job": "SELECT id FROM job_events WHERE job_id = 77",
    "ix_job_events_received": retention._LOCK_EVENTS % {"days": 1, "rows": 500},
    "uq_notification": "SELECT FROM notification_events WHERE job_event_id = 77",
    "ix_lanes_server": breakers._HOLD_LANES % {"server": 7},
    "ix_lanes_due": "SELECT customer_id FROM delivery_lanes WHERE next_due_at <= now() "
    "ORDER BY next_due_at LIMIT 1 FOR UPDATE SKIP LOCKED",
}


def _indexes(plan: object) -> set[str]:
    if isinstance(plan, list):
        return set().union(*(_indexes(part) for part in plan))
    if isinstance(plan, dict):
        own = {str(plan["Index Name"])} if "Index Name" in plan else set()
        return own.union(*(_indexes(part) for part in plan.values()))
    return set()


@pytest.fixture
def full(connection: Connection) -> Connection:
    for _ in range(400):
        add_customer(connection)
    for statement in _FILL.split(";"):
        connection.exec_driver_sql(statement, {"none": None})
    connection.exec_driver_sql("SET enable_seqscan = off")
    return connection


def test_each_index_serves_its_query(full: Connection) -> None:
    missed = {}
    for index, query in CASES.items():
        plan = full.exec_driver_sql(
            f"EXPLAIN (FORMAT json) {query}", execution_options={"no_parameters": True}
        ).scalar_one()
        used = _indexes(json.loads(plan) if isinstance(plan, str) else plan)
        if index not in used:
            missed[index] = used
    assert missed == {}
