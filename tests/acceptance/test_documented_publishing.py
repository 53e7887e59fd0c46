"""Every example of docs/publish.md, and the README's, is run as printed; a worker's queue has what it published."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from notifier.broker.connection import connected, open_connection, parameters
from notifier.broker.topology import Topology, ensure
from notifier.domain.events import JobEvent, decode
from notifier.sandbox import amqp, processes
from tests.broker_objects import BrokerObjects
from tests.support import node_js
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notifier.sandbox.rabbitmq_node import RabbitNode
    from tests.services import Database

pytestmark = pytest.mark.xdist_group("own_rabbitmq")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "publish.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
TOPOLOGY = Topology()  # the documented names, on a node of the test's own


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def broker(own_rabbitmq: RabbitNode) -> Iterator[BrokerObjects]:
    """The worker's exchange and queue, empty."""
    ensure(own_rabbitmq.url, TOPOLOGY)
    connection = open_connection(parameters(own_rabbitmq.url, heartbeat=60, name="tests"))
    objects = BrokerObjects(own_rabbitmq.url, connection)
    objects.channel.queue_purge(TOPOLOGY.queue)
    yield objects
    objects.close()


def published(broker: BrokerObjects) -> list[str]:
    """Take what is on the queue; every event must be one that a worker accepts. Returns the ids."""
    ids = []
    for body, properties in broker.take(TOPOLOGY.queue):
        event = decode(
            body,
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            headers=properties.headers or {},
        )
        assert isinstance(event, JobEvent)
        assert (properties.content_type, properties.delivery_mode) == ("application/cloudevents+json", 2)
        ids.append(event.id)
    return ids


def run(*command: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def python(code: str, folder: Path, **environ: str) -> None:
    done = run(sys.executable, "-W", "error::DeprecationWarning", "-c", code, folder=folder, **environ)
    assert (done.returncode, done.stderr) == (0, ""), code


def test_the_python_examples_publish_what_a_worker_accepts(broker: BrokerObjects, tmp_path: Path) -> None:
    examples = [code for code in blocks(PAGE + README, "python") if "DATABASE_URL" not in code]
    assert len(examples) == 3
    for code in examples:
        python(code, tmp_path, AMQP_URL=broker.url)
    assert published(broker) == ["job-4820-failed", "job-4821-failed", "job-4820-failed"]


def test_the_python_examples_fail_when_the_event_reaches_no_queue(
    broker: BrokerObjects, tmp_path: Path
) -> None:
    """The promise of the page: no example loses an event in silence."""
    broker.channel.queue_unbind(TOPOLOGY.queue, TOPOLOGY.exchange, "#")
    for code in (code for code in blocks(PAGE, "python") if "DATABASE_URL" not in code):
        done = run(sys.executable, "-c", code, folder=tmp_path, AMQP_URL=broker.url)
        assert (done.returncode, "Unroutable" in done.stderr) == (1, True), code


def test_an_event_of_the_outbox_is_published_once_it_can_be(
    broker: BrokerObjects, empty_database: Database, tmp_path: Path
) -> None:
    (table,) = blocks(PAGE, "sql")
    empty_database.execute(table)
    empty_database.execute("CREATE TABLE jobs (id bigint, status text)")
    empty_database.execute("INSERT INTO jobs VALUES (4820, 'running')")
    store, relay = (code for code in blocks(PAGE, "python") if "DATABASE_URL" in code)
    python(store, tmp_path, DATABASE_URL=empty_database.url)
    assert empty_database.rows("SELECT status FROM jobs") == [("failed",)]

    away = run(
        sys.executable,
        "-c",
        relay.replace('os.environ["AMQP_URL"]', 'os.environ["AMQP_URL"], patience=0'),
        folder=tmp_path,
        DATABASE_URL=empty_database.url,
        AMQP_URL="amqp://guest:guest@127.0.0.1:1/",
    )
    assert (away.returncode, "BrokerUnavailable" in away.stderr) == (1, True)
    assert empty_database.rows("SELECT id FROM outbox") == [("job-4820-failed",)]

    python(relay, tmp_path, DATABASE_URL=empty_database.url, AMQP_URL=broker.url)
    assert published(broker) == ["job-4820-failed"]
    assert empty_database.rows("SELECT id FROM outbox") == []


def test_the_node_example_publishes_and_fails_when_the_event_reaches_no_queue(
    broker: BrokerObjects, tmp_path: Path
) -> None:
    (code,) = blocks(PAGE, "js")
    node = node_js.obtain()
    (node.installed(tmp_path) / "publish.js").write_text(code, "utf-8")
    done = run(*node.node, "publish.js", folder=tmp_path, AMQP_URL=broker.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert published(broker) == ["job-4822-failed"]

    broker.channel.queue_unbind(TOPOLOGY.queue, TOPOLOGY.exchange, "#")
    lost = run(*node.node, "publish.js", folder=tmp_path, AMQP_URL=broker.url)
    assert (lost.returncode, lost.stderr) == (1, "no queue is bound for this event: it is lost\n")
    down = run(*node.node, "publish.js", folder=tmp_path, AMQP_URL="amqp://guest:guest@127.0.0.1:1/")
    assert down.returncode == 1


@contextlib.contextmanager
def management(node: RabbitNode) -> Iterator[str]:
    """The node with its management API, at the URL with login; afterwards without it again."""
    (port,) = processes.free_ports(1)
    plugins, settings = node._root / "no-enabled-plugins", node._root / "rabbitmq.conf"
    usual = settings.read_text("utf-8")
    node.stop()
    plugins.write_text("[rabbitmq_management].\n", "utf-8")
    settings.write_text(f"{usual}management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n", "utf-8")
    try:
        node.start()
        login = urlsplit(node.url)
        wait_until(lambda: amqp.problem(node.url) is None, 30, "the broker")
        yield f"http://{login.username}:{login.password}@127.0.0.1:{port}"
    finally:
        node.stop()  # the fixture starts it for the next test
        plugins.unlink()
        settings.write_text(usual, "utf-8")


def test_the_curl_example_publishes(own_rabbitmq: RabbitNode, tmp_path: Path) -> None:
    (command,) = (code for code in blocks(PAGE, "sh") if code.startswith("curl "))
    with management(own_rabbitmq) as address:
        ensure(own_rabbitmq.url, TOPOLOGY)
        with connected(own_rabbitmq.url, name="tests") as connection:
            broker = BrokerObjects(own_rabbitmq.url, connection)
            broker.channel.queue_purge(TOPOLOGY.queue)
            done = wait_until(lambda: _answered(command, tmp_path, address), 30, "the management API")
            assert json.loads(done) == {"routed": True}
            assert published(broker) == ["job-4823-failed"]


def _answered(command: str, folder: Path, address: str) -> str:
    """What the API says; it opens its port a moment after the broker."""
    done = run("bash", "-c", command, folder=folder, RABBITMQ=address)
    assert done.returncode == 0, done
    return done.stdout
