"""Notification preferences: list, write under the rules of `domain.preferences`, import many."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from notifier.domain.errors import InvalidInput, InvalidLines, NotFound
from notifier.domain.preferences import Owner, PreferenceRequest, Writer, checked
from notifier.store.pages import Page, Slice, rows_and_total
from notifier.store.tables import customers, users
from notifier.store.tables import notification_preferences as preferences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from notifier.domain.recipients import Rules
    from notifier.domain.vocabulary import EventType

IMPORT_ROWS = 500  # written by one statement


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPreference:
    """A row of notification_preferences with the names it speaks of."""

    id: int
    customer_id: int
    customer_name: str
    user_id: int
    username: str
    event_type: EventType
    enabled: bool
    email_address: str | None
    job_types: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferenceFilter:
    """Which preferences. What is None does not limit; an empty `customer_ids` matches nothing."""

    ids: tuple[int, ...] | None = None
    customer_ids: tuple[int, ...] | None = None
    user_id: int | None = None
    event_type: str | None = None
    enabled: bool | None = None

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """Yield the WHERE conditions."""
        for column, several in ((preferences.c.id, self.ids), (preferences.c.customer_id, self.customer_ids)):
            if several is not None:
                yield column == sa.any_(sa.literal(list(several), sa.ARRAY(sa.BigInteger)))
        if self.user_id is not None:
            yield preferences.c.user_id == self.user_id
        if self.event_type is not None:
            yield preferences.c.event_type == self.event_type
        if self.enabled is not None:
            yield preferences.c.enabled == self.enabled


_NAMES = {
    "customer_name": customers.c.name.label("customer_name"),
    "username": users.c.username,
}
_COLUMNS: list[sa.ColumnElement[Any]] = [
    _NAMES[f.name] if f.name in _NAMES else preferences.c[f.name] for f in fields(StoredPreference)
]
_ROWS: sa.Select[Any] = (
    sa.select(*_COLUMNS)
    .join_from(preferences, customers, customers.c.id == preferences.c.customer_id)
    .join(users, users.c.id == preferences.c.user_id)
)

_OWNERS = """
SELECT q.ordinal,
    u.id IS NOT NULL AND (%(within)s::bigint[] IS NULL OR EXISTS (SELECT 1 FROM customer_users x
        WHERE x.user_id = u.id AND x.customer_id = ANY(%(within)s::bigint[]))) AS known,
    u.username, u.role, a.user_id IS NOT NULL AS has_access
FROM unnest(%(customers)s::bigint[], %(users)s::bigint[])
    WITH ORDINALITY AS q (customer_id, user_id, ordinal)
LEFT JOIN users u ON u.id = q.user_id
LEFT JOIN customer_users a ON a.customer_id = q.customer_id AND a.user_id = q.user_id
"""

# In the order of the key, so that two imports wait for each other instead of deadlocking.
_ADD = """
INSERT INTO notification_preferences (customer_id, user_id, event_type, enabled, email_address, job_types)
SELECT p.customer_id, p.user_id, p.event_type, p.enabled, p.email_address,
    CASE WHEN p.job_types <> '[]' THEN ARRAY(SELECT jsonb_array_elements_text(p.job_types)) END
FROM jsonb_to_recordset(%(rows)s::jsonb) AS p (customer_id bigint, user_id bigint, event_type text,
    enabled boolean, email_address text, job_types jsonb)
ORDER BY p.user_id, p.customer_id, p.event_type
"""
_SAVE = f"""{_ADD}
ON CONFLICT ON CONSTRAINT uq_preference DO UPDATE
SET enabled = excluded.enabled, email_address = excluded.email_address, job_types = excluded.job_types
"""

_REPLACE = """
UPDATE notification_preferences
SET customer_id = %(customer_id)s, user_id = %(user_id)s, event_type = %(event_type)s, enabled = %(enabled)s,
    email_address = %(email_address)s, job_types = %(job_types)s
