"""What becomes of events and mails when the database is killed, cut off, full, read-only or slow to answer."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg2
import pytest

from tests.acceptance.flow import Flow
from tests.acceptance.scale import scaled, size
from tests.acceptance.test_broker_faults import events
from tests.acceptance.test_process_faults import SHORT_LEASE, clean, costs
from tests.acceptance.world import failed_job
from tests.services import execute, with_database
from tests.support.small_disk import small_disk
from tests.support.smtp_script import hang
from tests.support.smtp_server import Options
from tests.support.tcp_proxy import TcpProxy
from tests.waiting import wait_out, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.sandbox.postgres import PostgresServer
    from tests.acceptance.world import World

OUTAGE = size(12.0, 300.0)  # seconds
_END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND"
    " application_name LIKE 'notifier worker%'"
)
_RECORDING = b"SET status = v.status"


@scaled
def test_sessions_ended_again_and_again_lose_nothing(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    """F21: in full 60 rounds."""
    customers = [world.customer(world.smtp(Options(delay=0.01)), admins=2) for _ in range(3)]
    worker = world.worker(**SHORT_LEASE, delivery__ambiguous_delay=0.1).ready()
    with Flow(world, customers, rate=40) as flow:
        for _ in range(size(8, 60)):
            flow.wait_for(30)
            world.database.execute(_END_SESSIONS)
    world.wait_settled(flow.mails)

    lost, extra, ambiguous = costs(world.verdict())
    record_property("costs", f"{flow.mails} mails, extra {extra} of {ambiguous}")
    assert (lost, extra <= ambiguous) == (0, True)
    worker.check_alive()
    assert worker.terminate() == 0


@pytest.mark.xdist_group("own_postgres")
@scaled
def test_a_database_killed_for_a_while_is_waited_for(
    database_world: World, own_postgres: PostgresServer, record_property: Callable[[str, object], None]
) -> None:
    """F22: in full for five minutes. The same process goes on, and the queue is given back once only."""
    world = database_world
    customers = [world.customer(world.smtp(Options(delay=0.01)), admins=2) for _ in range(2)]
    worker = world.worker(**SHORT_LEASE).ready()
    with Flow(world, customers, rate=size(25, 4)) as flow:
        flow.wait_for(40)
        own_postgres.kill()
        wait_until(lambda: worker.get("/readyz")[0] == 503, what="not ready")
        assert worker.get("/livez")[0] == 200
        wait_out(OUTAGE, "the end of the outage")
        own_postgres.start()
        worker.ready(20)
        up = time.monotonic()
        flow.wait_for(20)
    world.wait_settled(flow.mails)

    record_property("drained", f"{flow.mails} mails final {time.monotonic() - up:.0f} s after ready again")
    assert events(worker, "intake_paused") == 1
    assert events(worker, "broker_connection_lost") == 0
    lost, extra, ambiguous = costs(world.verdict())
    assert (lost, extra <= ambiguous) == (0, True)
    assert worker.terminate() == 0


def _cut(first: int) -> Callable[[TcpProxy], None]:
    """Break the connection whenever a result is about to be recorded, the first so many times."""

    def arrange(proxy: TcpProxy) -> None:
        left = [first]

        def pass_on(_: int, towards_target: bool, data: bytes) -> bool:  # noqa: FBT001 - the proxy's signature
            if towards_target and _RECORDING in data and left[0]:
                left[0] -= 1
                return False
            return True

        proxy.on_data = pass_on

    return arrange


def _lose_the_answer(proxy: TcpProxy) -> None:
    """Let the result be committed, and break the connection instead of bringing the answer."""
    recording: list[int] = []  # the first connection that records

    def pass_on(connection: int, towards_target: bool, data: bytes) -> bool:  # noqa: FBT001 - the proxy's signature
        if towards_target and _RECORDING in data and not recording:
            recording.append(connection)
        elif not towards_target and recording == [connection]:
            recording.append(0)  # lost
            return False
        return True

    proxy.on_data = pass_on


def _hang(seconds: float) -> Callable[[TcpProxy], None]:
    """Keep the statement back for so long when a result is about to be recorded."""

    def arrange(proxy: TcpProxy) -> None:
        until: list[float] = []

        def pass_on(_: int, towards_target: bool, data: bytes) -> bool:  # noqa: FBT001 - the proxy's signature
            if towards_target and _RECORDING in data and not until:
                until.append(time.monotonic() + seconds)
                wait_until(lambda: time.monotonic() >= until[0], seconds + 1)
            return True

        proxy.on_data = pass_on

    return arrange


@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(_hang(4), id="the commit hangs"),
        pytest.param(_cut(3), id="cut before the commit"),
        pytest.param(_lose_the_answer, id="cut after the commit"),
    ],
)
def test_an_accepted_mail_is_recorded_although_the_database_goes_away(
    world: World, arrange: Callable[[TcpProxy], None]
) -> None:
    """F23, scaled with the lease: results are recorded again and again until five seconds before its end."""
    customer = world.customer(admins=2)
    where = urlsplit(world.database.url)
    with TcpProxy((where.hostname or "", where.port or 5432)) as proxy:
        arrange(proxy)
        login = where.netloc.rpartition("@")[0]
        through = where._replace(netloc=f"{login}@127.0.0.1:{proxy.port}").geturl()
        worker = world.worker(**SHORT_LEASE, database__url=through).ready()
        world.fail_job(customer, 1)
        rows = world.wait_settled(2)
        assert worker.terminate() == 0

    assert {(row.status, row.attempts) for row in rows} == {("sent", 1)}
    assert clean(world)


def test_a_read_only_database_stops_the_intake_until_it_can_be_written_again(world: World) -> None:
    """F24: nothing is acked meanwhile."""
    customer = world.customer(admins=2)
    worker = world.worker().ready()
    elsewhere = with_database(world.database.url, "postgres")
    alter = f"ALTER DATABASE {world.database.name} SET default_transaction_read_only = "
    execute(elsewhere, alter + "on")
    world.database.execute(_END_SESSIONS)
    for number in range(1, 31):
        world.fail_job(customer, number)
    wait_until(lambda: events(worker, "database_probe_failed") >= 2, 60, "the intake to pause")
    assert world.database.rows("SELECT count(*) FROM job_events") == [(0,)]
    world.wait_depth(world.topology.queue, 30)
    assert worker.get("/readyz")[0] == 503
    assert events(worker, "intake_paused") == 1

    # A session opened between the two statements can write, and its end may be met by a batch: one pause more.
    execute(elsewhere, alter + "off")
    world.database.execute(_END_SESSIONS)
    world.wait_settled(60)
    worker.ready()
    assert events(worker, "intake_paused") <= 2
    assert clean(world)


@pytest.mark.xdist_group("own_postgres")
def test_a_password_that_is_changed_under_a_running_worker_is_waited_for(
    database_world: World, own_postgres: PostgresServer
) -> None:
    """Only the first connection takes a refusal for a wrong configuration."""
    world = database_world
    customer = world.customer(admins=2)
    role = f"{world.database.name}_worker"
    execute(own_postgres.url, f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'before'")
    try:
        where = urlsplit(world.database.url)
        url = where._replace(netloc=f"{role}:before@127.0.0.1:{where.port}").geturl()
        worker = world.worker(database__url=url).ready()
        execute(own_postgres.url, f"ALTER ROLE {role} PASSWORD 'after'")
        world.database.execute(_END_SESSIONS)
        world.fail_job(customer, 1)
        wait_until(lambda: events(worker, "database_probe_failed") >= 2, 60, "the login to be refused")
        assert "password authentication failed" in worker.get("/healthz")[1]
        worker.check_alive()
        execute(own_postgres.url, f"ALTER ROLE {role} PASSWORD 'before'")
        world.wait_settled(2)
        worker.ready()
        assert worker.terminate() == 0
    finally:
        execute(own_postgres.url, f"DROP ROLE {role}")
    assert clean(world)


def test_a_table_that_goes_away_under_a_running_worker_is_named_and_waited_for(world: World) -> None:
    """The intake does not resume and pause in turn; whoever starts meanwhile ends with 78."""
    customer = world.customer(admins=2)
    worker = world.worker().ready()
    world.database.execute("ALTER TABLE smtp_configs RENAME TO mislaid")
    world.fail_job(customer, 1)
    wait_until(lambda: events(worker, "database_probe_failed") >= 3, 60, "the intake to pause")
    assert (events(worker, "intake_paused"), events(worker, "intake_resumed")) == (1, 0)
    assert "lacks the table smtp_configs" in worker.get("/readyz")[1]

    newcomer = world.worker()
    assert newcomer.wait() == 78
    assert "lacks the table smtp_configs" in newcomer.log.read_text()

    world.database.execute("ALTER TABLE mislaid RENAME TO smtp_configs")
    world.wait_settled(2)
    worker.ready()
    assert (events(worker, "intake_paused"), events(worker, "intake_resumed")) == (1, 1)
    assert worker.terminate() == 0
    assert clean(world)


@pytest.mark.xdist_group("own_postgres")
def test_a_full_disk_stops_the_intake_with_ever_longer_pauses_and_costs_nothing(
    database_world: World,
) -> None:
    """F24: nothing is acked and no letter dies of it, although the probe finds room now and then."""
    world = database_world
    customers = [world.customer(world.smtp(Options(delay=0.01)), admins=2) for _ in range(2)]
    with small_disk(world.database) as disk:
        worker = world.worker(**SHORT_LEASE, delivery__ambiguous_delay=0.1).ready()
        with Flow(world, customers, rate=25) as flow:
            flow.wait_for(40)
            disk.fill()
            wait_until(lambda: events(worker, "intake_paused") >= 3, 90, "the intake to pause")
            disk.free()
            flow.wait_for(20)
        world.wait_settled(flow.mails)
        assert worker.terminate() == 0
        world.forget_connection()

    paused = [line for line in worker.lines() if line["event"] == "intake_paused"]
    assert all("space" in line["error"] for line in paused), paused
    assert len(paused) <= 8
    assert events(worker, "broker_connection_lost") == 0
    lost, extra, ambiguous = costs(world.verdict())
    assert (lost, extra <= ambiguous) == (0, True)


def test_an_event_for_5000_readers_is_one_transaction(world: World) -> None:
    """F39."""
    customer = world.customer(admins=5000)
    customer.server.on("banner", hang())
    worker = world.worker(delivery__drain_timeout=1).ready()
    world.fail_job(customer, 1)
    published = time.monotonic()
    count = "SELECT count(*), count(DISTINCT created_at) FROM notification_events"
    wait_until(lambda: world.database.rows(count) == [(5000, 1)], 30, "5000 rows of one transaction")
    assert time.monotonic() - published <= 30
    assert not events(worker, "broker_connection_lost")
    assert worker.terminate() == 0
    assert world.depth(world.topology.queue) == 0  # had it not been acked, it would be back


def test_a_transaction_left_open_on_one_customers_row_holds_up_nobody_else(world: World) -> None:
    """Whoever left it open, the events of that customer wait in the worker's hand until it ends."""
    sick, well = world.customer(), world.customer()
    world.worker().ready()
    with contextlib.closing(psycopg2.connect(world.database.url)) as somebody, somebody.cursor() as cursor:
        cursor.execute("SELECT FROM customers WHERE id = %s FOR UPDATE", (sick.id,))
        world.publish(failed_job(sick, 1))
        for number in range(2, 12):
            world.publish(failed_job(well, number))
        world.wait_final(well, 10, 30)
        assert world.ask("SELECT count(*) FROM job_events WHERE customer_id = %s", (sick.id,)) == [(0,)]
        somebody.rollback()
    assert [row["status"] for row in world.wait_final(sick, 1)] == ["sent"]
    assert world.ask("SELECT count(*) FROM rejected_events") == [(0,)]
