"""What a worker makes sure of before it starts: the database, and whether it can read what is stored there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from notifier import wiring
from notifier.domain.errors import SecretUnreadable
from notifier.store import breakers, migrations, smtp_configs
from notifier.store.first_connection import first_connection

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from notifier.config import Settings

_PASSWORDS_TRIED = 20

_log = structlog.get_logger(__name__)


def check_database(engine: Engine, settings: Settings) -> None:
    """Look whether the schema fits, tell the default server's breaker of a changed [smtp], and try some passwords.

    Raises as `first_connection`, and ConfigurationError for a schema that does not fit.
    """
    with first_connection(engine) as connection, connection.begin():
        migrations.check_schema(connection)
        if breakers.adopt_default(connection, wiring.default_server_hash(settings)):
            _log.info("default_server_changed")
        _warn_of_passwords(connection, settings)


def _warn_of_passwords(connection: Connection, settings: Settings) -> None:
    """Say at once what else the first mail of each customer would show: a forgotten key, or another one.

    Some of the passwords tell; `notifier check` tries them all.
    """
    box = wiring.secret_box(settings)
    reason = None
    for server in smtp_configs.with_password(connection, limit=_PASSWORDS_TRIED):
        try:
            box.decrypt(customer_id=server.customer_id, host=server.host, token=server.password or "")
        except SecretUnreadable as exc:
            reason = str(exc)
        else:
            return
    if reason is not None:
        _log.warning("smtp_passwords_unreadable", reason=reason)
