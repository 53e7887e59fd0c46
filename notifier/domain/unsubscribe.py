"""The token behind a personal unsubscribe link: signed, opaque, no address in it (docs/contract.md).

A token is base64url(payload + mac): one letter for the event type, twelve bytes of the recipient key's hash,
the customer's id without leading zero bytes, then half of an HMAC-SHA-256 over all of it. About 40 characters,
so that the List-Unsubscribe header fits on one line.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier.domain.vocabulary import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notifier.domain.vocabulary import EventType

# Letters, not positions in a list: a token must keep its meaning for as long as its mail lies in a mailbox.
_LETTERS: dict[EventType, bytes] = {
    "job_success": b"s",
    "job_failed": b"f",
    "job_partial": b"p",
    "compliance_violation": b"v",
    "scheduled_backup_complete": b"b",
}
_EVENT_TYPES = {letter: event_type for event_type, letter in _LETTERS.items()}
_PURPOSE = b"notifier unsubscribe v1\0"
_HASH_SIZE = 12
_MAC_SIZE = 16
_MAX_TOKEN = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a valid token says: this event type of this customer, for whoever has this recipient key."""

    customer_id: int
    event_type: EventType
    recipient_hash: bytes

    def covers(self, recipient_key: str) -> bool:
        """Tell whether the claim is about this recipient key; users who share an address share it."""
        return hmac.compare_digest(self.recipient_hash, _hash(recipient_key))


def sign(keys: Sequence[str], *, customer_id: int, event_type: EventType, recipient_key: str) -> str:
    """Return the token for one recipient, signed with the newest (first) key.

    Raises ValueError without a key or with a customer id outside 1…2^63-1.
    """
    if not keys:
        raise ValueError("an unsubscribe link needs a signing key: set security.signing_keys")
    if not 1 <= customer_id <= MAX_ID:
        raise ValueError(f"customer id {customer_id} is outside 1…{MAX_ID}")
    customer = customer_id.to_bytes((customer_id.bit_length() + 7) // 8, "big")
    payload = _LETTERS[event_type] + _hash(recipient_key) + customer
    return urlsafe_b64encode(payload + _mac(keys[0], payload)).rstrip(b"=").decode("ascii")


def verify(keys: Sequence[str], token: str) -> Claim | None:
    """Return what the token claims if any of the keys (newest first, retired ones too) signed it, else None.

    Never raises, whatever the text: it comes from the internet.
    """
    raw = _decode(token)
    if raw is None:
        return None
    payload, mac = raw[:-_MAC_SIZE], raw[-_MAC_SIZE:]
    if not any(hmac.compare_digest(mac, _mac(key, payload)) for key in keys):
        return None
    return Claim(
        customer_id=int.from_bytes(payload[1 + _HASH_SIZE :], "big"),
        event_type=_EVENT_TYPES[payload[:1]],
        recipient_hash=payload[1 : 1 + _HASH_SIZE],
    )


def _decode(token: str) -> bytes | None:
    """Return the bytes of a token in its one canonical spelling."""
    if not token.isascii() or len(token) > _MAX_TOKEN:
        return None
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        return None
    canonical = urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") == token
    return raw if canonical and len(raw) > 1 + _HASH_SIZE + _MAC_SIZE else None


def _hash(recipient_key: str) -> bytes:
    return hashlib.sha256(recipient_key.encode("utf-8")).digest()[:_HASH_SIZE]


def _mac(key: str, payload: bytes) -> bytes:
    return hmac.digest(key.encode("utf-8"), _PURPOSE + payload, "sha256")[:_MAC_SIZE]
