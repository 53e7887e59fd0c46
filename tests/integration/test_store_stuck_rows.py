"""A row that cannot be updated holds up no other: it is found, told, left out for a while, and tried again."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from notifier import repeating
from notifier.domain.errors import DatabaseUnavailable, LaneFault
from notifier.metrics import Metrics
from notifier.store import claims, sweep
from notifier.store.stuck_rows import STUCK_SECONDS, StuckRows
from notifier.sweeper import Rounds, Sweeper
from notifier.vitals import Vitals
from tests.integration.test_delivery_loop import POLICY
from tests.store_rows import customer_with, mend, number, spoil, wake
from tests.store_work import claim, take_back
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection, Engine

STATES = ["XX001", "XX002", "23514", "22021", "P0001", "58030"]


class Watch:
    """A clock, and what was told of stuck rows."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[tuple[int, str]] = []
        self.stuck = StuckRows(
            clock=lambda: self.now, tell=lambda row_id, reason: self.told.append((row_id, reason))
        )


@pytest.fixture
def watch() -> Watch:
    return Watch()


def _ids(connection: Connection, condition: str) -> list[int]:
    query = f"SELECT id FROM notification_events WHERE {condition} ORDER BY id"  # noqa: S608 - a condition of this file
    return list(connection.exec_driver_sql(query).scalars())


def _late(connection: Connection, mails: int) -> list[int]:
    """Mails of one customer, all past their time, the first one first."""
    customer_with(connection, mails)
    connection.exec_driver_sql(
        "UPDATE notification_events SET expires_at = now() - interval '1 hour' + id * interval '1 second'"
    )
    return _ids(connection, "true")


def _lost(connection: Connection, mails: int) -> list[int]:
    """Mails whose worker fell silent before it sent them."""
    customer_with(connection, mails)
    batch = claim(connection)
    assert batch is not None
    connection.exec_driver_sql("UPDATE delivery_batches SET alive_until = now() - interval '1 second'")
    return [mail.id for mail in batch.mails]


def _held(connection: Connection, mails: int) -> list[int]:
    """Mails behind an open breaker that do not say so yet."""
    customer_with(connection, mails)
    connection.exec_driver_sql(
        "UPDATE smtp_breakers SET open_until = now() + interval '1 hour', last_error = 'no route to host'"
    )
    return _ids(connection, "true")


def _take_back(connection: Connection, watch: Watch) -> object:
    return take_back(connection, stuck=watch.stuck)


def _expire(connection: Connection, watch: Watch) -> object:
    return sweep.expire(connection, stuck=watch.stuck)


def _tell_held(connection: Connection, watch: Watch) -> object:
    return sweep.tell_held(connection, stuck=watch.stuck)


TASKS = pytest.mark.parametrize(
    ("prepare", "task", "undone"),
    [
        (_late, _expire, "status = 'pending'"),
        (_lost, _take_back, "lock_token IS NOT NULL"),
        (_held, _tell_held, "error_message IS NULL"),
    ],
    ids=["expire", "take back", "tell held"],
)


@pytest.mark.parametrize("state", STATES)
@TASKS
def test_the_others_are_done_in_the_same_round(
    connection: Connection,
    watch: Watch,
    prepare: Callable[[Connection, int], list[int]],
    task: Callable[[Connection, Watch], object],
    undone: str,
    state: str,
) -> None:
    ids = prepare(connection, 9)
    spoil(connection, ids[0], ids[5], state=state)
    task(connection, watch)
    assert _ids(connection, undone) == [ids[0], ids[5]]
    assert sorted(row_id for row_id, _ in watch.told) == [ids[0], ids[5]]
    assert all(f"row {row_id} cannot be written" in reason for row_id, reason in watch.told)


@TASKS
def test_a_stuck_row_is_told_once_and_tried_again_after_a_while(
    connection: Connection,
    watch: Watch,
    prepare: Callable[[Connection, int], list[int]],
    task: Callable[[Connection, Watch], object],
    undone: str,
) -> None:
    ids = prepare(connection, 3)
    spoil(connection, ids[1])
    for _ in range(3):
        task(connection, watch)
    assert len(watch.told) == 1
    watch.now += STUCK_SECONDS
    task(connection, watch)
    assert len(watch.told) == 2
    mend(connection)
    watch.now += STUCK_SECONDS
    task(connection, watch)
    assert _ids(connection, undone) == []


def test_where_every_row_is_stuck_a_round_ends_and_the_next_ones_come_to_the_others(
    connection: Connection, watch: Watch
) -> None:
    ids = _late(connection, 120)
    spoil(connection, *ids[:100])
    _expire(connection, watch)
    assert 0 < len(watch.told) < 100
    for _ in range(5):
        _expire(connection, watch)
    assert _ids(connection, "status = 'pending'") == ids[:100]


