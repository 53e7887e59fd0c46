"""Fixtures for the store and the commands, on a database of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifier.store.engine import make_engine
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
