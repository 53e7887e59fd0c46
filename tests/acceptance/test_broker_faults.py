"""What becomes of events and mails when the broker is killed, cut off, in alarm, or takes things away."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from pika import BlockingConnection, URLParameters
from pika.exceptions import ConnectionBlockedTimeout

from tests.acceptance.flow import Flow
from tests.acceptance.scale import scaled, size
from tests.acceptance.test_fairness import wait_many
from tests.acceptance.test_process_faults import BUSY, KILLED, LOST_TWICE, SHORT_LEASE, clean
from tests.acceptance.world import event_id, failed_job
from tests.support.smtp_script import say
from tests.support.smtp_server import Options
from tests.support.tcp_proxy import TcpProxy
from tests.waiting import wait_out, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from notifier.sandbox.rabbitmq_node import RabbitNode
    from tests.acceptance.world import Customer, WorkerProcess, World

OUTAGE = size(12.0, 600.0)  # seconds
WAITING = 200  # mails, without the broker
LEAST_SHARE = 0.8  # of the usual throughput while the broker is in alarm or away
NOISE = 0.5  # seconds of delay that a busy test machine makes by itself
# Measurements until one is within its limit: a fault costs the same each time, a busy machine does not.
LOOKS = 3
_own_node = pytest.mark.xdist_group("own_rabbitmq")


def rabbitmqctl(node: RabbitNode, *arguments: str) -> None:
    """Run the broker's own tool on our node."""
    program = node._binaries.server.with_name("rabbitmqctl")
    subprocess.run([program, "--quiet", *arguments], env=node._environment(), check=True, capture_output=True)


def events(worker: WorkerProcess, name: str) -> int:
    """Count a worker's log lines of this kind."""
    return sum(line["event"] == name for line in worker.lines())


@_own_node
def test_a_permission_withdrawn_from_a_running_worker_is_told_by_its_health_page(
    broker_world: World, own_rabbitmq: RabbitNode
) -> None:
    """The worker tries again, and the page says why it does not consume."""
    where = urlsplit(own_rabbitmq.url)
    allow = partial(rabbitmqctl, own_rabbitmq, "set_permissions", where.username or "")
    worker = broker_world.worker().ready()
    allow("", "", "")
    try:
        rabbitmqctl(own_rabbitmq, "close_all_connections", "taken away")
        wait_until(
            lambda: "access to " in worker.get("/readyz")[1], 30, "the page to say what the broker refuses"
        )
        assert "not consuming (connecting): " in worker.get("/readyz")[1]
        assert str(where.password) not in worker.get("/healthz")[1]
    finally:
        allow(".*", ".*", ".*")
    worker.ready()
    assert worker.terminate() == 0


@_own_node
def test_a_broker_killed_under_load_costs_nothing(broker_world: World, own_rabbitmq: RabbitNode) -> None:
    """F12. The restart before it makes RabbitMQ 3.10 write the names of new queues to disk, which it else does late."""
    world = broker_world
    own_rabbitmq.stop()
    own_rabbitmq.start()
    customers = [world.customer(world.smtp(Options(delay=0.01)), admins=2) for _ in range(2)]
    worker = world.worker().ready()
    with Flow(world, customers, rate=50) as flow:
        flow.wait_for(50)
        own_rabbitmq.kill()
        own_rabbitmq.start()
        up = time.monotonic()
        worker.ready(35)
        assert time.monotonic() - up <= 35
        flow.wait_for(50)
    world.wait_settled(flow.mails)

    worker.check_alive()
    assert clean(world)


