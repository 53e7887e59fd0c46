"""Is all of the schema there that this release uses? A restore that broke off may have left a part out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.domain.errors import SchemaDamaged
from notifier.store.engine import place
from notifier.store.privileges import FUNCTIONS
from notifier.store.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

TABLES = tuple(table.name for table in metadata.sorted_tables)

_LACKING = """
SELECT 'the table ' || t.name FROM unnest(%(tables)s::text[]) AS t (name)
WHERE to_regclass(quote_ident(t.name)) IS NULL
UNION ALL
SELECT 'the function ' || f.name FROM unnest(%(functions)s::text[]) AS f (name)
WHERE NOT EXISTS (SELECT FROM pg_proc p
    WHERE p.proname = f.name AND p.pronamespace = current_schema()::regnamespace)
"""


def damage(connection: Connection) -> SchemaDamaged | None:
    """Return what is to be said of a schema that lacks tables or functions; None when nothing is missing."""
    names = {"tables": list(TABLES), "functions": list(FUNCTIONS)}
    lacking = list(connection.exec_driver_sql(_LACKING, names).scalars())
    if not lacking:
        return None
    return SchemaDamaged(f"it lacks {', '.join(lacking)}; the database is {place(connection)}")
