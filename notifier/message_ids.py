"""Unique ids made from this machine's clock and chance."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from notifier.domain.identifiers import message_id, time_ordered_uuid

if TYPE_CHECKING:
    from uuid import UUID


def new_uuid() -> UUID:
    """Return a unique id that sorts by time."""
    return time_ordered_uuid(time.time_ns() // 1_000_000, secrets.token_bytes(10))


def renewed(old: str) -> str:
    """Return a new Message-ID in the domain of an old one: a resend is another mail."""
    return message_id(new_uuid(), old.rpartition("@")[2].removesuffix(">"))