@_own_node
@scaled
def test_mails_go_on_while_the_broker_is_away(
    broker_world: World, own_rabbitmq: RabbitNode, record_property: Callable[[str, object], None]
) -> None:
    """F13: in full for ten minutes; the events that could not be published come afterwards, to the same process."""
    world = broker_world
    customer = world.customer(world.smtp(Options(delay=0.01)), admins=2)
    worker = world.worker(delivery__greylist_delay=6).ready()
    usual = _rate_of_waiting_mails(world, customer, "here")
    customer.server.on("rcpt", say("451 4.7.1 greylisted"), times=60)
    with Flow(world, [customer], rate=25) as flow:
        flow.wait_for(60)
        own_rabbitmq.stop()
        wait_until(lambda: events(worker, "broker_connection_lost"), 60, "the loss to be noticed")
        world.wait_settled(len(world.rows()))  # no event is in hand any more
        ratios: list[float] = []
        while len(ratios) < LOOKS and (not ratios or ratios[-1] < LEAST_SHARE):
            ratios.append(_rate_of_waiting_mails(world, customer, f"away {len(ratios)}") / usual)
        record_property("rate", ", ".join(f"{ratio:.0%} of the usual" for ratio in ratios))
        assert worker.get("/readyz")[0] == 503
        assert worker.get("/livez")[0] == 200
        wait_out(OUTAGE, "the end of the outage")
        own_rabbitmq.start()
        worker.ready(35)
        flow.wait_for(20)
    world.wait_settled(flow.mails + WAITING * (1 + len(ratios)))

    worker.check_alive()
    assert ratios[-1] >= LEAST_SHARE, ratios
    assert clean(world)


@_own_node
def test_connections_closed_again_and_again_cost_nothing(
    broker_world: World, own_rabbitmq: RabbitNode
) -> None:
    """F14."""
    world = broker_world
    customers = [world.customer(world.smtp(Options(delay=0.01)), admins=2) for _ in range(2)]
    worker = world.worker().ready()
    with Flow(world, customers, rate=50) as flow:
        for closed in range(1, 3):
            flow.wait_for(10)
            rabbitmqctl(own_rabbitmq, "close_all_connections", "a test closes connections")
            wait_until(partial(_has_lost, worker, closed), what="the loss to be noticed")
            worker.ready()
    world.wait_settled(flow.mails)

    assert clean(world)


@_own_node
def test_an_ack_that_comes_too_late_is_made_up_for(broker_world: World, own_rabbitmq: RabbitNode) -> None:
    """F15: a locked table outlasts the broker's patience, which closes the channel. Scaled from 20 s to 1.5 s."""
    world = broker_world
    patience = "application:set_env([{{rabbit,[{{consumer_timeout,{}}},{{channel_tick_interval,{}}}]}}])."
    rabbitmqctl(own_rabbitmq, "eval", patience.format(1500, 300))
    try:
        customer = world.customer(admins=2)
        worker = world.worker().ready()
        with contextlib.closing(world.database.connect()) as locker, locker.cursor() as cursor:
            locker.autocommit = False
            cursor.execute("LOCK TABLE job_events IN ACCESS EXCLUSIVE MODE")
            world.fail_job(customer, 1)
            wait_until(lambda: events(worker, "broker_connection_lost"), 60, "the channel to be closed")
            wait_until(lambda: events(worker, "customer_cannot_be_written") >= 2, 60, "another try")
            locker.rollback()
        unlocked = time.monotonic()
        world.wait_settled(2)
        worker.ready(10)
        assert time.monotonic() - unlocked <= 10
    finally:
        rabbitmqctl(own_rabbitmq, "eval", patience.format(1800000, 60000))

    assert clean(world)


def test_a_deleted_queue_is_declared_again(world: World) -> None:
    """F16."""
    customer = world.customer()
    worker = world.worker().ready()
    with _channel(world.amqp_url) as connection:
        connection.channel().queue_delete(world.topology.queue)
    deleted = time.monotonic()
    wait_until(lambda: events(worker, "broker_connection_lost"), 10, "the loss to be noticed")
    worker.ready(10)
    assert time.monotonic() - deleted <= 10

    world.fail_job(customer, 1)
    world.wait_settled(1)
    assert clean(world)


