"""One API for the whole folder, on a database with roles.sql in force; each test has customers of its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from notifier import resources
from notifier.store import migrations
from tests.integration.conftest import engine_for
from tests.services import fresh_database, passing_roles
from tests.support.api_server import renderer_for, served, settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from notifier.rendering.renderer import Renderer
    from tests.services import Database
    from tests.support.api_server import Api


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Roles belong to the whole cluster, so one process makes them."""
    for item in items:
        if "tests/api/" in item.nodeid:
            item.add_marker(pytest.mark.xdist_group("database_roles"))


@pytest.fixture(scope="session")
def api_database(postgres_url: str, database_template: str) -> Iterator[tuple[Database, Engine]]:
    """A database with schema and roles, and the owner's engine on it."""
    with passing_roles(postgres_url), fresh_database(postgres_url, database_template) as fresh:
        engine = engine_for(fresh)
        migrations.init_db(engine, resources.path("schema.sql").parent, roles=True)
        yield fresh, engine
        engine.dispose()


@pytest.fixture(scope="session")
def api_renderer(api_database: tuple[Database, Engine]) -> Iterator[Renderer]:
    """The templates, compiled once."""
    with contextlib.closing(renderer_for(settings_for(api_database[0]))) as renderer:
        yield renderer


@pytest.fixture(scope="session")
def api(api_database: tuple[Database, Engine], api_renderer: Renderer) -> Iterator[Api]:
    """A running API."""
    database, engine = api_database
    with served(settings_for(database), engine, api_renderer) as running:
        yield running
