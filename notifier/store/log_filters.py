"""The filters of the event log, once for lists, counts and bulk operations (docs/contract.md, `events`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from notifier.domain.addresses import parse_mailbox
from notifier.domain.errors import InvalidAddress
from notifier.store.tables import notification_events as log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from notifier.domain.vocabulary import FailureReason, MailType, Status

Ordering = Literal["created_at", "-created_at", "sent_at", "-sent_at"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFilter:
    """Which rows of the event log. What is None does not limit; an empty `customer_ids` matches nothing.

    `since` (inclusive) and `until` (exclusive) are about created_at. `recipient` is an address.
    """

    ids: tuple[int, ...] | None = None
    customer_ids: tuple[int, ...] | None = None
    user_id: int | None = None
    event_type: MailType | None = None
    status: Status | None = None
    failure_reason: FailureReason | None = None
    job_id: int | None = None
    compliance_result_id: int | None = None
    job_event_id: int | None = None
    recipient: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """Yield the WHERE conditions."""
        if self.ids is not None:
            yield log.c.id == sa.any_(sa.literal(list(self.ids), sa.ARRAY(sa.BigInteger)))
        if self.customer_ids is not None:
            yield log.c.customer_id == sa.any_(sa.literal(list(self.customer_ids), sa.ARRAY(sa.BigInteger)))
        equal = {
            log.c.user_id: self.user_id,
            log.c.event_type: self.event_type,
            log.c.status: self.status,
            log.c.failure_reason: self.failure_reason,
            log.c.job_id: self.job_id,
            log.c.compliance_result_id: self.compliance_result_id,
            log.c.job_event_id: self.job_event_id,
        }
        yield from (column == value for column, value in equal.items() if value is not None)
        if self.status == "sent":
            yield log.c.sent_at.is_not(None)  # always true then; it opens ix_log_sent
        if self.recipient is not None:
            yield log.c.recipient_key == _recipient_key(self.recipient)
        if self.since is not None:
            yield log.c.created_at >= self.since
        if self.until is not None:
            yield log.c.created_at < self.until

    def order(self, ordering: Ordering) -> Iterator[sa.ColumnElement[object]]:
        """Yield the ORDER BY terms; mails that were not sent come last in any order by sent_at."""
        column = log.c.sent_at if ordering.endswith("sent_at") else log.c.created_at
        directed = column.desc() if ordering.startswith("-") else column.asc()
        if column is log.c.sent_at and self.status != "sent":
            directed = directed.nulls_last()
        yield directed
        yield log.c.id.desc() if ordering.startswith("-") else log.c.id.asc()


def _recipient_key(address: str) -> str:
    try:
        return parse_mailbox(address).key
    except InvalidAddress:
        return address  # what is no address was written to the log as it was
