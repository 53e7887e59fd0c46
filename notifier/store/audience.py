"""Who could get a mail about an event: the candidates, without reading the thousands who could not (contract 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from notifier.domain.recipients import Candidate, Preference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from notifier.domain.vocabulary import EventType


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Whose users might get mails of this type; roles are those that get it by default."""

    customer_id: int
    event_type: EventType
    roles: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A customer as the intake sees it: how to write to its people, and through which server.

    server_id is 0 without a server of its own; then enabled is true and from_email None. held_until and held_because
    tell of an open breaker.
    """

    customer_id: int
    name: str
    locale: str
    timezone: str
    server_id: int
    enabled: bool
    from_email: str | None
    held_until: datetime | None
    held_because: str | None


_ACCOUNTS = """
SELECT c.id AS customer_id, c.name, c.locale, c.timezone, coalesce(s.id, 0) AS server_id,
    coalesce(s.enabled, true) AS enabled, s.from_email,
    CASE WHEN b.open_until > now() THEN b.open_until END AS held_until,
    CASE WHEN b.open_until > now() THEN b.last_error END AS held_because
FROM customers c
LEFT JOIN smtp_configs s ON s.customer_id = c.id
LEFT JOIN smtp_breakers b ON b.server_id = coalesce(s.id, 0)
WHERE c.id = ANY(%(customers)s)
"""

# Two indexes, two short walks: rows with a preference, and users whose role gets the type without one. Each OFFSET 0
# keeps its look-up as it is written, by index: the planner knows nothing of roles within a customer, takes a small part
# of a large customer for a large one, and would read the whole tables instead.
_CANDIDATES = """
WITH question AS (
    SELECT ordinal, customer_id, event_type, string_to_array(roles, ',') AS roles
    FROM unnest(%(customers)s::bigint[], %(types)s::text[], %(roles)s::text[])
        WITH ORDINALITY AS q (customer_id, event_type, roles, ordinal)
)
SELECT q.ordinal, c.user_id, u.username, c.role, u.email, c.enabled, c.email_address, c.job_types
FROM question q
CROSS JOIN LATERAL (
    SELECT p.user_id, a.role, p.enabled, p.email_address, p.job_types
    FROM (SELECT * FROM notification_preferences p
          WHERE p.customer_id = q.customer_id AND p.event_type = q.event_type OFFSET 0) p
    CROSS JOIN LATERAL (SELECT a.role FROM customer_users a WHERE a.customer_id = q.customer_id
                        AND a.user_id = p.user_id AND a.role IS NOT NULL OFFSET 0) a
    UNION ALL
    SELECT a.user_id, a.role, NULL, NULL, NULL
    FROM unnest(q.roles) AS r (role)
    CROSS JOIN LATERAL (SELECT a.user_id, a.role FROM customer_users a
                        WHERE a.customer_id = q.customer_id AND a.role = r.role OFFSET 0) a
    WHERE NOT EXISTS (SELECT FROM notification_preferences p WHERE p.user_id = a.user_id
                      AND p.customer_id = q.customer_id AND p.event_type = q.event_type OFFSET 0)
) c
CROSS JOIN LATERAL (SELECT u.username, u.email FROM users u WHERE u.id = c.user_id OFFSET 0) u
"""

_COUNTS = "SELECT customer_id, role, users FROM customer_role_counts WHERE customer_id = ANY(%(customers)s)"

_EVERYONE = """
SELECT u.id AS user_id, u.username, u.role, u.email, u.is_active, a.user_id IS NOT NULL AS has_access,
    p.enabled, p.email_address, p.job_types
FROM users u
LEFT JOIN customer_users a ON a.customer_id = %(customer)s AND a.user_id = u.id
LEFT JOIN notification_preferences p
    ON p.customer_id = %(customer)s AND p.user_id = u.id AND p.event_type = %(type)s
WHERE (a.user_id IS NOT NULL OR p.user_id IS NOT NULL OR u.id = %(user)s) AND (%(user)s IS NULL OR u.id = %(user)s)
ORDER BY u.id
"""


def accounts(connection: Connection, customer_ids: Iterable[int]) -> dict[int, Account]:
    """Return the customers that exist, by id."""
    rows = connection.exec_driver_sql(_ACCOUNTS, {"customers": sorted(set(customer_ids))})
    return {row.customer_id: Account(**row._mapping) for row in rows}  # noqa: SLF001 - SQLAlchemy's public name


def candidates(connection: Connection, questions: Sequence[Question]) -> list[list[Candidate]]:
    """Return, per question, the active users with access that have a preference row or a default for the type."""
    parameters = {
        "customers": [q.customer_id for q in questions],
        "types": [q.event_type for q in questions],
        "roles": [",".join(q.roles) for q in questions],
    }
    found: list[list[Candidate]] = [[] for _ in questions]
    for row in connection.exec_driver_sql(_CANDIDATES, parameters):
        found[row.ordinal - 1].append(_candidate(row, is_active=True, has_access=True))
    return found


def role_counts(connection: Connection, customer_ids: Iterable[int]) -> dict[int, dict[str, int]]:
    """Return how many active users of each role the customers have."""
    counts: dict[int, dict[str, int]] = {}
    for row in connection.exec_driver_sql(_COUNTS, {"customers": sorted(set(customer_ids))}):
        counts.setdefault(row.customer_id, {})[row.role] = row.users
    return counts


def others(counts: Mapping[str, int], found: Iterable[Candidate]) -> dict[str, int]:
    """Return the counts without the candidates: those nothing is decided for one by one."""
    rest = dict(counts)
    for candidate in found:
        rest[candidate.role] = rest.get(candidate.role, 0) - 1
    return {role: number for role, number in sorted(rest.items()) if number > 0}


def everyone(
    connection: Connection, *, customer_id: int, event_type: EventType, user_id: int | None = None
) -> list[Candidate]:
    """Return all users of a customer, also inactive ones and ones with a preference but no access; or the one named."""
    parameters = {"customer": customer_id, "type": event_type, "user": user_id}
    rows = connection.exec_driver_sql(_EVERYONE, parameters)
    return [_candidate(row, is_active=row.is_active, has_access=row.has_access) for row in rows]


def _candidate(row: Any, *, is_active: bool, has_access: bool) -> Candidate:  # noqa: ANN401 - a driver row
    preference = None
    if row.enabled is not None:
        preference = Preference(
            enabled=row.enabled, email_address=row.email_address, job_types=tuple(row.job_types or ())
        )
    return Candidate(
        user_id=row.user_id,
        username=row.username,
        role=row.role,
        email=row.email,
        is_active=is_active,
        has_access=has_access,
        preference=preference,
    )
