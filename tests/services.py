"""PostgreSQL and RabbitMQ for the suite: one of each for all test processes, started when a test asks.

Under pytest-xdist the controlling process owns them and answers the workers on a private socket, so they live
as long as the whole run. A worker that dies takes nothing down; if the controller dies, guardians stop them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
from dataclasses import dataclass
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql

from notifier import resources
from notifier.domain.errors import NotifierError
from notifier.sandbox import postgres, rabbitmq
from notifier.store import migrations
from notifier.store.engine import make_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from multiprocessing.connection import Connection

    from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class in lower case

    from notifier.sandbox.ways import Service

Kind = Literal["database", "broker", "template"]

DATABASE_URL = "NOTIFIER_TEST_DATABASE_URL"
AMQP_URL = "NOTIFIER_TEST_AMQP_URL"
# 0 forbids installing a missing RabbitMQ, for a machine of one's own.
APT_INSTALL = "NOTIFIER_TEST_APT_INSTALL"
_ROLES = (
    "notifier_owner",
    "notifier_admin",
    "notifier_worker",
    "notifier_sync",
    "notifier_reader",
    "notifier_api",
)


class ServicesMissingError(Exception):
    """A service that the tests need cannot be had. It fails them: nothing is skipped."""


class Services:
    """Starts each service once and keeps it until `close`."""

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._environ = environ
        self._say = say
        self._lock = threading.RLock()
        self._started: dict[Kind, Service] = {}
        self._failed: dict[Kind, str] = {}
        self._template: str | None = None
        self._kept = contextlib.ExitStack()

    def ask(self, kind: Kind) -> str:
        """Return the URL of a service, or the name of the template database. Raises ServicesMissingError."""
        with self._lock:
            if kind in self._failed:
                raise ServicesMissingError(self._failed[kind])
            try:
                return self._make_template() if kind == "template" else self._service(kind).url
            except (NotifierError, psycopg2.Error) as error:
                self._failed[kind] = str(error)
                raise ServicesMissingError(str(error)) from error

    def _service(self, kind: Literal["database", "broker"]) -> Service:
        if kind not in self._started:
            self._started[kind] = self._obtain_database() if kind == "database" else self._obtain_broker()
        return self._started[kind]

    def _obtain_database(self) -> Service:
        return postgres.obtain(url=self._environ.get(DATABASE_URL), durable=False, say=self._say)

    def _obtain_broker(self) -> Service:
        allowed = self._environ.get(APT_INSTALL, "1") != "0"
        return rabbitmq.obtain(url=self._environ.get(AMQP_URL), apt_install=allowed, say=self._say)

    def _make_template(self) -> str:
        """Make the schema once as `notifier init-db` does; each test gets a copy of the files."""
        if self._template is None:
            self._template = self._kept.enter_context(schema_template(self._service("database").url))
        return self._template

    def close(self) -> None:
        """Drop the template from a server that stays, and stop the others."""
        with self._lock:
            with contextlib.suppress(psycopg2.Error):  # the server may be gone; it was on its way out anyway
                self._kept.close()
            for service in self._started.values():
                service.close()
            self._started.clear()


class Desk:
    """Answers the questions of other test processes on a socket in a private folder."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._folder = Path(tempfile.mkdtemp(prefix="notifier-tests-"))
        self.address = str(self._folder / "services")
        self._listener = Listener(self.address, "AF_UNIX")
        threading.Thread(target=self._serve, name="test-services", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                visitor = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._answer, args=(visitor,), daemon=True).start()

    def _answer(self, visitor: Connection[tuple[bool, str], Kind]) -> None:
        with visitor, contextlib.suppress(EOFError, OSError):  # a visitor that has died needs no answer
            try:
                visitor.send((True, self._services.ask(visitor.recv())))
            except ServicesMissingError as error:
                visitor.send((False, str(error)))

    def close(self) -> None:
        """Take no more questions."""
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def ask_desk(address: str, kind: Kind) -> str:
    """Ask the controlling process. Raises ServicesMissingError with its reason."""
    with Client(address, "AF_UNIX") as connection:
        connection.send(kind)
        found, answer = connection.recv()
    if not found:
        raise ServicesMissingError(answer)
    return str(answer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Database:
    """One test's own database."""

    name: str
    url: str

    def connect(self) -> PgConnection:
        """A new connection in autocommit; the test closes it (`contextlib.closing`)."""
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        return connection

    def execute(self, statement: str, parameters: tuple[object, ...] = ()) -> None:
        """Run one statement and commit."""
        execute(self.url, statement, parameters)

    def rows(self, query: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return list(cursor.fetchall())


def with_database(url: str, name: str) -> str:
    """The same server and login, another database."""
    return (
        urlsplit(url.replace("postgresql+psycopg2://", "postgresql://", 1))._replace(path=f"/{name}").geturl()
    )


def execute(url: str, statement: str | sql.Composable, parameters: tuple[object, ...] = ()) -> None:
    """Run one statement (or a script, without parameters) in autocommit."""
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)


@contextlib.contextmanager
def passing_roles(admin_url: str) -> Iterator[None]:
    """Drop those roles of roles.sql afterwards that were not there before; they belong to the whole cluster."""
    with contextlib.closing(psycopg2.connect(admin_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles")
        known = {name for (name,) in cursor}
    yield
    for role in set(_ROLES) - known:
        with contextlib.suppress(
            psycopg2.errors.DependentObjectsStillExist
        ):  # another suite uses it meanwhile
            execute(admin_url, f"DROP ROLE IF EXISTS {role}")


def _init(url: str) -> None:
    engine = make_engine(
        url.replace("postgresql://", "postgresql+psycopg2://", 1), application="notifier tests", limits=False
    )
    try:
        migrations.init_db(engine, resources.path("schema.sql").parent)
    finally:
        engine.dispose()


def drop_database(admin_url: str, name: str) -> None:
    """Drop a database together with the sessions in it."""
    execute(admin_url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextlib.contextmanager
def schema_template(admin_url: str) -> Iterator[str]:
    """The name of a database with schema.sql loaded, to copy from; dropped afterwards."""
    name = f"notifier_template_{secrets.token_hex(6)}"
    execute(admin_url, sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    try:
        _init(with_database(admin_url, name))
        yield name
    finally:
        drop_database(admin_url, name)


@contextlib.contextmanager
def fresh_database(admin_url: str, template: str) -> Iterator[Database]:
    """A database of one's own, copied from `template`, dropped afterwards."""
    name = f"notifier_test_{os.getpid()}_{secrets.token_hex(6)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    execute(admin_url, create.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield Database(name=name, url=with_database(admin_url, name))
    finally:
        drop_database(admin_url, name)
