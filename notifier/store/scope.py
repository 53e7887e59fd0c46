"""What the database lets the API see: row-level security by settings that last one transaction (roles.sql).

Every transaction of a scoped engine becomes the role notifier_api and names its caller's customers, so that a query
without its WHERE still finds nothing of others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from notifier.domain.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

ROLE = "notifier_api"

_OPTION = "notifier_scope"
_ENTER = """
SELECT set_config('notifier.customers', %(customers)s, true), set_config('notifier.caller', %(caller)s, true),
    set_config('notifier.token', %(token)s, true)
"""
_BECOME = "SELECT set_config('role', %(role)s, true)"
_MEMBER = """
SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = %(role)s AND pg_has_role(current_user, oid, 'MEMBER'))
"""
_IN_FORCE = """
SELECT has_table_privilege('notification_events', 'SELECT') AND row_security_active('notification_events')
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Rows of these customers, of this user, and the one token with this hash; of nobody by default."""

    customer_ids: tuple[int, ...] = ()
    user_id: int | None = None
    token_hash: bytes | None = None


def in_force(engine: Engine) -> bool:
    """Tell whether this login can become notifier_api, and is limited then."""
    with engine.connect() as connection:
        if not connection.exec_driver_sql(_MEMBER, {"role": ROLE}).scalar_one():
            return False
        try:
            connection.exec_driver_sql(_BECOME, {"role": ROLE})
            return bool(connection.exec_driver_sql(_IN_FORCE).scalar_one())
        except DatabaseUnavailable as exc:
            # SQLSTATE class 42: a member without the right to become it (PostgreSQL 16), or without the schema.
            if str(getattr(exc.__cause__, "pgcode", None)).startswith("42"):
                return False
            raise


def limit(engine: Engine, *, enforced: bool) -> None:
    """Begin every transaction of this engine with its scope; `enforced`: as notifier_api, else as the login itself."""

    def begin(connection: Connection) -> None:
        if enforced:
            connection.exec_driver_sql(_BECOME, {"role": ROLE})
        enter(connection, connection.get_execution_options().get(_OPTION, Scope()))

    sa.event.listen(engine, "begin", begin)


def scoped(engine: Engine, scope: Scope) -> Engine:
    """Return the engine with this scope, on the same pool of connections."""
    return engine.execution_options(**{_OPTION: scope})


def enter(connection: Connection, scope: Scope) -> None:
    """Name the scope for the rest of the current transaction."""
    parameters = {
        "customers": "{" + ",".join(str(one) for one in scope.customer_ids) + "}",
        "caller": "" if scope.user_id is None else str(scope.user_id),
        "token": "" if scope.token_hash is None else scope.token_hash.hex(),
    }
    connection.exec_driver_sql(_ENTER, parameters)
