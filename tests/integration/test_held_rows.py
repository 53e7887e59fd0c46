"""Somebody's open transaction, a damaged row or a trigger of one customer holds up nobody else, and repeats nothing."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from notifier import resources
from notifier.broker.messages import BrokerMessage, Settle
from notifier.domain.errors import RowsUnavailable
from notifier.store import inbox, sweep
from tests.integration.test_recipient_table import intake
from tests.store_rows import add_customer, add_event, add_mail, add_user, new_event, number, wake
from tests.store_work import take_back

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection, Engine

_SAMPLE = json.loads(resources.path("docs/events/job_failed.json").read_text("utf-8"))


@contextlib.contextmanager
def held(engine: Engine, statement: str, **parameters: object) -> Iterator[None]:
    """Somebody has begun a transaction with this and left."""
    with engine.connect() as somebody:
        somebody.exec_driver_sql(statement, parameters)
        yield
        somebody.rollback()


def held_lane(engine: Engine, customer: int) -> contextlib.AbstractContextManager[None]:
    return held(engine, "SELECT FROM delivery_lanes WHERE customer_id = %(id)s FOR UPDATE", id=customer)


def due(connection: Connection) -> list[int]:
    query = "SELECT customer_id FROM delivery_lanes WHERE next_due_at <= clock_timestamp() ORDER BY 1"
    return list(connection.exec_driver_sql(query).scalars())


def message(customer: int, name: str) -> BrokerMessage:
    event = {**_SAMPLE, "id": name, "data": {**_SAMPLE["data"], "customer_id": customer}}
    return BrokerMessage(
        body=json.dumps(event).encode(), content_type="application/cloudevents+json", routing_key="job_failed"
    )


def test_events_are_taken_in_although_a_lane_is_held_and_the_others_are_due_at_once(
    engine: Engine, connection: Connection
) -> None:
    first, sick, last = (add_customer(connection) for _ in range(3))
    with held_lane(engine, sick):
        events = [new_event(customer, "a") for customer in (first, sick, last)]
        assert inbox.add(connection, events) == ["stored"] * 3
        assert due(connection) == [first, last]
        assert sweep.repair_lanes(connection) == 0, "it waits for nobody either"
    assert sweep.repair_lanes(connection) == 1
    assert due(connection) == [first, sick, last]


def test_lost_mails_are_taken_back_although_a_lane_is_held(engine: Engine, connection: Connection) -> None:
    customers = [add_customer(connection) for _ in range(2)]
    for customer in customers:
        token = str(uuid4())
        mail = add_mail(connection, customer, add_event(connection, customer), address="a@x.example")
        connection.exec_driver_sql(
            "UPDATE notification_events SET lock_token = %(token)s, lease_until = now() - interval '1 second'"
            " WHERE id = %(mail)s",
            {"token": token, "mail": mail},
        )
        connection.exec_driver_sql(
            "INSERT INTO delivery_batches VALUES (%(token)s, 0, ARRAY[%(mail)s]::bigint[])",
            {"token": token, "mail": mail},
        )
    with held_lane(engine, customers[0]):
        found = take_back(connection)
        assert found.unsent == 2
        assert due(connection) == customers[1:]


@pytest.mark.parametrize("trouble", ["a lock", "a trigger"])
def test_a_customer_who_cannot_be_written_holds_up_no_other(
    engine: Engine, connection: Connection, trouble: str
) -> None:
    sick, well = add_customer(connection), add_customer(connection)
    for customer in (sick, well):
        add_user(connection, role="admin", access_to=customer)
    with contextlib.ExitStack() as stack:
        if trouble == "a lock":
            row = "SELECT FROM customers WHERE id = %(id)s FOR UPDATE"
            trouble_of_it = stack.enter_context(contextlib.ExitStack())
            trouble_of_it.enter_context(held(engine, row, id=sick))
            end = trouble_of_it.close
        else:
            connection.exec_driver_sql(
                "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
                f"CREATE TRIGGER no BEFORE INSERT ON job_events FOR EACH ROW WHEN (NEW.customer_id = {sick})"
                " EXECUTE FUNCTION no()"
            )

            def end() -> None:
                connection.exec_driver_sql("DROP TRIGGER no ON job_events")

        now = [0.0]
        one = stack.enter_context(contextlib.closing(intake(engine, clock=lambda: now[0])))
        sick_ones = [message(sick, "1"), message(sick, "2")]
        batch = [sick_ones[0], message(well, "1"), sick_ones[1], message(well, "2")]
        assert one.handle(batch) == [Settle.LATER, Settle.ACK, Settle.LATER, Settle.ACK]
        assert number(connection, "SELECT count(*) FROM job_events") == 2
        assert one.handle([message(sick, "3"), message(well, "3")]) == [Settle.LATER, Settle.ACK]
        end()
        now[0] += 5
        assert one.handle([*sick_ones, message(well, "4")]) == [Settle.ACK] * 3
        assert one.handle([message(sick, "3")]) == [Settle.ACK]
        assert number(connection, "SELECT count(*) FROM job_events") == 7
        assert due(connection) == [sick, well]


def test_when_nobody_can_be_written_it_is_an_outage(engine: Engine, connection: Connection) -> None:
    customers = [add_customer(connection) for _ in range(4)]
    connection.exec_driver_sql(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
        "CREATE TRIGGER no BEFORE INSERT ON job_events FOR EACH ROW EXECUTE FUNCTION no()"
    )
    with contextlib.closing(intake(engine)) as one, pytest.raises(RowsUnavailable):
        one.handle([message(customer, "1") for customer in customers])


def test_the_probe_waits_for_no_lane(engine: Engine, connection: Connection) -> None:
    first, _second = add_customer(connection), add_customer(connection)
    wake(connection, first)
    with held_lane(engine, first), contextlib.closing(intake(engine)) as one:
        one.probe()
