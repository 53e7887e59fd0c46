"""The option --customer of lists: a customer that is not there is told, not taken for one without rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.domain.errors import NotFound
from notifier.store import people

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection


def must_exist(connection: Connection, customer_ids: Sequence[int]) -> None:
    """Raise NotFound for the first of the customers that does not exist."""
    known = people.known_customers(connection, customer_ids)
    for customer_id in customer_ids:
        if customer_id not in known:
            msg = f"there is no customer {customer_id}"
            raise NotFound(msg)
