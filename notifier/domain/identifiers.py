"""Message-IDs and lock tokens: unique, and in the order of time, so that indexes on them grow at one end."""

from __future__ import annotations

from uuid import UUID


def time_ordered_uuid(milliseconds: int, chance: bytes) -> UUID:
    """Return a version 7 UUID (RFC 9562 section 5.7) from Unix milliseconds and ten random bytes."""
    value = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(chance[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)  # variant


def message_id(unique: UUID, domain: str) -> str:
    """Return the Message-ID header of one log row, angle brackets included."""
    return f"<{unique}@{domain}>"
