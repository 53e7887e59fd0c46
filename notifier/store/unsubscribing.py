"""What an unsubscribe link does: one event type of one customer ends for whoever has the address (RFC 8058)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from notifier.domain.addresses import parse_mailbox
from notifier.domain.errors import InvalidAddress
from notifier.store import log_changes
from notifier.store.tables import customers

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from notifier.domain.unsubscribe import Claim

CANCELLED_BY = "the unsubscribe link of a mail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsubscribed:
    """Whose mails of the type are off now (also if they were before), and which waiting mails were stopped."""

    user_ids: tuple[int, ...]
    cancelled: tuple[int, ...]


# The address in force as domain.recipients chooses it. Also inactive users, and users without access: they may return.
_PEOPLE = """
SELECT u.id, coalesce(nullif(btrim(p.email_address, E' \\t'), ''), u.email) AS address
FROM (SELECT user_id FROM customer_users WHERE customer_id = %(customer)s
      UNION SELECT user_id FROM notification_preferences
            WHERE customer_id = %(customer)s AND event_type = %(type)s) q
JOIN users u ON u.id = q.user_id
LEFT JOIN notification_preferences p
    ON p.user_id = u.id AND p.customer_id = %(customer)s AND p.event_type = %(type)s
ORDER BY u.id
"""

_SWITCH_OFF = """
INSERT INTO notification_preferences (user_id, customer_id, event_type, enabled)
SELECT q.user_id, %(customer)s, %(type)s, false FROM unnest(%(users)s::bigint[]) AS q (user_id) ORDER BY q.user_id
ON CONFLICT ON CONSTRAINT uq_preference DO UPDATE SET enabled = false WHERE notification_preferences.enabled
"""

_WAITING = """
SELECT id, recipient_key FROM notification_events
WHERE customer_id = %(customer)s AND event_type = %(type)s AND status = 'pending' AND lock_token IS NULL
"""


def customer_name(connection: Connection, claim: Claim) -> str | None:
    """Return the name of the claim's customer; None when the customer is gone."""
    query = sa.select(customers.c.name).where(customers.c.id == claim.customer_id)
    return connection.execute(query).scalar_one_or_none()


def unsubscribe(connection: Connection, claim: Claim) -> Unsubscribed:
    """Switch the claim's event type off for everybody whose mails go to its address, and stop mails that wait.

    The rules for writing preferences do not apply: nobody may be kept from ending mails, whatever role he has now or
    whatever addresses are allowed now. The override address and the job types stay as they are. Idempotent; call it
    inside a transaction.
    """
    parameters: dict[str, object] = {"customer": claim.customer_id, "type": claim.event_type}
    people = connection.exec_driver_sql(_PEOPLE, parameters).all()
    users = [row.id for row in people if row.address and _covers(claim, row.address.strip(" \t"))]
    connection.exec_driver_sql(_SWITCH_OFF, {**parameters, "users": users})
    waiting = connection.exec_driver_sql(_WAITING, parameters).all()
    stopped = log_changes.cancel(
        connection, [row.id for row in waiting if claim.covers(row.recipient_key)], cancelled_by=CANCELLED_BY
    )
    return Unsubscribed(user_ids=tuple(users), cancelled=stopped.cancelled)


def _covers(claim: Claim, address: str) -> bool:
    try:
        return claim.covers(parse_mailbox(address).key)
    except InvalidAddress:
        return False  # no mail with a link ever went there
