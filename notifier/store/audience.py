"""Who could get a mail about an event, without reading the thousands who could not (docs/contract.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from notifier.domain.recipients import Candidate, Preference
from notifier.store.engine import plain_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.engine import Connection

    from notifier.domain.vocabulary import EventType, Role


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Audience:
    """Accounts by customer; how many active users of each role the customers have; per question, the active users with
    access that have a preference row or a default for the type.
    """

    accounts: Mapping[int, Account]
    counts: Mapping[int, Mapping[str, int]]
    candidates: Sequence[Sequence[Candidate]]


# One round trip; PL/pgSQL keeps the plans of what it asks.
_READ = "SELECT read_audience(%(customers)s::bigint[], %(questions)s::json)"

_EVERYONE = """
SELECT u.is_active, a.user_id IS NOT NULL, u.id, u.username, u.role, u.email, p.enabled, p.email_address, p.job_types
FROM users u
LEFT JOIN customer_users a ON a.customer_id = %(customer)s AND a.user_id = u.id
LEFT JOIN notification_preferences p
    ON p.customer_id = %(customer)s AND p.user_id = u.id AND p.event_type = %(type)s
WHERE (a.user_id IS NOT NULL OR p.user_id IS NOT NULL OR u.id = %(user)s) AND (%(user)s IS NULL OR u.id = %(user)s)
ORDER BY u.id
"""


def accounts(connection: Connection, customer_ids: Iterable[int]) -> Mapping[int, Account]:
    """Return the customers that exist, by id."""
    return read(connection, customer_ids, ()).accounts


def read(connection: Connection, customer_ids: Iterable[int], questions: Sequence[Question]) -> Audience:
    """Return all that is needed to choose recipients of events of these customers; no question: the accounts alone."""
    parameters = {
        "customers": sorted(set(customer_ids)),
        "questions": json.dumps([_as_json(question) for question in questions]),
    }
    ((found,),) = plain_rows(connection, _READ, parameters)
    counts: dict[int, dict[str, int]] = {}
    for customer_id, role, users in found["counts"]:
        counts.setdefault(customer_id, {})[role] = users
    candidates: list[list[Candidate]] = [[] for _ in questions]
    for place, *user in found["candidates"]:
        candidates[place - 1].append(_candidate(*user, is_active=True, has_access=True))
    return Audience(
        accounts={account["customer_id"]: _account(account) for account in found["accounts"]},
        counts=counts,
        candidates=candidates,
    )


def _as_json(question: Question) -> dict[str, object]:
    return {
        "customer_id": question.customer_id,
        "event_type": question.event_type,
        "roles": question.roles,
    }


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
    return [_candidate(*user, is_active=active, has_access=access) for active, access, *user in rows]


def _account(found: dict[str, Any]) -> Account:
    held_until = found.pop("held_until")
    return Account(**found, held_until=datetime.fromisoformat(held_until) if held_until else None)


def _candidate(
    user_id: int,
    username: str,
    role: Role,
    email: str | None,
    enabled: bool | None,  # noqa: FBT001 - a column of a row, as the others
    email_address: str | None,
    job_types: Sequence[str] | None,
    *,
    is_active: bool,
    has_access: bool,
) -> Candidate:
    preference = None
    if enabled is not None:
        preference = Preference(
            enabled=enabled, email_address=email_address, job_types=tuple(job_types or ())
        )
    return Candidate(
        user_id=user_id,
        username=username,
        role=role,
        email=email,
        is_active=is_active,
        has_access=has_access,
        preference=preference,
    )
