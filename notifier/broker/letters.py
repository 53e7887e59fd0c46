"""Dead letters as values: how they are named, chosen, read and made fit for a second life."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pika import BasicProperties, DeliveryMode

from notifier.broker.messages import BrokerMessage, from_pika

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pika.spec import Basic

SHORT_DIGEST = 16  # hex digits that name a letter without a message id
HEAD_BYTES = 4096  # of a body that a letter keeps: many letters are held at once
# Written by the broker when a message dies, or telling it where else to route: not for a second life.
_BROKER_HEADERS = frozenset({"CC", "BCC", "x-death", "x-delivery-count"})
_BROKER_HEADER_PREFIXES = ("x-first-death-", "x-last-death-")
_NO_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """What the broker wrote about the last death; for people to read, and for the order of lists."""

    reason: str | None = None
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """One broker message in the dead-letter queue; `message` has only the first `HEAD_BYTES` of the body's `size`.

    `body_sha256` (hex) is that of the whole body and joins it with `rejected_events.body_sha256`.
    """

    message: BrokerMessage
    size: int
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

    @property
    def identity(self) -> tuple[str, str]:
        """What tells it from every other letter, save one with the same content."""
        return (self.id, self.body_sha256)

    @property
    def age(self) -> tuple[bool, datetime, tuple[str, str]]:
        """Sorts letters from the oldest on; those that did not die in a queue, and have no time, come last.

        The broker gives no better order: what was looked at goes back to the queue shuffled. It notes whole seconds, so
        the identity makes two looks at letters of one second agree.
        """
        return (self.death.at is None, self.death.at or _NO_TIME, self.identity)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which letters are meant: all of them, or those that answer to these names.

    `among` limits both to letters of these identities: those that somebody saw before saying yes.
    """

    everything: bool = False
    ids: frozenset[str] = frozenset()
    among: frozenset[tuple[str, str]] | None = None

    def matches(self, letter: DeadLetter) -> bool:
        """Whether `letter` is meant."""
        named = self.everything or bool(self.ids & letter.names)
        return named and (self.among is None or letter.identity in self.among)


class Oldest:
    """Keeps the oldest `limit` of the letters added, however many they are; all of them when None."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._kept: list[DeadLetter] = []

    def add(self, letter: DeadLetter) -> None:
        """Take one more letter into account."""
        self._kept.append(letter)
        if self._limit is not None and len(self._kept) >= 2 * self._limit:
            self._kept = self.letters()

    def letters(self) -> list[DeadLetter]:
        """Return the letters kept, the oldest first."""
        return sorted(self._kept, key=lambda one: one.age)[: self._limit]


@dataclass(frozen=True, kw_only=True, slots=True)
class Handled:
    """What a replay or discard did. `missing`: names that no letter answered to."""

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


def read_letter(method: Basic.GetOk | Basic.Deliver, properties: BasicProperties, body: bytes) -> DeadLetter:
    """Make a letter of what the broker handed out."""
    message = from_pika(
        properties,
        body[:HEAD_BYTES],
        exchange=method.exchange or "",
        routing_key=method.routing_key or "",
        redelivered=bool(method.redelivered),
    )
    return DeadLetter(
        message=message,
        size=len(body),
        body_sha256=hashlib.sha256(body).hexdigest(),
        death=last_death(message.headers),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
