"""The schema: made whole in an empty database, or brought up to date by the migrations an older one lacks."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from notifier.domain.errors import ConfigurationError, DatabaseUnavailable
from notifier.store import completeness
from notifier.store.engine import place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection, Engine

SCHEMA_VERSION = 1  # what this release is written for: the highest migration
OLDEST_SERVER = 140000  # PostgreSQL 14, as server_version_num says it

_LOCK = 0x6E6F746966696572  # "notifier"; nobody else's advisory lock by chance
_LOCK_WAIT = 600.0  # seconds for another init-db to end
_LOCK_POLL = 0.2
_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_NO_TRANSACTION = re.compile(r"^-- notifier: no-transaction\s*$", re.MULTILINE)
_MINIMUM = re.compile(r"^-- notifier: minimum-release (\d+)\s*$", re.MULTILINE)
_OBJECT = re.compile(r"^CREATE (?:UNIQUE )?(TABLE|VIEW|INDEX|FUNCTION) (\w+)", re.MULTILINE)

_SERVER = """
SELECT current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding,
    current_schema() AS schema, current_database() AS database
"""

_TAKEN = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(%(relations)s)
UNION
SELECT p.proname || '()' FROM pg_proc p
WHERE p.pronamespace = current_schema()::regnamespace AND p.proname = ANY(%(functions)s)
ORDER BY 1
"""

_OURS = """
SELECT count(*) = 4 FROM pg_attribute
WHERE attrelid = to_regclass(quote_ident(current_schema()) || '.schema_migrations')
    AND attname IN ('version', 'name', 'checksum', 'minimum_release') AND NOT attisdropped
"""

# Who waits long for a lock on a table makes all workers wait behind him. Functions keep the search_path they
# were made with: temporary tables last, so that nobody can put one in the place of ours.
_SETTINGS = """
SELECT set_config('lock_timeout', '10s', true),
    set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)
"""

_APPLIED = "SELECT version, name, checksum, minimum_release FROM schema_migrations ORDER BY version"

_NOTE = """
INSERT INTO schema_migrations (version, name, checksum, minimum_release)
VALUES (%(version)s, %(name)s, %(checksum)s, %(minimum)s)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """One file of migrations/.

    `minimum_release`: the oldest schema version a worker may be written for and still run beside it (a line
    `-- notifier: minimum-release N`, else as before). `in_transaction` is false with a line
    `-- notifier: no-transaction`: then each statement, ended by a semicolon at the end of a line, runs alone, and the
    file must bear being run again after it broke in the middle.
    """

    version: int
    name: str
    sql: str
    minimum_release: int
    in_transaction: bool

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, in hex; line ends do not count."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What init_db did. `newer`: the schema is of a later release, and nothing was to be done."""

    result: Literal["created", "upgraded", "current", "newer"]
    version: int
    applied: tuple[str, ...]
    roles: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemaState:
    """The schema as this release sees it. version 0: none. With `problems` a worker must not start."""

    version: int
    minimum_release: int
    problems: tuple[str, ...]


def read_migrations(folder: Path) -> tuple[Migration, ...]:
    """Return the migrations of a folder, in order. Raises ConfigurationError for a file out of line."""
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None or int(match[1]) != len(found) + 1:
            cure = (
                "migrations are numbered without gaps, such as 0002_quiet_hours.sql; install notifier again"
            )
            raise ConfigurationError([f"{path.name} is not the next migration: {cure}"])
        sql = path.read_text(encoding="utf-8")
        minimum = _MINIMUM.search(sql)
        before = found[-1].minimum_release if found else 1
        found.append(
            Migration(
                version=len(found) + 1,
                name=path.name,
                sql=sql,
                minimum_release=int(minimum[1]) if minimum else before,
                in_transaction=_NO_TRANSACTION.search(sql) is None,
            )
        )
    return tuple(found)


def schema_state(connection: Connection, *, needed: int = SCHEMA_VERSION) -> SchemaState:
    """Return the version of the schema, and why a release written for `needed` cannot work with it, if so."""
    if not connection.exec_driver_sql(_OURS).scalar_one():
        problem = f"the database {place(connection)} has no notifier schema; make it with: notifier init-db"
        return SchemaState(version=0, minimum_release=0, problems=(problem,))
    rows = connection.exec_driver_sql(_APPLIED).all()
    version = max((row.version for row in rows), default=0)
    minimum = max((row.minimum_release for row in rows), default=0)
    problems = tuple(f"{place(connection)}: {text}" for text in _mismatch(version, minimum, needed))
    if not problems and (damage := completeness.damage(connection)):
        problems = (str(damage),)
    return SchemaState(version=version, minimum_release=minimum, problems=problems)


def check_schema(connection: Connection) -> None:
    """Raise ConfigurationError, with the cure, for a schema that this release cannot work with."""
    problems = schema_state(connection).problems
    if problems:
        raise ConfigurationError(problems)


def _mismatch(version: int, minimum: int, needed: int) -> tuple[str, ...]:
    if version < needed:
        cure = "upgrade it with: notifier init-db"
        return (f"the schema has version {version}, this release needs {needed}; {cure}",)
    if minimum > needed:
        cure = "install that release here"
        return (f"the schema needs a release for schema version {minimum} or later; {cure}",)
    return ()


