"""May this login do what a worker does? Asked before a worker finds out in the middle of its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

# As roles.sql grants them to notifier_worker; a test compares the two.
_READ = (
    "schema_migrations",
    "customers",
    "users",
    "customer_users",
    "customer_role_counts",
    "smtp_configs",
    "notification_preferences",
)
_WRITTEN = (
    "job_events",
    "notification_events",
    "rejected_events",
    "delivery_lanes",
    "delivery_batches",
    "smtp_breakers",
)
NEEDED: tuple[tuple[str, str], ...] = (
    *((table, "SELECT") for table in _READ),
    *((table, right) for table in _WRITTEN for right in ("SELECT", "INSERT", "UPDATE")),
)

_MISSING = """
SELECT q.relation, string_agg(q.privilege, ', ' ORDER BY q.ordinal) AS privileges
FROM unnest(%(relations)s::text[], %(privileges)s::text[])
    WITH ORDINALITY AS q (relation, privilege, ordinal)
WHERE NOT has_table_privilege(q.relation, q.privilege)
GROUP BY q.relation ORDER BY min(q.ordinal)
"""

FUNCTIONS = (
    "read_audience",
    "take_in",
    "claim_batch",
    "pass_over",
    "stamp_batch",
    "record_batch",
    "release_batch",
    "end_batches",
)

_FORBIDDEN = """
SELECT f.name FROM unnest(%(functions)s::text[]) WITH ORDINALITY AS f (name, ordinal)
WHERE NOT EXISTS (SELECT FROM pg_proc p
    WHERE p.proname = f.name AND p.pronamespace = current_schema()::regnamespace
        AND has_function_privilege(p.oid, 'EXECUTE'))
ORDER BY f.ordinal
"""


def missing_for_worker(connection: Connection) -> list[str]:
    """Return a sentence for each right that the current login lacks to be a worker; the schema must be there."""
    parameters = {
        "relations": [relation for relation, _ in NEEDED],
        "privileges": [privilege for _, privilege in NEEDED],
    }
    user = connection.exec_driver_sql("SELECT current_user").scalar_one()
    cure = "make the login a member of notifier_worker (notifier init-db --roles)"
    problems = [
        f"the role {user} lacks {row.privileges} on {row.relation}; {cure}"
        for row in connection.exec_driver_sql(_MISSING, parameters)
    ]
    forbidden = connection.exec_driver_sql(_FORBIDDEN, {"functions": list(FUNCTIONS)}).scalars()
    problems += [f"the role {user} may not execute {name}; {cure}" for name in forbidden]
    return problems
