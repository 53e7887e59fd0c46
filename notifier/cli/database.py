"""How commands reach the database."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from notifier.domain.errors import RightMissing
from notifier.store import migrations
from notifier.store.engine import make_engine
from notifier.store.first_connection import first_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from notifier.config import Settings


ADMIN = "is a member of notifier_admin"
OWNER = "owns the tables (of a database without tables: owns it)"


@contextmanager
def engine(
    settings: Settings, *, limits: bool = True, checked: bool = True, login: str = ADMIN
) -> Iterator[Engine]:
    """Yield an engine for one command.

    limits=False for what may take long. Unless `checked` is false, the schema must fit this release. `login` says
    which login may do all that the command does. Raises
    ConfigurationError for one that does not and for a refused login, DatabaseUnavailable when there is no database,
    RightMissing for what the login may not; each names the cure.
    """
    made = make_engine(
        settings.database.url.get_secret_value(), application="notifier cli", limits=limits, pool_size=1
    )
    try:
        with first_connection(made) as connection:
            if checked:
                migrations.check_schema(connection)
        yield made
    except RightMissing as exc:
        cure = f"this login may not; use one that {login} (roles.sql)"
        raise RightMissing(f"{exc}; {cure}") from exc
    finally:
        made.dispose()