def test_the_sweeper_tells_a_stuck_row_once_and_stays_ready(
    engine: Engine, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "POLL", 0.001)
    ids = _late(connection, 3)
    spoil(connection, ids[0])
    vitals, stopping, looks = Vitals(version="test", clock=time.monotonic), threading.Event(), [0]

    def look() -> None:
        looks[0] += 1

    sweeper = Sweeper(
        engine=engine,
        policy=POLICY,
        look_after_senders=look,
        vitals=vitals,
        metrics=Metrics(version="test"),
        clock=time.monotonic,
        stopping=stopping,
        rounds=Rounds(expire=0.0, take_back=0.0, tell_held=0.0),
    )
    with capture_logs() as logs:
        sweeper.start()
        wait_until(lambda: _ids(connection, "status = 'pending'") == ids[:1], what="the others to expire")
        seen = looks[0]
        wait_until(lambda: looks[0] > seen + 3, what="three more rounds")
        assert vitals.summary()["database"] is True
        stopping.set()
        wait_until(lambda: not sweeper.alive, what="its end")
    stuck = [line for line in logs if line["log_level"] == "error"]
    assert [(line["event"], line["mail_id"]) for line in stuck] == [("mail_stuck", ids[0])]


@pytest.mark.parametrize("state", ["57P03", "53100", "40P01", "57014"])
def test_a_fault_that_is_not_about_a_row_ends_the_round(
    connection: Connection, watch: Watch, state: str
) -> None:
    """What the whole database cannot do now, it is not asked for row by row."""
    ids = _late(connection, 4)
    spoil(connection, ids[0], state=state)
    with pytest.raises(DatabaseUnavailable):
        _expire(connection, watch)
    assert watch.told == []


def _mails_of(connection: Connection, customer: int) -> list[int]:
    return _ids(connection, f"customer_id = {customer}")


def _fault(connection: Connection) -> LaneFault:
    with pytest.raises(LaneFault) as caught:
        claim(connection)
    return caught.value


def _claimed(connection: Connection) -> list[int]:
    batch = claim(connection)
    return [mail.id for mail in batch.mails] if batch else []


def _pass_over(connection: Connection, fault: LaneFault) -> list[int | None]:
    return [row_id for row_id, _ in claims.pass_over(connection, fault, limit=32)]


def _later(connection: Connection) -> None:
    connection.exec_driver_sql(
        "UPDATE delivery_lanes SET passed_over_until = now() - interval '1 second',"
        " next_due_at = least(next_due_at, now())"
    )


@pytest.mark.parametrize("state", STATES)
def test_the_other_mails_of_a_customer_are_claimed_without_those_that_cannot_be(
    connection: Connection, state: str
) -> None:
    customer = customer_with(connection, 6)
    ids = _mails_of(connection, customer)
    spoil(connection, ids[0], ids[3], state=state)
    fault = _fault(connection)
    assert fault.customer_id == customer
    assert "cannot be written" in str(fault)
    found = claims.pass_over(connection, fault, limit=32)
    assert [row_id for row_id, _ in found] == [ids[0], ids[3]]
    assert all(f"row {row_id} cannot be written ({state})" == error for row_id, error in found)
    assert _claimed(connection) == [ids[1], ids[2], *ids[4:]]
    assert claim(connection) is None
    assert not claims.claimable(connection, connections=4, unproven=True, slow="{}")


def test_an_event_that_cannot_be_read_holds_up_its_own_mails_only(connection: Connection) -> None:
    customer = customer_with(connection, 2)
    broken = _mails_of(connection, customer)
    event = number(connection, "SELECT id FROM job_events")
    connection.exec_driver_sql(
        "ALTER TABLE job_events ALTER payload SET STORAGE EXTERNAL;"
        "UPDATE job_events SET payload = jsonb_build_object('text', repeat('x', 100000)) WHERE id = %(e)s",
        {"e": event},
    )
    toast = connection.exec_driver_sql(
        "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 'job_events'::regclass"
    ).scalar_one()
    kind = f"UPDATE pg_class SET relkind = %(kind)s WHERE oid = '{toast}'::regclass"  # noqa: S608 - from the catalogue
    connection.exec_driver_sql("SET allow_system_table_mods = on")
    connection.exec_driver_sql(kind, {"kind": "r"})  # PostgreSQL itself lets nobody break it
    connection.exec_driver_sql(f"DELETE FROM {toast}")  # noqa: S608 - from the catalogue
    connection.exec_driver_sql(kind, {"kind": "t"})
    connection.exec_driver_sql("VACUUM job_events")
    other = connection.exec_driver_sql(
        "INSERT INTO job_events (customer_id, source, event_id, event_type, payload, payload_sha256, outcome)"
        " SELECT customer_id, source, 'other', event_type, '{}', payload_sha256, outcome FROM job_events RETURNING id"
    ).scalar_one()
    connection.exec_driver_sql(
        "UPDATE notification_events SET job_event_id = %(o)s WHERE id = %(m)s", {"o": other, "m": broken[1]}
    )
    assert _pass_over(connection, _fault(connection)) == [broken[0]]
    assert _claimed(connection) == [broken[1]]


