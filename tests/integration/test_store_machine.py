"""The life of mails in the store, played at random: whatever workers, sweepers, people and servers do, in whatever
order, no mail is lost, none is sent twice without being counted, and no lane sleeps while work is due.
"""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import Phase as HypothesisPhase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from notifier.domain.errors import SmtpFault
from notifier.domain.outcomes import Reply, RetryPolicy, classify, settle
from notifier.domain.vocabulary import FaultCause, Phase
from notifier.store import breakers, claims, inbox, log_changes, sweep
from notifier.store.tables import metadata
from tests.store_rows import add_customer, new_event
from tests.store_work import stuck_rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from notifier.domain.outcomes import Settlement

CONNECTIONS = 2
POLICY = RetryPolicy(
    max_attempts=3,
    backoff_initial=30,
    backoff_factor=2,
    backoff_max=3600,
    jitter=0.2,
    greylist_delay=300,
    ambiguous_delay=300,
    max_ambiguous=2,
    on_ambiguous="retry",
)
ENDS = (
    "accepted",
    "accepted",
    "refused",
    "greylisted",
    "lost at the dot",
    "accepted, then lost",
    "not started",
)
_TABLES = ", ".join(table.name for table in metadata.sorted_tables if table.name != "schema_migrations")

_FINAL = """
SELECT id, status, failure_reason, sent_at, finished_at, message_id, recipient_email, customer_id, attempts,
    ambiguous_count
FROM notification_events WHERE status <> 'pending'
"""
_ASLEEP = """
SELECT l.customer_id FROM delivery_lanes l
JOIN smtp_breakers b ON b.server_id = l.server_id
JOIN (SELECT customer_id, min(next_attempt_at) AS due FROM notification_events
      WHERE status = 'pending' AND lock_token IS NULL AND expires_at > now() GROUP BY 1) n
    ON n.customer_id = l.customer_id
WHERE l.next_due_at > greatest(n.due, b.open_until, now())
"""
_WRONG_SERVER = """
SELECT l.customer_id FROM delivery_lanes l LEFT JOIN smtp_configs s ON s.customer_id = l.customer_id
LEFT JOIN smtp_breakers b ON b.server_id = l.server_id
WHERE l.server_id <> coalesce(s.id, 0) OR b.server_id IS NULL
"""
_CROWDED = """
SELECT server_id FROM delivery_batches WHERE alive_until > now() GROUP BY server_id HAVING count(*) > %(connections)s
"""
_IN_NO_BATCH = """
SELECT n.id FROM notification_events n WHERE n.lock_token IS NOT NULL AND NOT EXISTS (
    SELECT FROM delivery_batches b
    WHERE b.token = n.lock_token AND b.server_id = n.server_id AND n.id = ANY(b.mails))
"""
_EMPTY_BATCHES = "SELECT token FROM delivery_batches EXCEPT SELECT lock_token FROM notification_events"
# Time passes for everything that waits; rows that have ended keep their times.
_LATER = """
UPDATE notification_events SET lease_until = lease_until - d, next_attempt_at = next_attempt_at - d,
    expires_at = expires_at - d, handoff_at = handoff_at - d
FROM (SELECT %(seconds)s * interval '1 second' AS d) t WHERE status = 'pending';
UPDATE delivery_lanes SET next_due_at = next_due_at - %(seconds)s * interval '1 second'
WHERE next_due_at < 'infinity';
UPDATE smtp_breakers SET open_until = open_until - %(seconds)s * interval '1 second' WHERE open_until > '-infinity'
"""
_SILENCE = "UPDATE delivery_batches SET alive_until = alive_until - %(seconds)s * interval '1 second'"


def _settlement(end: str, mail: claims.Mail, *, stamped: bool) -> Settlement:
    result: SmtpFault | Reply
    if not stamped or end == "not started":
        result = SmtpFault(
            phase=Phase.PREPARE, cause=FaultCause.NOT_STARTED, detail="another mail broke the line"
        )
    elif end == "accepted":
        result = Reply(code=250, enhanced="2.0.0", text="ok")
    elif end in {"refused", "greylisted"}:
        code = 550 if end == "refused" else 451
        reply = Reply(code=code, enhanced=None, text="no")
        result = SmtpFault(phase=Phase.RCPT, cause=FaultCause.REPLY, detail="no", reply=reply)
    else:
        result = SmtpFault(phase=Phase.DOT, cause=FaultCause.LOST, detail="the line broke at the end")
    return settle(
        classify(result),
        attempts=mail.attempts + stamped,
        stamped=stamped,
        ambiguous_count=mail.ambiguous_count,
        policy=POLICY,
        chance=lambda: 0.5,
    )


