"""The event log and the inbox as people see and change them."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from notifier.domain.errors import NotFound
from notifier.domain.outcomes import Reply, Settlement
from notifier.store import event_log, inbox, job_events, log_changes, rejected
from notifier.store.event_log import LogFilter
from notifier.store.pages import Slice
from tests.store_rows import add_customer, add_event, add_mail, next_name, one, wake
from tests.store_work import claim

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine


def _resend(connection: Connection, ids: list[int]) -> log_changes.Resent:
    return log_changes.resend(
        connection,
        ids,
        resent_by="anna",
        expire_after=3600,
        message_id_for=lambda old: f"<{next_name('resend')}@{old.partition('@')[2]}",
    )


def _found(connection: Connection, wanted: LogFilter) -> set[int]:
    page = event_log.find(connection, wanted)
    assert page.total == len(page.items) == event_log.count(connection, wanted)
    assert sorted(row.id for row in page.items) == event_log.matching_ids(connection, wanted)
    return {row.id for row in page.items}


def test_each_filter_finds_its_rows_and_no_others(connection: Connection) -> None:
    acme, beta = add_customer(connection), add_customer(connection)
    failed = add_mail(connection, acme, add_event(connection, acme), status="failed", failure_reason="auth")
    event = add_event(connection, acme, event_type="job_success")
    sent = add_mail(connection, acme, event, status="sent", job_id=7, address="anna@xn--bcher-kva.example")
    old = add_mail(connection, beta, add_event(connection, beta), age_days=3)
    day_ago = datetime.now(UTC) - timedelta(days=1)
    assert _found(connection, LogFilter()) == {failed, sent, old}
    assert _found(connection, LogFilter(customer_ids=(beta,))) == {old}
    assert _found(connection, LogFilter(customer_ids=())) == set()
    assert _found(connection, LogFilter(status="failed")) == {failed}
    assert _found(connection, LogFilter(failure_reason="auth")) == {failed}
    assert _found(connection, LogFilter(failure_reason="tls")) == set()
    assert _found(connection, LogFilter(event_type="job_success")) == {sent}
    assert _found(connection, LogFilter(job_id=7)) == {sent}
    assert _found(connection, LogFilter(job_event_id=event)) == {sent}
    assert _found(connection, LogFilter(compliance_result_id=7)) == set()
    assert _found(connection, LogFilter(user_id=1)) == {failed, sent, old}
    assert _found(connection, LogFilter(recipient="anna@BÜCHER.example")) == {sent}
    assert _found(connection, LogFilter(recipient="no address")) == set()
    assert _found(connection, LogFilter(since=day_ago)) == {failed, sent}
    assert _found(connection, LogFilter(until=day_ago)) == {old}
    assert _found(connection, LogFilter(ids=(failed, old), customer_ids=(acme,))) == {failed}


def test_orders_put_mails_that_were_not_sent_last(connection: Connection) -> None:
    customer = add_customer(connection)
    event = add_event(connection, customer)
    older = add_mail(connection, customer, event, status="sent", age_days=2)
    newer = add_mail(connection, customer, event, status="sent", age_days=1)
    waiting = add_mail(connection, customer, event, age_days=3)

    def order(ordering: event_log.Ordering) -> list[int]:
        return [row.id for row in event_log.find(connection, LogFilter(), ordering=ordering).items]

    assert order("-created_at") == [newer, older, waiting]
    assert order("created_at") == [waiting, older, newer]
    assert order("-sent_at") == [newer, older, waiting]
    assert order("sent_at") == [older, newer, waiting]


def test_a_page_has_its_part_and_the_number_of_all(connection: Connection) -> None:
    customer = add_customer(connection)
    event = add_event(connection, customer)
    ids = [add_mail(connection, customer, event) for _ in range(5)]
    for offset, expected in ((0, [ids[4], ids[3]]), (4, [ids[0]]), (6, [])):
        page = event_log.find(connection, LogFilter(), part=Slice(limit=2, offset=offset))
        assert ([row.id for row in page.items], page.total) == (expected, 5)


def test_one_mail_is_shown_with_all_that_explains_it(connection: Connection) -> None:
    customer = add_customer(connection, "Acme")
    event = add_event(connection, customer)
    mail = add_mail(connection, customer, event, status="failed")
    (resent,) = _resend(connection, [mail]).created.values()
    connection.exec_driver_sql(
        "UPDATE smtp_breakers SET open_until = now() + interval '1 hour', last_error = 'connection refused', trips = 2"
    )
    detail = event_log.show(connection, mail)
    assert detail.row.customer_name == "Acme"
    assert detail.job_event is not None
    assert detail.job_event.document["data"]["job"]["id"] == 4812
    assert [other.id for other in detail.generations] == [resent]
    assert detail.breaker is not None
    assert detail.breaker.open_until is not None
    assert detail.breaker.last_error == "connection refused"


def test_another_customers_mail_does_not_exist(connection: Connection) -> None:
    customer = add_customer(connection)
    mail = add_mail(connection, customer, add_event(connection, customer))
    with pytest.raises(NotFound, match="there is no mail"):
        event_log.show(connection, mail, customer_ids=(customer + 1,))
    assert event_log.get(connection, mail, customer_ids=(customer,)).id == mail


def test_a_resend_is_a_new_pending_mail_that_is_due_at_once(connection: Connection) -> None:
    customer = add_customer(connection)
    mail = add_mail(connection, customer, add_event(connection, customer), status="failed", age_days=5)
    done = _resend(connection, [mail])
    row = event_log.get(connection, done.created[mail])
    old = event_log.get(connection, mail)
    assert (row.status, row.generation, row.resent_by, row.attempts) == ("pending", 1, "anna", 0)
    assert (row.recipient_email, row.subject, row.job_id) == (old.recipient_email, old.subject, old.job_id)
    assert row.message_id != old.message_id
    assert row.expires_at > row.created_at > old.created_at
    assert old.status == "failed"
    assert one(connection, "SELECT next_due_at <= now() FROM delivery_lanes") is True


def test_a_resend_does_not_wake_a_server_whose_breaker_is_open(connection: Connection) -> None:
    customer = add_customer(connection)
    mail = add_mail(connection, customer, add_event(connection, customer), status="failed")
    connection.exec_driver_sql(
        "UPDATE smtp_breakers SET open_until = now() + interval '1 hour', last_error = 'connection refused'"
    )
    created = _resend(connection, [mail]).created[mail]
    assert one(connection, "SELECT next_due_at > now() + interval '59 min' FROM delivery_lanes") is True
    assert event_log.get(connection, created).error_message == "connection refused"


def test_what_cannot_be_resent_says_why(connection: Connection) -> None:
    customer = add_customer(connection)
    event = add_event(connection, customer)
    pending = add_mail(connection, customer, event)
    sent = add_mail(connection, customer, event, status="sent")
    done = _resend(connection, [pending, sent, 999])
    assert set(done.created) == {sent}
    assert "still pending" in done.refused[pending]
    assert done.refused[999] == "there is no mail 999"
    again = _resend(connection, [sent])
    assert again.refused[sent] == f"it was resent before, as mail {done.created[sent]} (pending)"


def test_two_people_who_resend_one_mail_at_once_make_one_mail(engine: Engine, connection: Connection) -> None:
    customer = add_customer(connection)
    mail = add_mail(connection, customer, add_event(connection, customer), status="failed")
    results: list[log_changes.Resent] = []
    start = threading.Barrier(4)

    def person() -> None:
        with engine.begin() as own:
            start.wait(timeout=10)
            results.append(_resend(own, [mail]))

    people = [threading.Thread(target=person) for _ in range(4)]
    for one_person in people:
        one_person.start()
    for one_person in people:
        one_person.join(timeout=20)
    assert sorted(len(result.created) for result in results) == [0, 0, 0, 1]
    assert sorted(len(result.refused) for result in results) == [0, 1, 1, 1]
    assert one(connection, "SELECT count(*) FROM notification_events") == 2


def test_cancelling_ends_what_waits_and_leaves_what_is_in_flight(connection: Connection) -> None:
    customer = add_customer(connection)
    event = add_event(connection, customer)
    flying = add_mail(connection, customer, event)
    wake(connection, customer)
    batch = claim(connection)
    assert batch is not None
    waiting = add_mail(connection, customer, event)
    sent = add_mail(connection, customer, event, status="sent")
    left = {
        flying: "a worker is sending it at this moment",
        sent: "it is sent, which is final",
        999: "there is no mail 999",
    }
    assert log_changes.not_cancellable(connection, [flying, waiting, sent, 999]) == left
    done = log_changes.cancel(connection, [flying, waiting, sent, 999], cancelled_by="anna")
    assert done.cancelled == (waiting,)
    assert done.refused == left
    row = event_log.get(connection, waiting)
    assert (row.status, row.failure_reason, row.error_message) == ("failed", "cancelled", "cancelled by anna")
    assert event_log.get(connection, flying).in_flight


@pytest.mark.parametrize("sent", [True, False])
def test_a_test_mail_is_a_row_with_its_result(connection: Connection, *, sent: bool) -> None:
    customer = add_customer(connection)
    settlement = Settlement(
        status="sent" if sent else "failed",
        failure_reason=None if sent else "permanent_smtp",
        delay=None,
        attempt_kept=True,
        ambiguous=False,
        expiry_reason=None,
        message=None if sent else "the mailbox was refused",
        reply=Reply(code=250 if sent else 550, enhanced=None, text="said the server"),
    )
    mail = log_changes.TriedTestMail(
        customer_id=customer,
        user_id=None,
        recipient_email="anna@example.org",
        recipient_key="anna@example.org",
        subject="A test",
        message_id="<test@example.org>",
        server_id=0,
        settlement=settlement,
    )
    row = event_log.get(connection, log_changes.add_test_mail(connection, mail))
    assert (row.event_type, row.job_event_id, row.status) == ("test", None, settlement.status)
    assert (row.attempts, row.smtp_code, row.error_message) == (1, 250 if sent else 550, settlement.message)
    assert event_log.show(connection, row.id).job_event is None
    assert "test mail" in _resend(connection, [row.id]).refused[row.id]


def test_job_events_are_found_by_what_people_know_of_them(connection: Connection) -> None:
    customer = add_customer(connection)
    event = add_event(connection, customer, job_id=77)
    other = add_event(connection, customer, event_type="job_success", age_days=2)
    stored = job_events.get(connection, event)
    assert stored.document["id"] == stored.event_id

    def found(wanted: job_events.EventFilter) -> list[int]:
        return [summary.id for summary in job_events.find(connection, wanted).items]

    assert found(job_events.EventFilter()) == [event, other]
    assert found(job_events.EventFilter(job_id=77)) == [event]
    assert found(job_events.EventFilter(event_id=stored.event_id)) == [event]
    assert found(job_events.EventFilter(event_type="job_success")) == [other]
    assert found(job_events.EventFilter(outcome="ignored")) == []
    assert found(job_events.EventFilter(since=datetime.now(UTC) - timedelta(days=1))) == [event]
    assert found(job_events.EventFilter(until=datetime.now(UTC) - timedelta(days=1))) == [other]
    assert job_events.find(connection, job_events.EventFilter(job_id=77)).items[0].job_id == 77
    with pytest.raises(NotFound, match="no job event"):
        job_events.get(connection, event, customer_ids=(customer + 1,))


def test_a_job_id_that_is_none_does_not_break_the_list(connection: Connection) -> None:
    """An event of an unknown type may have anything at the place of the job's id."""
    event = add_event(connection, add_customer(connection))
    connection.exec_driver_sql(
        "UPDATE job_events SET event_type = 'job_exploded', outcome = 'ignored',"
        """ payload = '{"data": {"job": {"id": "99999999999999999999"}, "compliance_result": {"id": []}}}'"""
    )
    (summary,) = job_events.find(connection, job_events.EventFilter()).items
    assert (summary.id, summary.job_id) == (event, None)


