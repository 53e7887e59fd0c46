"""Publishing with confirms: a call that returns means that the event is on a queue, on disk.

Needs nothing but pika, so that the job system can use it without the rest of this program.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Self

from pika import BasicProperties, DeliveryMode
from pika.exceptions import ChannelClosedByBroker, NackError, UnroutableError

from notifier.broker.backoff import Backoff
from notifier.broker.connection import (
    ERRAND_HEARTBEAT,
    PIKA_FAULTS,
    broker_faults,
    close_connection,
    describe,
    open_connection,
    parameters,
)
from notifier.domain.errors import (
    BrokerRefused,
    BrokerUnavailable,
    ConfirmMissing,
    NotAccepted,
    NotFound,
    Unroutable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

CLOUDEVENTS_JSON = "application/cloudevents+json"
RETRY_CAP = 5.0  # s between two tries
_REFUSALS = (403, 406)  # no permission; a property the broker does not accept (a foreign user_id)
_NOT_FOUND = 404


class Publisher:
    """Publishes to one exchange over its own connection, opened at the first call; for one thread.

    When the confirm stays away the event is published again: its identity absorbs the second copy. A connection
    that broke since the last event is replaced at once; else tries go on for `patience` seconds, and the one that
    is running then is not cut short. Use it as a context manager, or call `close`.
    """

    def __init__(
        self,
        url: str,
        *,
        exchange: str = "job.events",
        app_id: str = "notifier",
        patience: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._params = parameters(url, heartbeat=ERRAND_HEARTBEAT, name=f"{app_id} publisher")
        self._exchange = exchange
        self._app_id = app_id
        self._patience = patience
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._chance = chance
        self._connection: BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def publish(
        self,
        body: bytes,
        *,
        routing_key: str,
        event_type: str | None = None,
        message_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = CLOUDEVENTS_JSON,
    ) -> None:
        """Publish one event, persistent and mandatory, and wait for its confirm.

        `headers` may carry `traceparent` and `tracestate`. Raises Unroutable (no queue is bound for it),
        NotFound (no such exchange), BrokerRefused (login or permission), or when the patience is over
        NotAccepted (the broker said no), ConfirmMissing (it may be queued) or else BrokerUnavailable (it is not).
        """
        properties = BasicProperties(
            content_type=content_type,
            delivery_mode=DeliveryMode.Persistent,
            message_id=message_id,
            type=event_type,
            timestamp=int(self._now()),
            app_id=self._app_id,
            headers=dict(headers) if headers else None,
        )
        self.send(body, exchange=self._exchange, routing_key=routing_key, properties=properties)

    def send(self, body: bytes, *, exchange: str, routing_key: str, properties: BasicProperties) -> None:
        """Publish with these very properties; raises as `publish` does."""
        deadline = self._clock() + self._patience
        backoff = Backoff(cap=RETRY_CAP, chance=self._chance)
        unclear = False
        while True:
            used_before = self._channel is not None
            try:
                self._try_once(body, exchange=exchange, routing_key=routing_key, properties=properties)
            except BrokerUnavailable as exc:
                unclear = unclear or isinstance(exc, ConfirmMissing)
                if used_before and not isinstance(exc, NotAccepted):
                    continue
                delay = backoff.next()
                if self._clock() + delay >= deadline:
                    if unclear and not isinstance(exc, ConfirmMissing):
                        raise ConfirmMissing(f"a confirm was missing, then: {exc}") from exc
                    raise
                self._sleep(delay)
            else:
                return

    def close(self) -> None:
        """Close the connection; never raises."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            close_connection(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _try_once(self, body: bytes, *, exchange: str, routing_key: str, properties: BasicProperties) -> None:
        where = f"exchange {exchange!r} with routing key {routing_key!r}"
        channel = self._open()
        try:
            channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)
        except UnroutableError as exc:
            raise Unroutable(
                f"no queue is bound to {where}: start `notifier run` once, or bind the queue"
            ) from exc
        except NackError as exc:
            raise NotAccepted(f"the broker refused what came to {where}: is a queue full?") from exc
        except ChannelClosedByBroker as exc:
            self.close()
            raise _refusal(exc, exchange, where) from exc
        except PIKA_FAULTS as exc:
            self.close()
            raise ConfirmMissing(f"no confirm from {where}: {describe(exc)}") from exc

    def _open(self) -> BlockingChannel:
        if self._channel is None or not self._channel.is_open:
            self.close()
            self._connection = open_connection(self._params)
            with broker_faults("opening a channel"):
                channel = self._connection.channel()
                channel.confirm_delivery()
            self._channel = channel
        return self._channel


def _refusal(exc: ChannelClosedByBroker, exchange: str, where: str) -> Exception:
    """Name what a closed channel means for the one who publishes."""
    if exc.reply_code == _NOT_FOUND:
        return NotFound(f"exchange {exchange!r} does not exist: create it, or start `notifier run` once")
    if exc.reply_code in _REFUSALS:
        return BrokerRefused([f"the broker refused to publish to {where}: {describe(exc)}"])
    return ConfirmMissing(f"no confirm from {where}: {describe(exc)}")
