"""Unique ids made from this machine's clock and chance."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from notifier.domain.identifiers import message_id, time_ordered_uuid

if TYPE_CHECKING:
    from uuid import UUID


_CHANCE = 10  # bytes of chance in an id
_DRAWN = 256  # at once: every question to the kernel makes the thread queue for the interpreter again
_drawn: list[bytes] = []


def new_uuid() -> UUID:
    """Return a unique id that sorts by time."""
    return time_ordered_uuid(time.time_ns() // 1_000_000, _chance())


def _chance() -> bytes:
    try:
        return _drawn.pop()
    except IndexError:
        fresh = secrets.token_bytes(_CHANCE * _DRAWN)
        _drawn.extend(fresh[at : at + _CHANCE] for at in range(_CHANCE, len(fresh), _CHANCE))
        return fresh[:_CHANCE]


def renewed(old: str) -> str:
    """Return a new Message-ID in the domain of an old one: a resend is another mail."""
    return message_id(new_uuid(), old.rpartition("@")[2].removesuffix(">"))