def _rate_of_waiting_mails(world: World, customer: Customer, event: str) -> float:
    """Let 200 mails be due at once, without the broker; return how many a second leave."""
    known = len(world.rows())
    wait_many(world, customer, WAITING, event)
    recipients = frozenset(f"{number}@dead.example" for number in range(1, WAITING + 1))
    world.expect(customer, event, recipients, source="tests/backlog")
    world.wait_settled(known + WAITING)
    query = (
        "SELECT extract(epoch FROM max(sent_at) - min(created_at))::float8 FROM notification_events WHERE id IN"
        " (SELECT n.id FROM notification_events n JOIN job_events j ON j.id = n.job_event_id WHERE j.event_id = %s)"
    )
    return WAITING / float(world.ask(query, (event,))[0][0])


def _throughput(world: World, customer: Customer, *, alarm: RabbitNode | None = None) -> float:
    """Let a worker take what waits in the queue, in an alarm of this broker if given; return mails a second."""
    known = len(world.rows())
    for number in range(known + 1, known + 101):
        world.fail_job(customer, number)
    if alarm is not None:
        rabbitmqctl(alarm, "set_vm_memory_high_watermark", "absolute", "1")
    try:
        worker = world.worker().ready()
        world.wait_settled(known + 200)
        assert alarm is None or _refuses_publishers(world)
        assert worker.terminate() == 0
        world.wait_depth(world.topology.queue, 0)  # what it had not acked would be back
        assert not events(worker, "broker_connection_lost")
    finally:
        if alarm is not None:
            rabbitmqctl(alarm, "set_vm_memory_high_watermark", "absolute", "512MB")
    query = (
        "SELECT extract(epoch FROM max(sent_at) - min(created_at))::float8 FROM (SELECT * FROM notification_events"
        " ORDER BY id OFFSET %s) AS latest"
    )
    return 200 / float(world.ask(query, (known,))[0][0])


@_own_node
def test_consuming_and_acks_go_on_while_the_broker_is_in_alarm(
    broker_world: World, own_rabbitmq: RabbitNode, record_property: Callable[[str, object], None]
) -> None:
    """F17: the memory alarm, which blocks every connection that publishes."""
    world = broker_world
    customer = world.customer(admins=2)
    ratios = []
    for _ in range(LOOKS):
        usual = _throughput(world, customer)
        ratios.append(_throughput(world, customer, alarm=own_rabbitmq) / usual)
        if ratios[-1] >= LEAST_SHARE:
            break
    record_property("throughput", ", ".join(f"{ratio:.0%} of the usual" for ratio in ratios))

    assert ratios[-1] >= LEAST_SHARE, ratios
    assert clean(world)


def test_a_line_that_went_dead_is_found_by_the_heartbeat(world: World) -> None:
    """F18."""
    heartbeat = 4
    customer = world.customer()
    where = urlsplit(world.amqp_url)
    with TcpProxy((where.hostname or "", where.port or 5672)) as proxy:
        through = where._replace(netloc=f"{where.username}:{where.password}@127.0.0.1:{proxy.port}").geturl()
        worker = world.worker(rabbitmq__url=through, rabbitmq__heartbeat=heartbeat).ready()
        proxy.go_silent()
        silent = time.monotonic()
        wait_until(lambda: events(worker, "broker_connection_lost"), 30, "the loss to be noticed")
        assert time.monotonic() - silent <= 2 * heartbeat + 5 + 1  # the last second is for a busy machine

        world.fail_job(customer, 1)
        world.wait_settled(1)
        assert clean(world)
        assert worker.terminate() == 0


def test_a_queue_of_another_kind_stops_the_start_with_the_difference(world: World) -> None:
    """F19."""
    queue = f"{world.topology.queue}.classic"
    with _channel(world.amqp_url) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True)
        try:
            began = time.monotonic()
            worker = world.worker(rabbitmq__queue=queue)
            assert worker.wait() == os.EX_CONFIG
            assert time.monotonic() - began <= 5 + BUSY
        finally:
            channel.queue_delete(queue)

    text = worker.log.read_text()
    assert queue in text
    assert "the broker has none" in text  # of the argument that it names
    assert "give rabbitmq.queue a new name" in text
    assert not events(worker, "broker_connection_lost")


