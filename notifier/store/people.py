"""Users as the platform wrote them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import sqlalchemy as sa

from notifier.domain.errors import NotFound
from notifier.store.tables import customer_users as access
from notifier.store.tables import customers, users

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.engine import Connection

    from notifier.domain.vocabulary import Role


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """A row of users. `timezone` None: the customer's."""

    id: int
    username: str
    email: str | None
    role: Role
    is_active: bool
    timezone: str | None


_USERS = sa.select(*(users.c[f.name] for f in fields(User)))


def known_customers(connection: Connection, customer_ids: Iterable[int]) -> frozenset[int]:
    """Return those of the customers that exist."""
    wanted = sa.any_(sa.literal(sorted(set(customer_ids)), sa.ARRAY(sa.BigInteger)))
    return frozenset(connection.execute(sa.select(customers.c.id).where(customers.c.id == wanted)).scalars())


def get(connection: Connection, user_id: int) -> User:
    """Return one user. Raises NotFound."""
    row = connection.execute(_USERS.where(users.c.id == user_id)).one_or_none()
    if row is None:
        msg = f"there is no user {user_id}"
        raise NotFound(msg)
    return User(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def by_name(connection: Connection, username: str) -> User:
    """Return the user of this login name. Raises NotFound."""
    row = connection.execute(_USERS.where(users.c.username == username)).one_or_none()
    if row is None:
        msg = f"there is no user {username!r}; the platform writes the table users"
        raise NotFound(msg)
    return User(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def has_access(connection: Connection, *, customer_id: int, user_id: int) -> bool:
    """Tell whether the user has access to the customer."""
    query = sa.select(access.c.user_id).where(
        access.c.customer_id == customer_id, access.c.user_id == user_id
    )
    return connection.execute(query).first() is not None
