"""Connections to PostgreSQL, and the translation of its errors into ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from notifier.domain.errors import (
    DatabaseUnavailable,
    DataRejected,
    RightMissing,
    RowsUnavailable,
    SchemaDamaged,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.engine import Connection, Engine, ExceptionContext

P = ParamSpec("P")
T = TypeVar("T")

# The limits make a stuck database an error we can act on, instead of a thread that waits for ever. Our statements
# are short: compiling one takes many times longer than running it, whatever the planner expects. Each has an index for
# what it looks up: reading a whole table is only ever the planner's mistake about a large customer.
_SESSION = (
    "SET statement_timeout = '10s'; SET lock_timeout = '3s'; SET idle_in_transaction_session_timeout = '15s'; "
    "SET timezone = 'UTC'; SET jit = off; SET enable_seqscan = off"
)
_CONNECT = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # ms; keepalives do not fire while sent data waits for its acknowledgement
}
_DATA_FAULTS = ("22", "23")  # data exception, integrity constraint violation
# What may be wrong with some rows alone: damage (XX), a trigger that objects (P0001), a file that cannot be read where
# they lie (58030, 58P01).
_ROW_FAULTS = ("XX", "P0001", "58030", "58P01")
_TIMED_OUT = ("55P03", "57014")  # lock not available, query canceled
_COLLISIONS = ("40P01", "40001")  # deadlock, serialization failure
_FORBIDDEN = "42501"  # insufficient privilege
_MISSING = ("42P01", "42703", "42883")  # undefined table, column, function


def make_engine(
    url: str, *, application: str, limits: bool = True, pool_size: int = 5, spare: int = 5
) -> Engine:
    """Return an engine for `url` (postgresql+psycopg2://…); nothing is connected yet.

    At most pool_size connections are kept, and spare more opened in need. application shows up in
    pg_stat_activity. limits=False leaves the server's own time limits in force, for
    maintenance and migrations, which may take long. Every database error leaves as DatabaseUnavailable (now it
    cannot, later it may; SchemaDamaged, RightMissing and RowsUnavailable are kinds of it) or DataRejected (SQLSTATE
    class 22 or 23, or a text that the driver cannot write, such as one with a NUL), never with the statement's
    parameters.
    """
    engine = sa.create_engine(
        url,
        connect_args={**_CONNECT, "application_name": application},
        pool_size=pool_size,
        max_overflow=spare,
        pool_recycle=1800,
        hide_parameters=True,
    )
    if limits:
        sa.event.listen(engine, "connect", _set_limits)
    sa.event.listen(engine, "handle_error", _translate)
    return engine


def place(connection: Connection) -> str:
    """Return what we are connected to, as user@host:port/database: what the driver found out, not what was asked."""
    driver: Any = connection.connection.dbapi_connection
    found = driver.info
    return f"{found.user}@{found.host or 'local'}:{found.port}/{found.dbname}"


def _set_limits(connection: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(_SESSION)
    cursor.close()
    connection.commit()


def _translate(context: ExceptionContext) -> Exception | None:
    """Return what is raised instead; SQLAlchemy takes it from the handler's result.

    What ends the process, such as Ctrl-C in the middle of a query, is no fault of the database: None, it goes on.
    """
    original = context.original_exception
    if not isinstance(original, Exception):
        return None
    return _fault(original, carried_out=context.statement is None)  # None: rows were being fetched


def _fault(original: Exception, *, carried_out: bool) -> Exception:
    """Return our error for one of the driver; carried_out says whether the statement was, before that."""
    state = getattr(original, "pgcode", None)
    diagnostics = getattr(original, "diag", None)
    text = getattr(diagnostics, "message_primary", None) or " ".join(str(original).split())
    if isinstance(state, str) and state[:2] in _DATA_FAULTS:
        fault: Exception = DataRejected(f"the database refuses the data ({state}): {text}")
    elif isinstance(original, ValueError) and not carried_out:  # UnicodeError is one
        fault = DataRejected(f"the data cannot be written: {text}")
    elif state in _MISSING:
        fault = SchemaDamaged(f"{text} ({state})")
    elif state == _FORBIDDEN:
        fault = RightMissing(f"database: {text} ({state})")
    elif isinstance(state, str) and state.startswith((*_ROW_FAULTS, *_TIMED_OUT, *_COLLISIONS)):
        fault = RowsUnavailable(f"database: {text} ({state})")
    else:
        fault = DatabaseUnavailable(f"database: {text}" + (f" ({state})" if state else ""))
    fault.__cause__ = original
    return fault


def about_rows(fault: DatabaseUnavailable | DataRejected) -> bool:
    """Tell whether a statement failed because of some rows, so that it can be done with the others."""
    return _state(fault).startswith((*_DATA_FAULTS, *_ROW_FAULTS))


def timed_out(fault: DatabaseUnavailable | DataRejected) -> bool:
    """Tell whether a statement was ended by one of the session's time limits; the connection is alive."""
    return _state(fault) in _TIMED_OUT


def _state(fault: DatabaseUnavailable | DataRejected) -> str:
    return getattr(fault.__cause__, "pgcode", None) or ""


def detail_of(fault: DatabaseUnavailable | DataRejected) -> str | None:
    """Return what PostgreSQL adds to the message of a fault; it may tell values of rows."""
    detail: str | None = getattr(getattr(fault.__cause__, "diag", None), "message_detail", None)
    return detail


def plain_rows(
    connection: Connection, statement: str, parameters: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    """Return the rows of a statement as the driver gives them; errors as of `make_engine`.

    For what is done for every batch: SQLAlchemy's result would take longer to make than the rows. The connection is in
    autocommit or has begun its transaction: this does not begin one.
    """
    driver = connection.connection
    carried_out = False
    try:
        cursor = driver.cursor()
        try:
            cursor.execute(statement, parameters)
            carried_out = True
            return list(cursor.fetchall())
        finally:
            cursor.close()
    except Exception as error:
        lost = driver.dbapi_connection is None or driver.dbapi_connection.closed
        if lost:
            connection.engine.dispose()  # whatever ended this connection ended those that lie idle
        raise _fault(error, carried_out=carried_out) from error


class OwnConnection:
    """One thread's own connection in autocommit: opened when first needed, replaced after a fault.

    Each call to `run` is one function of this package; a statement is its own transaction there.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._connection: Connection | None = None

    def run(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `function(connection, …)`. After DatabaseUnavailable the next call opens a new connection."""
        if self._connection is None:
            try:
                self._connection = self._engine.connect()
            except sa.exc.TimeoutError as exc:  # the pool's own, which no driver error tells of
                raise DatabaseUnavailable("database: every connection of this process is in use") from exc
        try:
            return function(self._connection, *args, **kwargs)
        except DatabaseUnavailable:
            self.close()
            raise

    def rest(self) -> None:
        """Lend the connection to others until the next `run`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Give the connection up; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except Exception:  # noqa: BLE001, S110 - a broken connection may fail in any way while closing
                pass
