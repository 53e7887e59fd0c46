"""The world of an acceptance test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.world import World, world
from tests.services import fresh_database, schema_template

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from notifier.sandbox.postgres import PostgresServer
    from notifier.sandbox.rabbitmq_node import RabbitNode
    from tests.services import Database


@pytest.fixture(name="world")
def _world(database: Database, amqp_url: str, tmp_path: Path) -> Iterator[World]:
    """Database, broker objects and SMTP servers of this test's own."""
    with world(database, amqp_url, tmp_path) as made:
        yield made


@pytest.fixture(scope="module", name="shared_world")
def _shared_world(
    postgres_url: str, database_template: str, amqp_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One world for a whole file, whose cases have customers and servers of their own. Name an xdist group for it."""
    with (
        fresh_database(postgres_url, database_template) as fresh,
        world(fresh, amqp_url, tmp_path_factory.mktemp("world")) as made,
    ):
        yield made


@pytest.fixture(name="broker_world")
def _broker_world(database: Database, own_rabbitmq: RabbitNode, tmp_path: Path) -> Iterator[World]:
    """A world whose broker may be killed."""
    with world(database, own_rabbitmq.url, tmp_path) as made:
        yield made


@pytest.fixture(name="database_world")
def _database_world(own_postgres: PostgresServer, amqp_url: str, tmp_path: Path) -> Iterator[World]:
    """A world whose database server may be killed."""
    with (
        schema_template(own_postgres.url) as template,
        fresh_database(own_postgres.url, template) as fresh,
        world(fresh, amqp_url, tmp_path) as made,
    ):
        yield made
        own_postgres.start()