def test_what_was_passed_over_is_tried_again_after_a_while(connection: Connection) -> None:
    customer = customer_with(connection, 3)
    ids = _mails_of(connection, customer)
    spoil(connection, ids[1])
    _pass_over(connection, _fault(connection))
    assert _claimed(connection) == [ids[0], ids[2]]
    wait = "SELECT extract(epoch FROM next_due_at - now())::int FROM delivery_lanes"
    assert number(connection, wait) == pytest.approx(600, abs=5)
    _later(connection)
    assert _pass_over(connection, _fault(connection)) == [ids[1]]
    mend(connection)
    _later(connection)
    assert _claimed(connection) == [ids[1]]


def test_a_second_stuck_mail_is_found_beside_the_first(connection: Connection) -> None:
    customer = customer_with(connection, 4)
    ids = _mails_of(connection, customer)
    spoil(connection, ids[0])
    _pass_over(connection, _fault(connection))
    mend(connection)
    spoil(connection, ids[0], ids[2])
    assert _pass_over(connection, _fault(connection)) == [ids[2]]
    assert _claimed(connection) == [ids[1], ids[3]]


def test_of_two_workers_that_met_the_same_fault_the_second_changes_nothing(connection: Connection) -> None:
    customer = customer_with(connection, 3)
    ids = _mails_of(connection, customer)
    spoil(connection, ids[0])
    first, second = _fault(connection), _fault(connection)
    assert _pass_over(connection, first) == [ids[0]]
    assert _pass_over(connection, second) == []
    assert _claimed(connection) == ids[1:]


def test_a_customer_whose_claim_fails_for_no_mail_s_sake_is_put_off_for_a_minute(
    connection: Connection,
) -> None:
    """New mails do not call for it before, nor does the repair of lanes; other customers' mails leave meanwhile."""
    customer = customer_with(connection, 2)
    connection.exec_driver_sql("ALTER TABLE delivery_batches ADD CONSTRAINT none CHECK (false)")
    assert _pass_over(connection, _fault(connection)) == [None]
    connection.exec_driver_sql("ALTER TABLE delivery_batches DROP CONSTRAINT none")
    connection.exec_driver_sql("SELECT lower_lanes(ARRAY[%(c)s]::bigint[], ARRAY[now()])", {"c": customer})
    assert sweep.repair_lanes(connection) == 0
    other = customer_with(connection, 1)
    assert _claimed(connection) == _mails_of(connection, other)
    assert claim(connection) is None
    _later(connection)
    assert _claimed(connection) == _mails_of(connection, customer)


def test_a_customer_with_very_many_stuck_mails_is_put_off_as_a_whole(connection: Connection) -> None:
    customer = customer_with(connection, 120)
    spoil(connection, *_mails_of(connection, customer))
    found: list[int | None] = []
    for _ in range(4):
        found += _pass_over(connection, _fault(connection))
    assert found[-1] is None
    assert claim(connection) is None
    assert number(connection, "SELECT count(*) FROM delivery_lanes WHERE passed_over <> '{}'") == 0


def test_the_repair_of_lanes_wakes_no_lane_for_what_is_passed_over(connection: Connection) -> None:
    customer = customer_with(connection, 2)
    spoil(connection, _mails_of(connection, customer)[0])
    _pass_over(connection, _fault(connection))
    assert len(_claimed(connection)) == 1
    assert sweep.repair_lanes(connection) == 0


@pytest.mark.parametrize("state", ["57P03", "53100", "40P01"])
def test_a_claim_that_fails_for_the_whole_database_s_sake_is_no_fault_of_a_customer(
    connection: Connection, state: str
) -> None:
    customer = customer_with(connection, 2)
    spoil(connection, _mails_of(connection, customer)[0], state=state)
    with pytest.raises(DatabaseUnavailable):
        claim(connection)
    mend(connection)
    wake(connection, customer)
    assert len(_claimed(connection)) == 2


def test_a_customer_whose_server_s_row_is_locked_for_long_is_put_off_for_seconds(
    engine: Engine, connection: Connection
) -> None:
    customer = customer_with(connection, 1)
    connection.exec_driver_sql("SET lock_timeout = '50ms'")
    with engine.begin() as holder:
        holder.exec_driver_sql("SELECT FROM smtp_breakers FOR UPDATE")
        assert _pass_over(connection, _fault(connection)) == [None]
    wait = "SELECT extract(epoch FROM next_due_at - now())::int FROM delivery_lanes"
    assert 5 < number(connection, wait) <= 10
    _later(connection)
    assert _claimed(connection) == _mails_of(connection, customer)
