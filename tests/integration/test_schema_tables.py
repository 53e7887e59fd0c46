"""schema.sql, the Core tables, the closed lists and the migrations say the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from notifier import resources
from notifier.domain import vocabulary
from notifier.store import migrations
from notifier.store.tables import metadata
from tests.store_rows import add_customer, one

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

CLOSED_LISTS = {
    ("users", "role"): vocabulary.ROLES,
    ("notification_preferences", "event_type"): vocabulary.EVENT_TYPES,
    ("job_events", "outcome"): vocabulary.INBOX_OUTCOMES,
    ("notification_events", "event_type"): vocabulary.MAIL_TYPES,
    ("notification_events", "rule"): vocabulary.SELECTING_RULES,
    ("notification_events", "status"): vocabulary.STATUSES,
    ("notification_events", "failure_reason"): vocabulary.FAILURE_REASONS,
    ("rejected_events", "reason"): vocabulary.REJECTION_REASONS,
}

_UNCOMMENTED = """
SELECT c.relname || coalesce('.' || a.attname, '') FROM pg_class c
LEFT JOIN LATERAL (
    SELECT attname::text, attnum FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT NULL, 0) a ON true
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') AND col_description(c.oid, a.attnum) IS NULL
    AND (a.attnum > 0 OR obj_description(c.oid, 'pg_class') IS NULL)
ORDER BY 1
"""

_LISTS = """
SELECT c.conrelid::regclass::text, a.attname, pg_get_constraintdef(c.oid) FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.contype = 'c' AND array_length(c.conkey, 1) = 1 AND pg_get_constraintdef(c.oid) LIKE '%%ANY (ARRAY[%%'
"""

# Everything a schema is made of, as PostgreSQL itself words it; order and ids left out.
_CATALOGUE = """
SELECT 'column', format('%%s.%%s', a.attrelid::regclass, a.attname), format('%%s %%s %%s %%s %%s %%s',
    format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attnum, pg_get_expr(d.adbin, d.adrelid),
    col_description(a.attrelid, a.attnum))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0
UNION ALL
SELECT 'relation', c.relname, format('%%s %%s %%s %%s', c.relkind, c.reloptions, obj_description(c.oid, 'pg_class'),
    CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END)
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'constraint', format('%%s %%s', conrelid::regclass, conname), pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'trigger', format('%%s %%s', tgrelid::regclass, tgname), pg_get_triggerdef(oid)
FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid) || coalesce(obj_description(oid, 'pg_proc'), '')
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'breaker', server_id::text, to_jsonb(b)::text FROM smtp_breakers b
ORDER BY 1, 2, 3
"""


def test_the_core_tables_are_those_of_schema_sql(connection: Connection) -> None:
    """Columns, types, nullability, keys and indexes; comments live in schema.sql alone."""
    differences = compare_metadata(MigrationContext.configure(connection), metadata)
    kinds = {"add_table_comment", "remove_table_comment", "modify_comment"}
    flat = [part for entry in differences for part in (entry if isinstance(entry, list) else [entry])]
    assert [entry for entry in flat if entry[0] not in kinds] == []


def test_every_table_view_and_column_has_a_comment(connection: Connection) -> None:
    assert list(connection.exec_driver_sql(_UNCOMMENTED).scalars()) == []


def test_every_function_has_a_comment(connection: Connection) -> None:
    query = (
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
        "AND obj_description(oid, 'pg_proc') IS NULL"
    )
    assert list(connection.exec_driver_sql(query).scalars()) == []


def test_the_checks_hold_exactly_the_closed_lists_of_the_vocabulary(connection: Connection) -> None:
    found = {
        (table, column): set(re.findall(r"'([^']*)'", definition))
        for table, column, definition in connection.exec_driver_sql(_LISTS)
    }
    assert {key: found.get(key) for key in CLOSED_LISTS} == {k: set(v) for k, v in CLOSED_LISTS.items()}


def test_fresh_schema_and_replayed_migrations_end_at_the_same_place(
    engine: Engine, empty_engine: Engine
) -> None:
    """Else an upgraded database would differ from a new one."""
    known = migrations.read_migrations(resources.path("migrations"))
    with empty_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for migration in known:
            migrations._apply(connection, migration)
        replayed = connection.exec_driver_sql(_CATALOGUE).all()
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert migrations.init_db(engine, resources.path("schema.sql").parent).result == "created"
    with engine.connect() as connection:
        fresh = connection.exec_driver_sql(_CATALOGUE).all()
    assert fresh == replayed
    assert len(fresh) > 200


def test_the_release_is_written_for_the_last_migration() -> None:
    assert migrations.read_migrations(resources.path("migrations"))[-1].version == migrations.SCHEMA_VERSION


@pytest.mark.parametrize("table", [table.name for table in metadata.sorted_tables])
def test_every_table_can_be_read_through_its_core_table(connection: Connection, table: str) -> None:
    add_customer(connection)
    assert one(connection, f"SELECT count(*) FROM {table}") == len(  # noqa: S608 - our own name
        connection.execute(metadata.tables[table].select()).all()
    )
