"""Fixtures for the store and the commands, on a database of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifier import resources
from notifier.broker import topology
from notifier.store import migrations
from notifier.store.engine import make_engine
from tests.broker_objects import BrokerObjects, broker_objects
from tests.services import drop_database, passing_roles
from tests.support.command_line import CommandLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection, Engine

    from tests.services import Database


def engine_for(database: Database, *, limits: bool = True) -> Engine:
    """An engine of the program on this database; the test disposes of it."""
    url = database.url.replace("postgresql://", "postgresql+psycopg2://", 1)
    return make_engine(url, application="notifier-tests", limits=limits)


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    """An engine on this test's own database with the schema."""
    engine = engine_for(database)
    yield engine
    engine.dispose()


@pytest.fixture
def empty_engine(empty_database: Database) -> Iterator[Engine]:
    """An engine without time limits, as init-db uses it, on this test's own empty database."""
    engine = engine_for(empty_database, limits=False)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A connection whose statements are transactions of their own."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


@pytest.fixture
def owned(empty_database: Database, postgres_url: str) -> Iterator[Engine]:
    """A database made by `init-db --roles`, dropped with those roles that were not there before."""
    with passing_roles(postgres_url):
        engine = engine_for(empty_database)
        migrations.init_db(engine, resources.path("schema.sql").parent, roles=True)
        yield engine
        engine.dispose()
        drop_database(postgres_url, empty_database.name)


@pytest.fixture
def cli(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Iterator[CommandLine]:
    """The command line on this test's own database; no command may print a stored password or a key."""
    commands = CommandLine(database, monkeypatch=monkeypatch, capsys=capsys, folder=tmp_path)
    yield commands
    commands.check_no_secret()


@pytest.fixture
def broker(amqp_url: str) -> Iterator[BrokerObjects]:
    """This test's own broker objects, set up as a worker does."""
    with broker_objects(amqp_url) as objects:
        topology.ensure(amqp_url, objects.topology)
        yield objects


@pytest.fixture
def objects(broker: BrokerObjects, cli: CommandLine) -> BrokerObjects:
    """The broker objects of this test, which the commands use."""
    cli.use_broker(broker.url, broker.topology)
    return broker
