"""What the broker hands over, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pika.spec import BasicProperties


class Settle(Enum):
    """What becomes of a message: `REJECT` sends it to the dead-letter queue, `LATER` keeps it for another try."""

    ACK = "ack"
    REJECT = "reject"
    LATER = "later"


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerMessage:
    """One broker message as received; nothing in it is checked.

    `headers` holds AMQP table values (str, bytes, int, bool, float, datetime, list, dict, None).
    `timestamp` is in seconds since 1970. `redelivered` means: it was handed out before and came back.
    """

    body: bytes = field(repr=False)
    content_type: str | None = None
    content_encoding: str | None = None
    headers: Mapping[str, object] = field(default_factory=dict, repr=False)
    exchange: str = ""
    routing_key: str = ""
    message_id: str | None = None
    type: str | None = None
    timestamp: int | None = None
    app_id: str | None = None
    redelivered: bool = False


def from_pika(
    properties: BasicProperties, body: bytes, *, exchange: str, routing_key: str, redelivered: bool
) -> BrokerMessage:
    """Take what pika hands over, without its types."""
    return BrokerMessage(
        body=body,
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        headers=dict(properties.headers or {}),
        exchange=exchange,
        routing_key=routing_key,
        message_id=properties.message_id,
        type=properties.type,
        timestamp=properties.timestamp,
        app_id=properties.app_id,
        redelivered=redelivered,
    )
