"""Rows of the event log as `notifier events` shows them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifier.cli.output import Output
    from notifier.store.event_log import LogRow

COLUMNS = ("id", "created_at", "customer", "event_type", "recipient", "status", "reason")


def log_lines(rows: Sequence[LogRow], out: Output) -> list[dict[str, object]]:
    """Return rows as they are for machines, and with short names for the columns of a terminal."""
    if out.as_json:
        return [asdict(row) for row in rows]
    return [
        {
            "id": row.id,
            "created_at": row.created_at,
            "customer": row.customer_id,
            "event_type": row.event_type,
            "recipient": row.recipient_email,
            "status": row.status,
            "reason": row.failure_reason,
        }
        for row in rows
    ]