@dataclass(kw_only=True)
class _Batch:
    batch: claims.Batch
    stamped: frozenset[int] = frozenset()
    ends: dict[int, str] = field(default_factory=dict)


class Store(RuleBasedStateMachine):
    """Two customers, any number of workers that may vanish with a batch in hand, and come back with it later."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.db = connection
        connection.exec_driver_sql(f"TRUNCATE {_TABLES} RESTART IDENTITY CASCADE")
        connection.exec_driver_sql("INSERT INTO smtp_breakers (server_id) VALUES (0)")
        self.customers = [add_customer(connection), add_customer(connection)]
        self.numbers = itertools.count(1)
        self.batches: list[_Batch] = []
        self.accepted: dict[int, int] = {}
        self.recorded_sent: set[int] = set()
        self.final: dict[int, tuple[object, ...]] = {}
        self.rows = 0

    def _ids(self) -> list[int]:
        return list(self.db.exec_driver_sql("SELECT id FROM notification_events ORDER BY id").scalars())

    @rule(customer=st.integers(0, 1), mails=st.integers(1, 3))
    def an_event_comes(self, customer: int, mails: int) -> None:
        event = new_event(self.customers[customer], f"event-{next(self.numbers)}", mails=mails)
        assert inbox.add(self.db, [event]) == ["stored"]
        assert inbox.add(self.db, [event]) == ["duplicate"]
        self.rows += mails

    @rule(limit=st.integers(1, 4), unproven=st.booleans(), alone=st.booleans())
    def a_worker_claims(self, limit: int, *, unproven: bool, alone: bool) -> None:
        held = set(
            self.db.exec_driver_sql(
                "SELECT id FROM notification_events WHERE lock_token IS NOT NULL"
            ).scalars()
        )
        batch = claims.claim(
            self.db,
            token=uuid.uuid4(),
            worker="worker",
            lease=60,
            limit=limit,
            connections=CONNECTIONS,
            unproven=unproven,
            alone=alone,
            slow="{}",
        )
        if batch is not None:
            assert held.isdisjoint(mail.id for mail in batch.mails)
            assert len(batch.mails) <= (1 if alone else limit)
            assert all(m.ambiguous_count == 0 for m in batch.mails) or len(batch.mails) == 1
            self.batches.append(_Batch(batch=batch))

    @rule(data=st.data())
    def a_worker_stamps_and_sends(self, data: st.DataObject) -> None:
        """Sending follows the stamp at once; only the result may be long in coming."""
        fresh = [b for b in self.batches if not b.ends]
        if not fresh:
            return
        batch = data.draw(st.sampled_from(fresh))
        ids = [mail.id for mail in batch.batch.mails]
        batch.stamped = claims.stamp(self.db, token=batch.batch.token, ids=ids, lease=60)
        for row_id in ids:
            end = data.draw(st.sampled_from(ENDS))
            batch.ends[row_id] = end
            if row_id in batch.stamped and end.startswith("accepted"):
                self.accepted[row_id] = self.accepted.get(row_id, 0) + 1

    @rule(data=st.data())
    def a_worker_records(self, data: st.DataObject) -> None:
        """In time, too late, or twice."""
        if not self.batches:
            return
        batch = data.draw(st.sampled_from(self.batches))
        results = {
            mail.id: _settlement(
                batch.ends.get(mail.id, "not started"), mail, stamped=mail.id in batch.stamped
            )
            for mail in batch.batch.mails
        }
        for row_id in claims.record(self.db, token=batch.batch.token, settlements=results, notes={}):
            if results[row_id].status == "sent":
                assert row_id not in self.recorded_sent
                self.recorded_sent.add(row_id)

    @rule(seconds=st.sampled_from([1, 31, 61, 301, 4000, 86401]), silent=st.booleans())
    def time_passes(self, seconds: int, *, silent: bool) -> None:
        for statement in _LATER.split(";"):
            self.db.exec_driver_sql(statement, {"seconds": seconds})
        if silent:
            self.db.exec_driver_sql(_SILENCE, {"seconds": seconds})
        else:
            claims.keep(self.db, self._living())

    def _living(self) -> list[uuid.UUID]:
        query = "SELECT token FROM delivery_batches WHERE alive_until > now()"
        return list(self.db.exec_driver_sql(query).scalars())

    @rule()
    def the_sweeper_takes_back(self) -> None:
        sweep.take_back(
            self.db,
            max_attempts=POLICY.max_attempts,
            max_ambiguous=POLICY.max_ambiguous,
            ambiguous_delay=POLICY.ambiguous_delay,
            fail_ambiguous=False,
            stuck=stuck_rows(),
        )
        assert list(self.db.exec_driver_sql(_EMPTY_BATCHES).scalars()) == []

    @rule()
    def the_sweeper_expires(self) -> None:
        sweep.expire(self.db, stuck=stuck_rows())

    @rule(
        server=st.integers(0, 3),
        soft=st.booleans(),
        refusals=st.sampled_from([0, 1, 16]),
        at_once=st.booleans(),
    )
    def a_server_fails(self, server: int, *, soft: bool, refusals: int, at_once: bool) -> None:
        breakers.fault(
            self.db,
            server,
            message="connection refused",
            reason="auth" if at_once else None,
            soft=soft,
            refusals=refusals,
            at_once=at_once,
            initial=30,
            maximum=900,
            stretch=1.0,
        )

    @rule(server=st.integers(0, 3))
    def a_server_works(self, server: int) -> None:
        breakers.success(self.db, server)

    @rule(data=st.data())
    def somebody_resends(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(self._ids() or [0]), max_size=4))
        with self.db.engine.begin() as transaction:
            done = log_changes.resend(
                transaction,
                ids,
                resent_by="anna",
                expire_after=86400,
                message_id_for=lambda _: f"<resend-{next(self.numbers)}@example.org>",
            )
        assert set(done.created).isdisjoint(done.refused)
        assert set(done.created) | set(done.refused) == set(ids)
        self.rows += len(done.created)

    @rule(data=st.data())
    def somebody_cancels(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(self._ids() or [0]), max_size=4))
        done = log_changes.cancel(self.db, ids, cancelled_by="anna")
        assert set(done.cancelled) | set(done.refused) == set(ids)

    @rule(customer=st.integers(0, 1))
    def a_customer_gets_a_server(self, customer: int) -> None:
        self.db.exec_driver_sql(
            "INSERT INTO smtp_configs (customer_id, host, from_email) "
            "VALUES (%(c)s, 'smtp.example.org', 'alerts@example.org') "
            "ON CONFLICT (customer_id) DO UPDATE SET port = smtp_configs.port",
            {"c": self.customers[customer]},
        )

    @rule(customer=st.integers(0, 1))
    def a_customer_loses_its_server(self, customer: int) -> None:
        self.db.exec_driver_sql(
            "DELETE FROM smtp_configs WHERE customer_id = %(c)s", {"c": self.customers[customer]}
        )

    @invariant()
    def ended_mails_never_change(self) -> None:
        now = {row.id: tuple(row) for row in self.db.exec_driver_sql(_FINAL)}
        assert {row_id: now.get(row_id) for row_id in self.final} == self.final
        self.final = now

    @invariant()
    def no_mail_is_lost(self) -> None:
        assert len(self._ids()) == self.rows

    @invariant()
    def what_was_recorded_as_sent_is_sent(self) -> None:
        rows = self.db.exec_driver_sql("SELECT id FROM notification_events WHERE status = 'sent'").scalars()
        assert set(rows) == self.recorded_sent
        assert all(self.accepted.get(row_id) for row_id in self.recorded_sent)

    @invariant()
    def every_extra_copy_is_counted(self) -> None:
        counts = self.db.exec_driver_sql("SELECT id, ambiguous_count FROM notification_events").all()
        assert [r.id for r in counts if self.accepted.get(r.id, 0) - 1 > r.ambiguous_count] == []

    @invariant()
    def no_lane_sleeps_while_a_mail_is_due(self) -> None:
        assert list(self.db.exec_driver_sql(_ASLEEP).scalars()) == []
        assert list(self.db.exec_driver_sql(_WRONG_SERVER).scalars()) == []
        assert sweep.repair_lanes(self.db) == 0

    @invariant()
    def no_server_gets_more_connections_than_allowed(self) -> None:
        crowded = self.db.exec_driver_sql(_CROWDED, {"connections": CONNECTIONS})
        assert list(crowded.scalars()) == []

    @invariant()
    def every_mail_in_flight_is_found_by_its_batch(self) -> None:
        assert list(self.db.exec_driver_sql(_IN_NO_BATCH).scalars()) == []

    @invariant()
    def no_mail_is_tried_too_often(self) -> None:
        assert self.db.exec_driver_sql("SELECT max(attempts) FROM notification_events").scalar_one() in (
            None,
            *range(POLICY.max_attempts + 1),
        )


def test_no_order_of_events_loses_repeats_or_forgets_a_mail(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        run_state_machine_as_test(
            lambda: Store(connection),  # type: ignore[arg-type]  # a factory is allowed, too
            settings=settings(
                max_examples=20,
                stateful_step_count=30,
                deadline=None,
                database=None,
                phases=[
                    HypothesisPhase.generate
                ],  # shrinking takes minutes and seldom shortens a story of the database
                suppress_health_check=list(HealthCheck),
            ),
        )
