"""Bearer tokens of the REST API. Only their hashes are here."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from notifier.domain.errors import NotFound
from notifier.store.pages import Page, Slice, rows_and_total
from notifier.store.scope import Scope, enter
from notifier.store.tables import api_tokens as tokens
from notifier.store.tables import customer_users, users

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from notifier.domain.vocabulary import Role


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A row of api_tokens without its hash. `expires_at` None: never; `last_used_at` is kept to the minute."""

    id: int
    user_id: int
    username: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bearer:
    """Who a token speaks for, and the customers that user has access to."""

    user_id: int
    username: str
    role: Role
    customer_ids: tuple[int, ...]


_COLUMNS: list[sa.ColumnElement[Any]] = [
    users.c.username if f.name == "username" else tokens.c[f.name] for f in fields(Token)
]
_ROWS: sa.Select[Any] = sa.select(*_COLUMNS).join_from(tokens, users, users.c.id == tokens.c.user_id)

_VALID = """
SELECT id, user_id, last_used_at IS NULL OR last_used_at < now() - interval '1 minute' AS stale
FROM api_tokens
WHERE token_hash = %(hash)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""


def add(
    connection: Connection, *, user_id: int, name: str, token_hash: bytes, expires_at: datetime | None
) -> Token:
    """Keep a new token. Raises NotFound for an unknown user."""
    values = {"user_id": user_id, "name": name, "token_hash": token_hash, "expires_at": expires_at}
    row_id = connection.execute(sa.insert(tokens).values(values).returning(tokens.c.id)).scalar_one()
    return get(connection, row_id)


def get(connection: Connection, token_id: int) -> Token:
    """Return one token. Raises NotFound."""
    row = connection.execute(_ROWS.where(tokens.c.id == token_id)).one_or_none()
    if row is None:
        msg = f"there is no token {token_id}; notifier tokens list shows what there is"
        raise NotFound(msg)
    return Token(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def find(
    connection: Connection,
    *,
    user_id: int | None = None,
    part: Slice = Slice(),  # noqa: B008 - frozen
) -> Page[Token]:
    """Return one page of the tokens, of this user if given, the newest first."""
    query = _ROWS.order_by(tokens.c.id.desc())
    if user_id is not None:
        query = query.where(tokens.c.user_id == user_id)
    rows, total = rows_and_total(connection, query, part)
    items = tuple(Token(**row._mapping) for row in rows)  # noqa: SLF001 - SQLAlchemy's public name
    return Page(items=items, total=total)


def revoke(connection: Connection, token_id: int) -> Token:
    """Withdraw a token for good; one that is withdrawn already stays as it is. Raises NotFound."""
    unrevoked = sa.and_(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
    connection.execute(sa.update(tokens).where(unrevoked).values(revoked_at=sa.func.now()))
    return get(connection, token_id)


def bearer(connection: Connection, token_hash: bytes) -> Bearer | None:
    """Return who this token speaks for; None for a token that is unknown, expired, revoked or of an inactive user.

    Call it inside a transaction whose scope names the hash; afterwards the scope names the user.
    """
    token = connection.exec_driver_sql(_VALID, {"hash": token_hash}).one_or_none()
    if token is None:
        return None
    enter(connection, Scope(user_id=token.user_id, token_hash=token_hash))
    query = sa.select(users.c.id, users.c.username, users.c.role)
    user = connection.execute(query.where(users.c.id == token.user_id, users.c.is_active)).one_or_none()
    if user is None:
        return None
    if token.stale:
        used = sa.update(tokens).where(tokens.c.id == token.id).values(last_used_at=sa.func.now())
        connection.execute(used)
    access = sa.select(customer_users.c.customer_id).where(customer_users.c.user_id == user.id)
    customers = connection.execute(access.order_by(customer_users.c.customer_id)).scalars()
    return Bearer(user_id=user.id, username=user.username, role=user.role, customer_ids=tuple(customers))
