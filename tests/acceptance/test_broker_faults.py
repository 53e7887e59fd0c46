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
from tests.acceptance.test_process_faults import KILLED, SHORT_LEASE, clean
from tests.acceptance.world import failed_job
from tests.support.smtp_script import say
from tests.support.smtp_server import Options
from tests.support.tcp_proxy import TcpProxy
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notifier.sandbox.rabbitmq import RabbitNode
    from tests.acceptance.world import WorkerProcess, World

OUTAGE = 20.0  # seconds
_own_node = pytest.mark.xdist_group("own_rabbitmq")


def rabbitmqctl(node: RabbitNode, *arguments: str) -> None:
    """Run the broker's own tool on our node."""
    program = node._binaries.server.with_name("rabbitmqctl")
    subprocess.run([program, "--quiet", *arguments], env=node._environment(), check=True, capture_output=True)


def events(worker: WorkerProcess, name: str) -> int:
    """Count a worker's log lines of this kind."""
    return sum(line["event"] == name for line in worker.lines())


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
def test_mails_go_on_while_the_broker_is_away_for_20_seconds(
    broker_world: World, own_rabbitmq: RabbitNode
) -> None:
    """F13, scaled from ten minutes; the events that could not be published come afterwards, to the same process."""
    world = broker_world
    customer = world.customer(world.smtp(Options(delay=0.01)), admins=2)
    customer.server.on("rcpt", say("451 4.7.1 greylisted"), times=60)
    worker = world.worker(delivery__greylist_delay=6).ready()
    with Flow(world, [customer], rate=25) as flow:
        flow.wait_for(60)
        own_rabbitmq.stop()
        stopped = time.monotonic()
        wait_until(lambda: events(worker, "broker_connection_lost"), 15, "the loss to be noticed")
        world.wait_settled(len(world.rows()))  # no event is in hand any more
        assert worker.get("/readyz")[0] == 503
        assert worker.get("/livez")[0] == 200
        wait_until(lambda: time.monotonic() - stopped >= OUTAGE, OUTAGE + 5, "the end of the outage")
        own_rabbitmq.start()
        worker.ready(35)
        flow.wait_for(20)
    world.wait_settled(flow.mails)

    worker.check_alive()
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
            wait_until(lambda: events(worker, "broker_connection_lost"), 15, "the channel to be closed")
            wait_until(lambda: events(worker, "intake_paused") >= 2, 15, "another try")
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


@_own_node
def test_consuming_and_acks_go_on_while_the_broker_is_in_alarm(
    broker_world: World, own_rabbitmq: RabbitNode
) -> None:
    """F17: the memory alarm, which blocks every connection that publishes."""
    world = broker_world
    customer = world.customer(admins=2)
    for number in range(1, 101):
        world.fail_job(customer, number)
    rabbitmqctl(own_rabbitmq, "set_vm_memory_high_watermark", "absolute", "1")
    try:
        worker = world.worker().ready()
        world.wait_settled(200)
        assert _refuses_publishers(world)
        assert worker.terminate() == 0
        world.wait_depth(world.topology.queue, 0)  # what it had not acked would be back
        assert not events(worker, "broker_connection_lost")
    finally:
        rabbitmqctl(own_rabbitmq, "set_vm_memory_high_watermark", "absolute", "512MB")

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
            worker = world.worker(rabbitmq__queue=queue)
            assert worker.wait() == os.EX_CONFIG
        finally:
            channel.queue_delete(queue)

    text = worker.log.read_text()
    assert queue in text
    assert "the broker has none" in text  # of the argument that it names
    assert "give rabbitmq.queue a new name" in text
    assert not events(worker, "broker_connection_lost")


@_own_node
def test_a_message_that_kills_the_process_ends_dead_and_takes_no_neighbour_along(
    broker_world: World, own_rabbitmq: RabbitNode
) -> None:
    """F20, scaled from 21 deliveries to 3 by a policy."""
    world = broker_world
    rabbitmqctl(
        own_rabbitmq, "set_policy", "short", f"^{world.topology.queue}$", '{"delivery-limit":2}',
        "--apply-to", "queues",
    )  # fmt: skip
    try:
        customer = world.customer()
        for number in range(1, 20):
            if number == 5:
                world.publish(failed_job(customer, 5))
            else:
                world.fail_job(customer, number)
        for _ in range(3):
            assert world.worker(crashpoint="on_event:job-5-failed", **SHORT_LEASE).wait() == KILLED
            world.let_leases_end()
        worker = world.worker(crashpoint="on_event:job-5-failed", **SHORT_LEASE).ready()
        world.wait_depth(world.topology.dead_letter_queue, 1)
    finally:
        rabbitmqctl(own_rabbitmq, "clear_policy", "short")

    world.wait_settled(18)
    worker.check_alive()
    assert not world.verdict(dead_expected=1).violations


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
