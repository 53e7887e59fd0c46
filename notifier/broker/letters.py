"""Dead letters as values: how they are named, chosen, read and made fit for a second life."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pika import BasicProperties, DeliveryMode

from notifier.broker.messages import BrokerMessage, from_pika

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pika.spec import Basic

SHORT_DIGEST = 16  # hex digits that name a letter without a message id
# Written by the broker when a message dies, or telling it where else to route: not for a second life.
_BROKER_HEADERS = frozenset({"CC", "BCC", "x-death", "x-delivery-count"})
_BROKER_HEADER_PREFIXES = ("x-first-death-", "x-last-death-")


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """What the broker wrote about the last death; for people to read, nothing decides by it (D9)."""

    reason: str | None = None
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One broker message in the dead-letter queue. `position` counts from 1, the oldest.

    `body_sha256` (hex) joins it with `rejected_events.body_sha256`.
    """

    position: int
    message: BrokerMessage
    body_sha256: str
    death: Death

    @property
    def id(self) -> str:
        """What a person types to mean this letter: the message id, else the start of the body's digest."""
        return self.message.message_id or self.body_sha256[:SHORT_DIGEST]

    @property
    def names(self) -> frozenset[str]:
        """Everything this letter answers to."""
        return frozenset({self.id, self.body_sha256, self.body_sha256[:SHORT_DIGEST]})


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which letters are meant: all of them, or those at these positions or with these ids."""

    everything: bool = False
    positions: frozenset[int] = frozenset()
    ids: frozenset[str] = frozenset()

    def matches(self, letter: DeadLetter) -> bool:
        """Whether `letter` is meant."""
        return self.everything or letter.position in self.positions or bool(self.ids & letter.names)

    @property
    def last_position(self) -> int | None:
        """The position behind which nothing can match; None when every letter must be looked at."""
        return None if self.everything or self.ids else max(self.positions, default=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Handled:
    """What a replay or discard did. `missing`: positions and ids that no letter answered to."""

    count: int
    missing: tuple[str, ...] = ()


def second_life(properties: BasicProperties) -> BasicProperties:
    """The properties of a replayed message: as first published, without the traces of its death.

    The user id is dropped: the broker accepts only that of the connection.
    """
    return BasicProperties(
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        headers={
            key: value
            for key, value in (properties.headers or {}).items()
            if key not in _BROKER_HEADERS and not key.startswith(_BROKER_HEADER_PREFIXES)
        },
        delivery_mode=DeliveryMode.Persistent,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        message_id=properties.message_id,
        timestamp=properties.timestamp,
        type=properties.type,
        app_id=properties.app_id,
    )


def last_death(headers: Mapping[str, object]) -> Death:
    """Read the newest entry of `x-death`; a publisher can forge it, so nothing about its shape is trusted."""
    deaths = headers.get("x-death")
    entry = deaths[0] if isinstance(deaths, list) and deaths else None
    if not isinstance(entry, dict):
        return Death()
    keys = entry.get("routing-keys")
    at = entry.get("time")
    return Death(
        reason=_text(entry.get("reason")),
        queue=_text(entry.get("queue")),
        exchange=_text(entry.get("exchange")),
        routing_key=_text(keys[0]) if isinstance(keys, list) and keys else None,
        at=at if isinstance(at, datetime) else None,
    )


def read_letter(position: int, method: Basic.GetOk, properties: BasicProperties, body: bytes) -> DeadLetter:
    """Make a letter of what basic.get returned."""
    message = from_pika(
        properties,
        body,
        exchange=method.exchange or "",
        routing_key=method.routing_key or "",
        redelivered=bool(method.redelivered),
    )
    return DeadLetter(
        position=position,
        message=message,
        body_sha256=hashlib.sha256(body).hexdigest(),
        death=last_death(message.headers),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
