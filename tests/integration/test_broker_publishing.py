"""Publishing with confirms on a real broker."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from notifier.broker.publisher import Publisher
from notifier.domain.errors import (
    BrokerRefused,
    BrokerUnavailable,
    ConfirmMissing,
    NotAccepted,
    NotFound,
    Unroutable,
)
from notifier.publish import EventPublisher, build_event
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.broker_objects import BrokerObjects

pytestmark = pytest.mark.services


@contextlib.contextmanager
def lossy_line(broker: BrokerObjects, *, confirms_lost: int) -> Iterator[tuple[str, TcpProxy]]:
    """A way to the broker on which the first confirms of `marked-body` are lost, each with its connection."""
    parts = urlsplit(broker.url)
    published, left = False, confirms_lost

    def pass_on(_: int, towards_target: bool, data: bytes) -> bool:  # noqa: FBT001 - the proxy's signature
        nonlocal published, left
        published = published or (towards_target and b"marked-body" in data)
        if published and not towards_target and left:
            published = False
            left -= 1
            return False
        return True

    with TcpProxy((parts.hostname or "127.0.0.1", parts.port or 5672)) as proxy:
        proxy.on_data = pass_on
        yield (
            parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl(),
            proxy,
        )


def test_a_published_event_is_on_the_queue_persistent_and_described(broker: BrokerObjects) -> None:
    with Publisher(broker.url, exchange=broker.topology.exchange, now=lambda: 1_700_000_000.7) as publisher:
        publisher.publish(
            b"{}",
            routing_key="job_failed.1",
            event_type="job_failed",
            message_id="job-1",
            headers={"traceparent": "00-1-2-01"},
        )
    ((body, properties),) = broker.take(broker.topology.queue)
    assert body == b"{}"
    assert properties.content_type == "application/cloudevents+json"
    assert properties.delivery_mode == 2
    assert (properties.message_id, properties.type) == ("job-1", "job_failed")
    assert (properties.timestamp, properties.app_id) == (1_700_000_000, "notifier")
    assert (properties.headers or {})["traceparent"] == "00-1-2-01"


def test_an_event_that_reaches_no_queue_is_an_error_and_the_next_one_goes_through(
    broker: BrokerObjects,
) -> None:
    """Without `mandatory` it would be confirmed and lost."""
    broker.channel.queue_unbind(broker.topology.queue, broker.topology.exchange, "#")
    broker.channel.queue_bind(broker.topology.queue, broker.topology.exchange, "job_failed")
    with Publisher(broker.url, exchange=broker.topology.exchange) as publisher:
        with pytest.raises(Unroutable, match="job_success"):
            publisher.publish(b"{}", routing_key="job_success")
        publisher.publish(b"{}", routing_key="job_failed")
    assert len(broker.take(broker.topology.queue)) == 1


def test_a_missing_exchange_is_named_and_does_not_spoil_the_next_event(broker: BrokerObjects) -> None:
    with Publisher(broker.url, exchange="no.such.exchange") as publisher:
        for _try in range(2):
            with pytest.raises(NotFound, match=r"no\.such\.exchange"):
                publisher.publish(b"{}", routing_key="job_failed")


def test_a_queue_that_refuses_is_unavailable_not_silence(broker: BrokerObjects) -> None:
    """A full queue with reject-publish answers with a nack."""
    full = f"{broker.topology.queue}.full"
    arguments: dict[str, str | int] = {"x-max-length": 0, "x-overflow": "reject-publish"}
    broker.channel.queue_declare(full, exclusive=True, arguments=arguments)
    broker.channel.queue_bind(full, broker.topology.exchange, "job_failed")
    with (
        Publisher(broker.url, exchange=broker.topology.exchange, patience=0.3) as publisher,
        pytest.raises(NotAccepted, match="full"),
    ):
        publisher.publish(b"{}", routing_key="job_failed")


def test_an_event_whose_confirm_is_lost_is_published_again(broker: BrokerObjects) -> None:
    """The broker took the first copy, only its confirm went missing."""
    with (
        lossy_line(broker, confirms_lost=1) as (url, proxy),
        Publisher(url, exchange=broker.topology.exchange) as publisher,
    ):
        publisher.publish(b"marked-body", routing_key="job_failed", message_id="one")
        assert proxy.connections == 2
    copies = broker.take(broker.topology.queue)
    assert [properties.message_id for _body, properties in copies] == ["one", "one"]


def test_a_publisher_who_never_hears_is_told_that_nobody_knows(broker: BrokerObjects) -> None:
    """The broker has the event all the same: publishing it again with its id is the right answer."""
    with (
        lossy_line(broker, confirms_lost=9) as (url, proxy),
        Publisher(url, exchange=broker.topology.exchange, patience=0) as publisher,
    ):
        with pytest.raises(ConfirmMissing):
            publisher.publish(b"marked-body", routing_key="job_failed", message_id="one")
        assert proxy.connections == 1
    assert len(broker.take(broker.topology.queue)) == 1


def test_a_confirm_that_was_missed_is_not_forgotten_when_the_line_stays_away(broker: BrokerObjects) -> None:
    """The last fault is a connection that cannot be had, which alone would mean: on no queue."""
    with lossy_line(broker, confirms_lost=1) as (url, proxy):

        def take_the_broker_away(_seconds: float) -> None:
            proxy.target = ("127.0.0.1", 1)

        with (
            Publisher(
                url,
                exchange=broker.topology.exchange,
                patience=1,
                sleep=take_the_broker_away,
                chance=lambda: 0.5,
            ) as publisher,
            pytest.raises(ConfirmMissing, match="a confirm was missing, then: no connection"),
        ):
            publisher.publish(b"marked-body", routing_key="job_failed", message_id="one")


def test_a_connection_that_broke_between_two_events_is_replaced_at_once(broker: BrokerObjects) -> None:
    """A program that publishes seldom finds its connection closed by the broker; that is no fault of the event."""
    event = build_event(
        "job_failed", source="webnet/jobs", customer_id=7, job={"id": 1, "type": "config_backup"}
    )
    with lossy_line(broker, confirms_lost=0) as (url, proxy):
        with EventPublisher(url, exchange=broker.topology.exchange, patience=0) as publisher:
            publisher.publish(event)
            proxy.cut()
            publisher.publish(event)
        assert proxy.connections == 2
    (one, properties), _again = broker.take(broker.topology.queue)
    assert one == event.body
    assert (properties.message_id, properties.type, properties.delivery_mode) == (event.id, "job_failed", 2)


def test_an_absent_broker_is_reported_after_the_patience() -> None:
    started = time.monotonic()
    with (
        Publisher("amqp://guest:guest@127.0.0.1:1/", patience=0.5) as publisher,
        pytest.raises(BrokerUnavailable, match="Connection refused"),
    ):
        publisher.publish(b"{}", routing_key="job_failed")
    assert time.monotonic() - started < 5


def test_a_refused_login_is_not_tried_again(broker: BrokerObjects) -> None:
    url = "amqp://nobody:hunter2@" + broker.url.partition("@")[2]
    waits: list[float] = []
    with Publisher(url, sleep=waits.append) as publisher, pytest.raises(BrokerRefused):
        publisher.publish(b"{}", routing_key="job_failed")
    assert waits == []
