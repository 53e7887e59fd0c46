"""Users as the platform wrote them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import sqlalchemy as sa

from notifier.domain.errors import NotFound
from notifier.store.tables import users

if TYPE_CHECKING:
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


def get(connection: Connection, user_id: int) -> User:
    """Return one user. Raises NotFound."""
    query = sa.select(*(users.c[f.name] for f in fields(User))).where(users.c.id == user_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        msg = f"there is no user {user_id}"
        raise NotFound(msg)
    return User(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