@pytest.mark.parametrize(
    ("event_type", "data", "ids"),
    [
        ("job_failed", {"job": {"id": 7}, "compliance_result": {"id": "x", "job_id": "y"}}, (7, None)),
        ("compliance_violation", {"compliance_result": {"id": 9}}, (None, 9)),
        ("compliance_violation", {"compliance_result": {"id": 9, "job_id": 8}}, (8, 9)),
        (
            "compliance_violation",
            {"compliance_result": {"id": 9, "job_id": 8}, "job": {"id": 2**63 - 1}},
            (2**63 - 1, 9),
        ),
        ("compliance_violation", {"compliance_result": {"id": 9, "job_id": 8}, "job": None}, (8, 9)),
    ],
)
def test_an_event_has_the_ids_that_its_mails_have(
    connection: Connection, event_type: str, data: dict[str, object], ids: tuple[int | None, int | None]
) -> None:
    """The columns follow `JobEvent.job_id` and `compliance_result_id`, also for events without a mail."""
    add_event(connection, add_customer(connection), event_type=event_type)
    connection.exec_driver_sql(
        "UPDATE job_events SET payload = %(p)s::jsonb", {"p": json.dumps({"data": data})}
    )
    row = connection.exec_driver_sql("SELECT job_id, compliance_result_id FROM job_events").one()
    assert tuple(row) == ids


def test_rejections_are_found_by_reason_and_by_body(connection: Connection) -> None:
    for reason, body in (("bad_json", b"a" * 32), ("empty_body", b"b" * 32), ("bad_json", b"a" * 32)):
        inbox.reject(
            connection,
            [
                inbox.Rejection(
                    reason=reason,  # type: ignore[arg-type]  # a loop over literals
                    detail="x",
                    event_id=None,
                    body_sha256=body,
                    body_head=b"\x00{",
                )
            ],
        )
    page = rejected.find(connection, rejected.RejectedFilter(reason="bad_json"))
    assert (page.total, [one_row.reason for one_row in page.items]) == (2, ["bad_json", "bad_json"])
    by_body = rejected.by_body(connection, [b"a" * 32, b"c" * 32])
    assert {body: row.id for body, row in by_body.items()} == {b"a" * 32: page.items[0].id}
    assert rejected.get(connection, page.items[0].id).body_head == b"\x00{"
    with pytest.raises(NotFound, match="no rejected event 999"):
        rejected.get(connection, 999)