WHERE id = %(id)s
"""


def find(
    connection: Connection,
    wanted: PreferenceFilter,
    *,
    part: Slice = Slice(),  # noqa: B008 - frozen
) -> Page[StoredPreference]:
    """Return one page of the preferences that match, by customer, user and event type."""
    keys = (preferences.c.customer_id, preferences.c.user_id, preferences.c.event_type)
    rows, total = rows_and_total(connection, _ROWS.where(*wanted.conditions()).order_by(*keys), part)
    return Page(items=tuple(_stored(row) for row in rows), total=total)


def every(connection: Connection, wanted: PreferenceFilter) -> Iterator[StoredPreference]:
    """Yield all preferences that match, for an export; by customer, user and event type."""
    keys = (preferences.c.customer_id, preferences.c.user_id, preferences.c.event_type)
    query = _ROWS.where(*wanted.conditions()).order_by(*keys)
    for row in connection.execute(query):
        yield _stored(row)


def _stored(row: sa.Row[Any]) -> StoredPreference:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    return StoredPreference(**values | {"job_types": tuple(row.job_types or ())})


def get(
    connection: Connection,
    preference_id: int,
    *,
    customer_ids: tuple[int, ...] | None = None,
    to_change: bool = False,
) -> StoredPreference:
    """Return one preference, of these customers if given; `to_change` keeps others from changing it first.

    Raises NotFound.
    """
    wanted = PreferenceFilter(ids=(preference_id,), customer_ids=customer_ids)
    query = _ROWS.where(*wanted.conditions())
    row = connection.execute(query.with_for_update(of=preferences) if to_change else query).one_or_none()
    if row is None:
        msg = f"there is no preference {preference_id}; notifier preferences list shows what there is"
        raise NotFound(msg)
    return _stored(row)


def save(connection: Connection, request: PreferenceRequest, *, rules: Rules) -> StoredPreference:
    """Write a preference, in place of the one for the same user, customer and event type.

    Raises InvalidInput.
    """
    (row_id,) = _write(connection, [_checked_alone(connection, request, rules, None)], _SAVE)
    return get(connection, row_id)


def add(
    connection: Connection, request: PreferenceRequest, *, rules: Rules, writer: Writer | None = None
) -> StoredPreference:
    """Write a preference that must not exist yet. Raises InvalidInput; DataRejected when another is faster."""
    wanted = _checked_alone(connection, request, rules, writer)
    _refuse_taken_key(connection, request, but=None)
    (row_id,) = _write(connection, [wanted], _ADD)
    return get(connection, row_id)


def replace(
    connection: Connection,
    preference_id: int,
    request: PreferenceRequest,
    *,
    rules: Rules,
    writer: Writer | None = None,
) -> StoredPreference:
    """Change the preference of this id into what is requested. Raises InvalidInput, NotFound."""
    wanted = _checked_alone(connection, request, rules, writer)
    _refuse_taken_key(connection, request, but=preference_id)
    parameters = {**_as_row(wanted), "job_types": list(wanted.job_types) or None, "id": preference_id}
    connection.exec_driver_sql(_REPLACE, parameters)
    return get(connection, preference_id)


def save_many(
    connection: Connection,
    requests: Mapping[int, PreferenceRequest],
    *,
    rules: Rules,
    writer: Writer | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the preferences of an import, by line number: all of them, or none; returns how many.

    Call it inside a transaction. `writer` as in `domain.preferences.checked`; None: no limits. `progress` gets the
    number written so far. Raises InvalidLines for every faulty line and for lines about the same preference.
    """
    lines = list(requests)
    owners = _owners(connection, [requests[line] for line in lines], writer)
    problems: dict[int, Mapping[str, Sequence[str]]] = {}
    good: list[PreferenceRequest] = []
    first: dict[tuple[int, int, str], int] = {}
    for line, owner in zip(lines, owners, strict=True):
        request = requests[line]
        seen = first.setdefault(request.key, line)
        if seen != line:
            problems[line] = {"": [f"is about the same user, customer and event type as line {seen}"]}
            continue
        try:
            good.append(checked(request, owner=owner, rules=rules, writer=writer))
        except InvalidInput as exc:
            problems[line] = exc.problems
    if problems:
        raise InvalidLines(problems)
    good.sort(key=lambda one: (one.user_id, one.customer_id, one.event_type))
    for start in range(0, len(good), IMPORT_ROWS):
        chunk = good[start : start + IMPORT_ROWS]
        _write(connection, chunk, _SAVE)
        progress(start + len(chunk))
    return len(good)


def delete(connection: Connection, preference_id: int) -> None:
    """Delete a preference: the role default applies again. Raises NotFound."""
    done = connection.execute(sa.delete(preferences).where(preferences.c.id == preference_id))
    if done.rowcount == 0:
        msg = f"there is no preference {preference_id}; notifier preferences list shows what there is"
        raise NotFound(msg)


def id_of(connection: Connection, *, customer_id: int, user_id: int, event_type: str) -> int | None:
    """Return the id of the preference for this customer, user and event type; None when there is none."""
    query = sa.select(preferences.c.id).where(
        preferences.c.customer_id == customer_id,
        preferences.c.user_id == user_id,
        preferences.c.event_type == event_type,
    )
    return connection.execute(query).scalar_one_or_none()


def _refuse_taken_key(connection: Connection, request: PreferenceRequest, *, but: int | None) -> None:
    taken = id_of(
        connection,
        customer_id=request.customer_id,
        user_id=request.user_id,
        event_type=request.event_type,
    )
    if taken is not None and taken != but:
        text = f"preference {taken} is for the same user, customer and event type already; change that one"
        raise InvalidInput({"event_type": [text]})


def _checked_alone(
    connection: Connection, request: PreferenceRequest, rules: Rules, writer: Writer | None
) -> PreferenceRequest:
    (owner,) = _owners(connection, [request], writer)
    return checked(request, owner=owner, rules=rules, writer=writer)


def _owners(
    connection: Connection, requests: Sequence[PreferenceRequest], writer: Writer | None
) -> list[Owner | None]:
    """Return whom each request is about; None for a user who does not exist, or not for this writer."""
    parameters = {
        "within": None if writer is None else sorted(writer.customer_ids),
        "customers": [r.customer_id for r in requests],
        "users": [r.user_id for r in requests],
    }
    owners: list[Owner | None] = [None] * len(requests)
    for row in connection.exec_driver_sql(_OWNERS, parameters):
        if row.known:
            owner = Owner(username=row.username, role=row.role, has_access=row.has_access)
            owners[row.ordinal - 1] = owner
    return owners


def _as_row(request: PreferenceRequest) -> dict[str, object]:
    return {f.name: getattr(request, f.name) for f in fields(PreferenceRequest)}


def _write(connection: Connection, requests: Iterable[PreferenceRequest], statement: str) -> list[int]:
    rows = json.dumps([_as_row(request) for request in requests])
    return list(connection.exec_driver_sql(f"{statement} RETURNING id", {"rows": rows}).scalars())