@_own_node
@scaled
def test_a_message_that_kills_the_process_ends_dead_and_delays_and_takes_along_no_neighbour(
    broker_world: World, own_rabbitmq: RabbitNode, record_property: Callable[[str, object], None]
) -> None:
    """F20: in full 21 deliveries, in the suite 3 by a policy. Who starts the process again is this test.

    Mails that the process has in hand when it dies wait for the end of its lease. A worker that lags has so many that
    they make the p95.
    """
    world = broker_world
    deliveries = size(3, 21)
    if deliveries != 21:
        limit = f'{{"delivery-limit":{deliveries - 1}}}'
        rabbitmqctl(
            own_rabbitmq, "set_policy", "short", f"^{world.topology.queue}$", limit, "--apply-to", "queues"
        )
    try:
        customers = [world.customer() for _ in range(3)]
        worker = world.worker(crashpoint="on_event:killer", **SHORT_LEASE).ready()
        seen: list[float] = []
        with Flow(world, customers, rate=8) as flow:
            flow.wait_for(40)
            until = _wait_until_now_final(world)
            before = _p95(world, 0, until)
            most = max(2 * before, before + NOISE)
            while len(seen) < LOOKS and (not seen or seen[-1] > most):
                world.publish(failed_job(customers[0], 10**6).replace(event_id(10**6).encode(), b"killer"))
                for _ in range(deliveries):
                    assert worker.wait() == KILLED
                    worker = world.worker(crashpoint="on_event:killer", **SHORT_LEASE)
                worker.ready()
                world.wait_depth(world.topology.dead_letter_queue, len(seen) + 1)
                flow.wait_for(40)
                after, until = until, _wait_until_now_final(world)
                seen.append(_p95(world, after, until))
    finally:
        if deliveries != 21:
            rabbitmqctl(own_rabbitmq, "clear_policy", "short")

    world.wait_settled(flow.mails, LOST_TWICE)
    worker.check_alive()
    told = ", ".join(f"{one:.3f} s" for one in seen)
    record_property("p95", f"{before:.3f} s before, {told} over {deliveries} deaths")
    assert seen[-1] <= most, (before, seen)
    verdict = world.verdict(dead_expected=len(seen))
    assert (verdict.lost, verdict.violations) == (0, ())


def _wait_until_now_final(world: World) -> int:
    """Wait until the mails of now are final; return the last one's number."""
    (last,) = world.ask("SELECT max(id) FROM notification_events")[0]
    query = "SELECT count(*) FROM notification_events WHERE id <= %s AND status = 'pending'"
    wait_until(lambda: world.ask(query, (last,)) == [(0,)], LOST_TWICE, "the mails of now to be final")
    return int(last)


def _p95(world: World, after: int, until: int) -> float:
    """Return the 95th percentile of the seconds from row to acceptance."""
    query = (
        "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM sent_at - created_at))"
        " FROM notification_events WHERE id > %s AND id <= %s AND status = 'sent'"
    )
    return float(world.ask(query, (after, until))[0][0])


def _has_lost(worker: WorkerProcess, connections: int) -> bool:
    return events(worker, "broker_connection_lost") >= connections


@contextlib.contextmanager
def _channel(url: str) -> Iterator[BlockingConnection]:
    connection = BlockingConnection(URLParameters(url))
    try:
        yield connection
    finally:
        connection.close()


def _refuses_publishers(world: World) -> bool:
    """Tell whether the alarm is on: a connection that publishes is blocked, even its close is not heard."""
    settings = URLParameters(world.amqp_url)
    settings.blocked_connection_timeout = 0.5
    connection = BlockingConnection(settings)
    connection.channel().basic_publish("", "nowhere", b"")
    try:
        connection.process_data_events(10)
    except ConnectionBlockedTimeout:
        return True
    connection.close()
    return False
