"""The world of an acceptance test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.world import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.services import Database


@pytest.fixture(name="world")
def _world(database: Database, amqp_url: str, tmp_path: Path) -> Iterator[World]:
    """Database, broker objects and SMTP servers of this test's own."""
    with world(database, amqp_url, tmp_path) as made:
        yield made
