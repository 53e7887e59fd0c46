"""The private RabbitMQ node: durable through a crash, apart from any other node, gone without a trace."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pika
import psutil
import pytest
from pika.exceptions import ConnectionClosedByBroker, ProbableAuthenticationError

from notifier.domain.errors import ConfigurationError
from notifier.sandbox import amqp, processes, rabbitmq
from tests.orphans import family, launcher, living
from tests.waiting import wait_until

if TYPE_CHECKING:
    from notifier.sandbox.rabbitmq_node import RabbitNode

pytestmark = [pytest.mark.services, pytest.mark.xdist_group("own_rabbitmq")]
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def connect(url: str) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(url))


def test_a_killed_node_comes_back_with_every_confirmed_message(own_rabbitmq: RabbitNode) -> None:
    url, mark = own_rabbitmq.url, uuid4().hex
    queues = {f"classic-{mark}": "classic", f"quorum-{mark}": "quorum"}
    with contextlib.closing(connect(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for queue, kind in queues.items():
            channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
            channel.basic_publish("", queue, queue.encode(), PERSISTENT, mandatory=True)
    for queue, kind in queues.items():
        wait_until(partial(own_rabbitmq.remembers, queue, quorum=kind == "quorum"), 10, f"{queue} on disk")

    own_rabbitmq.kill()
    assert amqp.problem(url) is not None
    own_rabbitmq.start()

    assert own_rabbitmq.url == url
    with contextlib.closing(connect(url)) as connection:
        channel = connection.channel()
        assert [channel.basic_get(queue, auto_ack=True)[2] for queue in queues] == [
            q.encode() for q in queues
        ]
        for queue in queues:
            channel.queue_delete(queue)


def test_a_stopping_node_tells_its_clients_and_leaves_no_process(own_rabbitmq: RabbitNode) -> None:
    assert own_rabbitmq.pid is not None
    running = family(psutil.Process(own_rabbitmq.pid))
    names = {process.name() for process in running}
    connection = connect(own_rabbitmq.url)

    own_rabbitmq.stop()

    with pytest.raises(ConnectionClosedByBroker, match="320"):
        connection.process_data_events(5)
    assert {"beam.smp", "epmd"} <= names
    assert living(running) == []


def test_guest_cannot_log_in(own_rabbitmq: RabbitNode) -> None:
    with pytest.raises(ProbableAuthenticationError):
        connect(f"amqp://guest:guest@127.0.0.1:{own_rabbitmq.port}/")


def test_every_port_of_the_node_is_on_the_loopback_address(own_rabbitmq: RabbitNode) -> None:
    assert own_rabbitmq.pid is not None
    sockets = [
        socket.laddr
        for process in family(psutil.Process(own_rabbitmq.pid))
        for socket in process.net_connections("inet")
        if socket.status == psutil.CONN_LISTEN
    ]

    assert {address.ip for address in sockets} <= {"127.0.0.1", "::1"}
    assert own_rabbitmq.port in {address.port for address in sockets}
    assert not {4369, 5672, 25672} & {address.port for address in sockets}


def test_a_launcher_killed_with_sigkill_leaves_no_node_no_epmd_and_no_folder() -> None:
    with launcher("rabbitmq.private()") as (process, server, folder):
        running = family(server)
        process.kill()

        wait_until(lambda: not living(running), 30, "the orphaned node and its epmd to end")
        wait_until(lambda: not Path(folder).exists(), 5, f"{folder} to be removed")


def test_an_open_port_is_not_taken_for_a_broker(database_server_port: int) -> None:
    assert amqp.problem(f"amqp://x:y@127.0.0.1:{database_server_port}/") is not None


@pytest.fixture
def database_server_port(postgres_url: str) -> int:
    return pika.URLParameters(postgres_url.replace("postgresql://", "amqp://", 1)).port


def test_a_given_url_that_does_not_answer_is_an_error_and_nothing_is_started_instead() -> None:
    (port,) = processes.free_ports(1)

    with pytest.raises(ConfigurationError, match="given RabbitMQ does not answer"):
        rabbitmq.obtain(url=f"amqp://nobody:x@127.0.0.1:{port}/")