def init_db(
    engine: Engine, folder: Path, *, roles: bool = False, sleep: Callable[[float], None] = time.sleep
) -> Report:
    """Make the schema, or apply the migrations it lacks; `folder` has schema.sql, migrations/ and roles.sql.

    Idempotent, and safe when several run at once. Everything happens in the first schema of the search_path. Use an
    engine without time limits, as the role that is to own the tables. Raises ConfigurationError, naming the cure, for
    a database that is not fit, has tables of the same names, lacks some of ours, or was made by migrations that have
    changed since.
    """
    known = read_migrations(folder / "migrations")
    schema = (folder / "schema.sql").read_text(encoding="utf-8")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        _check_server(connection)
        _lock(connection, sleep)
        try:
            result, applied = _bring_up_to_date(connection, schema, known)
            if roles:
                _run(connection, (folder / "roles.sql").read_text(encoding="utf-8"))
            if damage := completeness.damage(connection):
                raise ConfigurationError([str(damage)])
            version = schema_state(connection).version
        finally:
            with contextlib.suppress(DatabaseUnavailable):  # a lost connection has lost its lock, too
                connection.exec_driver_sql("SELECT pg_advisory_unlock(%(key)s)", {"key": _LOCK})
    return Report(result=result, version=version, applied=applied, roles=roles)


def _check_server(connection: Connection) -> None:
    server = connection.exec_driver_sql(_SERVER).one()
    problems = []
    if server.version < OLDEST_SERVER:
        problems.append(f"the server is PostgreSQL {server.version // 10000}; notifier needs 14 or newer")
    if server.encoding != "UTF8":
        cure = f"make it with: CREATE DATABASE {server.database} ENCODING 'UTF8' TEMPLATE template0"
        problems.append(f"the database {server.database} has the encoding {server.encoding}; {cure}")
    if server.schema is None:
        problems.append("no schema of the search_path exists; create one, or set search_path for this role")
    if problems:
        raise ConfigurationError(problems)


def _lock(connection: Connection, sleep: Callable[[float], None]) -> None:
    """Wait for our turn. By asking again: a waiting statement would hold up CREATE INDEX CONCURRENTLY."""
    for _ in range(int(_LOCK_WAIT / _LOCK_POLL)):
        if connection.exec_driver_sql("SELECT pg_try_advisory_lock(%(key)s)", {"key": _LOCK}).scalar_one():
            return
        sleep(_LOCK_POLL)
    msg = f"another notifier init-db has been at work in this database for {_LOCK_WAIT:.0f} seconds"
    raise DatabaseUnavailable(msg)


def _bring_up_to_date(
    connection: Connection, schema: str, known: Sequence[Migration]
) -> tuple[Literal["created", "upgraded", "current", "newer"], tuple[str, ...]]:
    if not connection.exec_driver_sql(_OURS).scalar_one():
        _refuse_taken_names(connection, schema)
        _run(connection, schema, note=known)
        return "created", ("schema.sql",)
    applied = {row.version: row for row in connection.exec_driver_sql(_APPLIED)}
    _refuse_changed(known, applied)
    missing = [migration for migration in known if migration.version not in applied]
    for migration in missing:
        _apply(connection, migration)
    if missing:
        return "upgraded", tuple(migration.name for migration in missing)
    return ("newer" if max(applied) > len(known) else "current"), ()


def _refuse_taken_names(connection: Connection, schema: str) -> None:
    objects = _OBJECT.findall(schema)
    parameters = {
        "relations": [name for kind, name in objects if kind != "FUNCTION"],
        "functions": [name for kind, name in objects if kind == "FUNCTION"],
    }
    taken = list(connection.exec_driver_sql(_TAKEN, parameters).scalars())
    if taken:
        cure = "use an empty database, or a schema of its own (a role whose search_path names it first)"
        raise ConfigurationError([f"the database has objects of the same names: {', '.join(taken)}; {cure}"])


def _refuse_changed(known: Sequence[Migration], applied: dict[int, Any]) -> None:
    problems = []
    if not applied or sorted(applied) != list(range(1, len(applied) + 1)):
        problems.append("schema_migrations has gaps; restore its rows from a backup, or the whole database")
    for migration in known:
        row = applied.get(migration.version)
        if row is not None and row.checksum != migration.checksum:
            cure = "this installation differs from the one that made the database; install the released one"
            problems.append(f"{migration.name} has changed since it was applied; {cure}")
    if problems:
        raise ConfigurationError(problems)


def _apply(connection: Connection, migration: Migration) -> None:
    if migration.in_transaction:
        _run(connection, migration.sql, note=(migration,))
        return
    for statement in re.split(r";[ \t]*$", migration.sql, flags=re.MULTILINE):
        if re.sub(r"--.*", "", statement).strip():
            _execute(connection, statement)
    _note(connection, migration)


def _run(connection: Connection, sql: str, *, note: Sequence[Migration] = ()) -> None:
    """Run a file in one transaction, and note which migrations it stands for."""
    connection.exec_driver_sql("BEGIN")
    try:
        connection.exec_driver_sql(_SETTINGS)
        _execute(connection, sql)
        for migration in note:
            _note(connection, migration)
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def _execute(connection: Connection, sql: str) -> None:
    # Without parameters the driver leaves the % of the text alone.
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def _note(connection: Connection, migration: Migration) -> None:
    parameters = {
        "version": migration.version,
        "name": migration.name,
        "checksum": migration.checksum,
        "minimum": migration.minimum_release,
    }
    connection.exec_driver_sql(_NOTE, parameters)
