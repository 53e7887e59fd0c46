"""The demo's broker and database: private, or corners of given ones that are removed at the end."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql

from notifier import resources
from notifier.broker.connection import broker_faults, connected
from notifier.broker.topology import Topology, ensure
from notifier.domain.errors import NotifierError
from notifier.sandbox import postgres, rabbitmq
from notifier.sandbox.postgres import PostgresServer
from notifier.sandbox.processes import SandboxError
from notifier.sandbox.rabbitmq_node import RabbitNode
from notifier.store import migrations
from notifier.store.engine import make_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Engine

    from notifier.sandbox.demo_folder import DemoFolder

_DATABASE = "notifier"


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoDatabase:
    """A database with the schema. `url` is for psql and the configuration alike."""

    url: str
    source: str
    engine: Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoBroker:
    """A broker with the demo's exchanges and queues."""

    url: str
    source: str
    topology: Topology


@contextlib.contextmanager
def database(given: str | None, *, folder: DemoFolder, say: Callable[[str], None]) -> Iterator[DemoDatabase]:
    """Yield a database of the demo's own with the schema. A given server keeps nothing of it.

    Raises ConfigurationError naming every way when there is no server, SandboxError when the database cannot
    be made.
    """
    server = postgres.obtain(url=given, directory=folder.part("postgres"), durable=True, say=say)
    private = isinstance(server, PostgresServer)
    name = _DATABASE if private else f"{_DATABASE}_demo_{secrets.token_hex(4)}"
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        admin = server.url.replace("postgresql+psycopg2://", "postgresql://", 1)
        _make_database(admin, name)
        if not private:
            stack.callback(_drop_database, admin, name)
        url = urlsplit(admin)._replace(path=f"/{name}").geturl()
        engine = make_engine(
            url.replace("://", "+psycopg2://", 1).replace("postgres+", "postgresql+", 1),
            application="notifier demo",
            limits=False,
            pool_size=1,
        )
        stack.callback(engine.dispose)
        migrations.init_db(engine, resources.path("schema.sql").parent)
        yield DemoDatabase(url=url, source=server.source, engine=engine)


def _make_database(admin: str, name: str) -> None:
    try:
        with contextlib.closing(psycopg2.connect(admin)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'")
                    cursor.execute(statement.format(sql.Identifier(name)))
    except psycopg2.Error as error:
        msg = f"the demo's database cannot be made: {str(error).strip()}; its user needs the right CREATEDB"
        raise SandboxError(msg) from error


def _drop_database(admin: str, name: str) -> None:
    with contextlib.suppress(psycopg2.Error), contextlib.closing(psycopg2.connect(admin)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextlib.contextmanager
def broker(
    given: str | None, *, folder: DemoFolder, apt_install: bool, say: Callable[[str], None]
) -> Iterator[DemoBroker]:
    """Yield a broker with exchanges and queues; on one that others may use they have names of their own.

    Raises ConfigurationError naming every way when there is none.
    """
    node = rabbitmq.obtain(url=given, directory=folder.part("rabbitmq"), apt_install=apt_install, say=say)
    private = isinstance(node, RabbitNode)
    mark = "" if private else f"demo-{secrets.token_hex(4)}."
    topology = Topology(
        exchange=f"{mark}job.events",
        queue=f"{mark}notifier.job-events.v1",
        binding_keys=("#",),
        dead_letter_exchange=f"{mark}notifier.dlx",
        dead_letter_queue=f"{mark}notifier.dead-letter.v1",
        declare=True,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(node.close)
        if not private:
            stack.callback(_delete_objects, node.url, topology)
        ensure(node.url, topology)
        yield DemoBroker(url=node.url, source=node.source, topology=topology)


def _delete_objects(url: str, topology: Topology) -> None:
    with (
        contextlib.suppress(NotifierError),  # a broker that has gone keeps what it has
        broker_faults("deleting the demo's queues"),
        connected(url, name="notifier demo") as connection,
    ):
        channel = connection.channel()
        for queue in (topology.queue, topology.dead_letter_queue):
            channel.queue_delete(queue)
        for exchange in (topology.exchange, topology.dead_letter_exchange):
            channel.exchange_delete(exchange)
