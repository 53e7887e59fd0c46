"""How commands reach the database."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from notifier.domain.errors import ConfigurationError
from notifier.store import migrations
from notifier.store.engine import make_engine
from notifier.store.first_connection import first_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from notifier.config import Settings


@contextmanager
def engine(settings: Settings, *, limits: bool = True, checked: bool = True) -> Iterator[Engine]:
    """Yield an engine for one command.

    limits=False for what may take long. Unless `checked` is false, the schema must fit this release. Raises
    ConfigurationError for one that does not and for a refused login, DatabaseUnavailable when there is no database;
    each names the cure.
    """
    made = make_engine(
        settings.database.url.get_secret_value(), application="notifier cli", limits=limits, pool_size=1
    )
    try:
        with first_connection(made) as connection:
            problems = migrations.schema_state(connection).problems if checked else ()
        if problems:
            raise ConfigurationError(problems)
        yield made
    finally:
        made.dispose()
