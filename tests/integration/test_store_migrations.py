"""init-db: from nothing, from an older schema, beside another init-db, and what it refuses."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from notifier import resources
from notifier.domain.errors import ConfigurationError, DatabaseUnavailable
from notifier.store import migrations
from tests.store_rows import one

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine

SHIPPED = resources.path("schema.sql").parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An installation's SQL files, to which a later release may add."""
    shutil.copytree(SHIPPED / "migrations", tmp_path / "migrations")
    for name in ("schema.sql", "roles.sql"):
        shutil.copy(SHIPPED / name, tmp_path / name)
    return tmp_path


def _add(folder: Path, name: str, sql: str) -> None:
    (folder / "migrations" / name).write_text(sql, encoding="utf-8")


def _state(engine: Engine) -> migrations.SchemaState:
    with engine.connect() as connection:
        return migrations.schema_state(connection)


def test_an_empty_database_gets_the_whole_schema_once(empty_engine: Engine) -> None:
    assert "notifier init-db" in _state(empty_engine).problems[0]
    assert migrations.init_db(empty_engine, SHIPPED).result == "created"
    again = migrations.init_db(empty_engine, SHIPPED)
    assert (again.result, again.applied, again.version) == ("current", (), migrations.SCHEMA_VERSION)
    assert _state(empty_engine).problems == ()


def test_an_older_schema_gets_the_migrations_it_lacks(empty_engine: Engine, folder: Path) -> None:
    migrations.init_db(empty_engine, folder)
    _add(folder, "0002_note.sql", "ALTER TABLE customers ADD COLUMN note text DEFAULT '100%';")
    _add(
        folder,
        "0003_index.sql",
        "-- notifier: no-transaction\n-- notifier: minimum-release 2\n"
        "DROP INDEX IF EXISTS ix_note;\nCREATE INDEX CONCURRENTLY ix_note\n    ON customers (note);\n",
    )
    done = migrations.init_db(empty_engine, folder)
    assert (done.result, done.applied, done.version) == ("upgraded", ("0002_note.sql", "0003_index.sql"), 3)
    with empty_engine.connect() as connection:
        assert (
            one(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_note'::regclass") is True
        )
    assert migrations.init_db(empty_engine, folder).result == "current"


def test_a_migration_that_fails_leaves_nothing_behind(empty_engine: Engine, folder: Path) -> None:
    migrations.init_db(empty_engine, folder)
    _add(folder, "0002_broken.sql", "CREATE TABLE half (id int); SELECT no_such_function();")
    with pytest.raises(DatabaseUnavailable, match="no_such_function"):
        migrations.init_db(empty_engine, folder)
    with empty_engine.connect() as connection:
        assert one(connection, "SELECT to_regclass('half')") is None
    assert _state(empty_engine).version == 1
    _add(folder, "0002_broken.sql", "CREATE TABLE half (id int);")
    assert migrations.init_db(empty_engine, folder).version == 2


def test_workers_refuse_an_older_schema_and_one_that_needs_a_later_release(
    empty_engine: Engine, folder: Path
) -> None:
    """A newer schema is accepted as long as it says that older workers may run beside it."""
    migrations.init_db(empty_engine, folder)
    _add(folder, "0002_compatible.sql", "ALTER TABLE customers ADD COLUMN note text;")
    migrations.init_db(empty_engine, folder)
    assert (_state(empty_engine).version, _state(empty_engine).problems) == (2, ())
    assert migrations.init_db(empty_engine, SHIPPED).result == "newer"
    _add(
        folder, "0003_breaking.sql", "-- notifier: minimum-release 3\nALTER TABLE customers DROP COLUMN note;"
    )
    migrations.init_db(empty_engine, folder)
    assert "needs a release for schema version 3" in _state(empty_engine).problems[0]
    with empty_engine.connect() as connection:
        assert migrations.schema_state(connection, needed=3).problems == ()
        (problem,) = migrations.schema_state(connection, needed=4).problems
    assert "the schema has version 3, this release needs 4" in problem


def test_a_changed_migration_is_refused(empty_engine: Engine, folder: Path) -> None:
    migrations.init_db(empty_engine, folder)
    first = folder / "migrations" / "0001_initial.sql"
    first.write_text(first.read_text(encoding="utf-8") + "\n-- a thought\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"0001_initial.sql has changed since it was applied"):
        migrations.init_db(empty_engine, folder)


@pytest.mark.parametrize("name", ["0003_gap.sql", "2_short.sql", "notes.sql"])
def test_a_file_out_of_line_is_refused(folder: Path, name: str) -> None:
    _add(folder, name, "SELECT 1;")
    with pytest.raises(ConfigurationError, match=f"{name} is not the next migration"):
        migrations.read_migrations(folder / "migrations")


@pytest.mark.parametrize(
    ("foreign", "named"),
    [
        ("CREATE TABLE users (id int)", "users"),
        ("CREATE VIEW v_notification_daily AS SELECT 1", "v_notification_daily"),
        ("CREATE TABLE schema_migrations (version text)", "schema_migrations"),
        ("CREATE FUNCTION open_lane() RETURNS int LANGUAGE sql AS 'SELECT 1'", r"open_lane\(\)"),
    ],
)
def test_a_database_with_other_things_of_our_names_is_left_alone(
    empty_engine: Engine, foreign: str, named: str
) -> None:
    with empty_engine.begin() as connection:
        connection.exec_driver_sql(foreign)
    with pytest.raises(
        ConfigurationError, match=f"objects of the same names: {named}; use an empty database"
    ):
        migrations.init_db(empty_engine, SHIPPED)
    with empty_engine.connect() as connection:
        assert one(connection, "SELECT to_regclass('delivery_lanes')") is None


def test_several_at_once_make_one_schema(empty_engine: Engine) -> None:
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(migrations.init_db(empty_engine, SHIPPED).result))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(results) == ["created", "current", "current"]


def test_functions_never_look_at_temporary_tables_first(empty_engine: Engine) -> None:
    """Else somebody could put a table of his own in the place of ours, under the owner's rights."""
    migrations.init_db(empty_engine, SHIPPED)
    with empty_engine.connect() as connection:
        paths = connection.exec_driver_sql(
            "SELECT DISTINCT proconfig[1] FROM pg_proc WHERE prosecdef"
        ).scalars()
        assert list(paths) == ["search_path=public, pg_temp"]
