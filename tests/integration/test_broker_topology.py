"""The topology on a real broker: what is declared must also have its effect, for typos pass silently."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from notifier.broker.letters import last_death
from notifier.broker.topology import Topology, ensure, verify
from notifier.domain.errors import BrokerRefused, BrokerUnavailable, ConfigurationError, TopologyMismatch
from tests.broker_objects import BrokerObjects, broker_objects
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.services


@pytest.fixture
def broker(amqp_url: str) -> Iterator[BrokerObjects]:
    with broker_objects(amqp_url) as objects:
        yield objects


def test_an_event_with_any_key_reaches_the_queue_and_setting_up_again_changes_nothing(
    broker: BrokerObjects,
) -> None:
    ensure(broker.url, broker.topology)
    for key in ("job_failed", "job_failed.17", "x"):
        broker.channel.basic_publish(broker.topology.exchange, key, b"{}", mandatory=True)
    ensure(broker.url, broker.topology)
    assert broker.waits_for(lambda: broker.depth(broker.topology.queue) == 3)
    assert verify(broker.url, broker.topology) == []


def test_only_the_configured_keys_are_bound(broker: BrokerObjects) -> None:
    topology = replace(broker.topology, binding_keys=("job_failed", "job_failed.*"))
    ensure(broker.url, topology)
    for key in ("job_failed", "job_failed.17", "job_success"):
        broker.channel.basic_publish(topology.exchange, key, key.encode(), mandatory=key != "job_success")
    assert broker.waits_for(lambda: broker.depth(topology.queue) == 2)


def test_a_rejected_message_becomes_a_dead_letter(broker: BrokerObjects) -> None:
    ensure(broker.url, broker.topology)
    broker.publish(b"bad")
    method, _properties, _body = broker.channel.basic_get(broker.topology.queue)
    assert method is not None
    broker.channel.basic_reject(method.delivery_tag or 0, requeue=False)
    dead = broker.topology.dead_letter_queue
    assert broker.waits_for(lambda: broker.depth(dead) == 1)
    ((body, properties),) = broker.take(dead)
    assert body == b"bad"
    assert last_death(properties.headers or {}).queue == broker.topology.queue


def test_a_message_given_back_too_often_is_dead_after_21_deliveries(broker: BrokerObjects) -> None:
    """The effect of the delivery limit, not only its declaration."""
    ensure(broker.url, broker.topology)
    broker.publish(b"poison")
    deliveries = 0
    dead = broker.topology.dead_letter_queue

    def next_delivery() -> bool:
        nonlocal deliveries
        method, _properties, _body = broker.channel.basic_get(broker.topology.queue)
        if method is not None:
            deliveries += 1
            broker.channel.basic_nack(method.delivery_tag or 0, requeue=True)
        return broker.depth(dead) == 1

    assert broker.waits_for(next_delivery)
    assert deliveries == 21


def test_a_dead_letter_outlives_being_looked_at_more_than_twenty_times(broker: BrokerObjects) -> None:
    ensure(broker.url, broker.topology)
    dead = broker.topology.dead_letter_queue
    broker.channel.basic_publish("", dead, b"letter", mandatory=True)
    for _look in range(30):
        method, _properties, _body = broker.channel.basic_get(dead)
        assert method is not None
        broker.channel.basic_nack(method.delivery_tag or 0, requeue=True)
        assert broker.waits_for(lambda: broker.depth(dead) == 1)


def test_a_foreign_exchange_is_left_as_it_is(broker: BrokerObjects) -> None:
    broker.channel.exchange_declare(
        broker.topology.exchange, "topic", durable=True, arguments={"alternate-exchange": "amq.fanout"}
    )
    ensure(broker.url, broker.topology)
    assert verify(broker.url, broker.topology) == []


@pytest.mark.parametrize("which", ["queue", "dead_letter_queue"])
def test_a_classic_queue_is_refused_by_name_and_difference(broker: BrokerObjects, which: str) -> None:
    """F19."""
    name = getattr(broker.topology, which)
    arguments = {
        "x-dead-letter-exchange": broker.topology.dead_letter_exchange,
        "x-dead-letter-routing-key": "dead",
        "x-overflow": "reject-publish",
    }
    broker.channel.queue_declare(name, durable=True, arguments=arguments if which == "queue" else {})
    with pytest.raises(TopologyMismatch) as caught:
        ensure(broker.url, broker.topology)
    (problem,) = caught.value.problems
    assert name in problem
    assert f"rabbitmq.{which}" in problem
    assert "needs" in problem
    assert verify(broker.url, broker.topology) == [problem]


def test_a_queue_without_a_delivery_limit_is_refused(broker: BrokerObjects) -> None:
    arguments = broker.topology.queue_arguments
    del arguments["x-delivery-limit"]
    broker.channel.queue_declare(broker.topology.queue, durable=True, arguments=arguments)
    with pytest.raises(TopologyMismatch, match="x-delivery-limit: notifier needs '20'"):
        ensure(broker.url, broker.topology)


def test_a_dead_letter_exchange_of_another_type_is_refused(broker: BrokerObjects) -> None:
    broker.channel.exchange_declare(broker.topology.dead_letter_exchange, "fanout", durable=True)
    with pytest.raises(TopologyMismatch, match=r"type: notifier needs 'direct', the broker has 'fanout'"):
        ensure(broker.url, broker.topology)


def test_the_way_of_dead_letters_is_complete_before_the_main_queue_exists(broker: BrokerObjects) -> None:
    """With the set-up stopped at the main queue, a message sent to the exchange finds its queue."""
    broker.channel.queue_declare(broker.topology.queue, durable=True)
    with pytest.raises(TopologyMismatch):
        ensure(broker.url, broker.topology)
    broker.channel.basic_publish(broker.topology.dead_letter_exchange, "dead", b"x", mandatory=True)
    assert broker.waits_for(lambda: broker.depth(broker.topology.dead_letter_queue) == 1)


def test_without_declare_nothing_is_created_and_what_is_missing_is_named(broker: BrokerObjects) -> None:
    passive = replace(broker.topology, declare=False)
    with pytest.raises(ConfigurationError, match=r"does not exist and rabbitmq.declare is false"):
        ensure(broker.url, passive)
    assert len(verify(broker.url, passive)) == 4
    assert not broker.exists(passive.queue)
    ensure(broker.url, broker.topology)
    ensure(broker.url, passive)
    assert verify(broker.url, passive) == []


def test_checking_creates_nothing(broker: BrokerObjects) -> None:
    assert verify(broker.url, broker.topology) == []
    assert not broker.exists(broker.topology.queue)
    assert not broker.exists(broker.topology.dead_letter_queue)


def test_a_missing_permission_is_named(broker: BrokerObjects) -> None:
    """Names under `amq.` are the broker's own: it answers 403 as it does to a user without rights."""
    topology = replace(broker.topology, exchange="amq.notifier-test")
    with pytest.raises(BrokerRefused, match=r"no permission for exchange amq\.notifier-test"):
        ensure(broker.url, topology)


def test_a_wrong_password_is_a_matter_for_the_operator_and_is_not_shown(broker: BrokerObjects) -> None:
    url = "amqp://nobody:hunter2@" + broker.url.partition("@")[2]
    with pytest.raises(BrokerRefused, match="refused the login") as caught:
        ensure(url, broker.topology)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in "".join(verify(url, broker.topology))


def test_a_missing_virtual_host_is_named(broker: BrokerObjects) -> None:
    url = broker.url.rpartition("/")[0] + "/no-such-host"
    with pytest.raises(BrokerRefused, match="no virtual host 'no-such-host'"):
        ensure(url, broker.topology)


@pytest.mark.parametrize("step", [1, 2, 3], ids=["greeting", "login", "tuning"])
def test_a_broker_that_dies_during_the_login_is_unavailable_and_did_not_refuse_it(
    broker: BrokerObjects, step: int
) -> None:
    """A refusal ends the worker for good, and systemd does not start it again."""
    parts = urlsplit(broker.url)
    said = 0

    def pass_on(_: int, towards_broker: bool, _data: bytes) -> bool:  # noqa: FBT001 - the proxy's signature
        nonlocal said
        said += towards_broker
        return said < step

    with TcpProxy((parts.hostname or "", parts.port or 5672)) as proxy:
        proxy.on_data = pass_on
        url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl()
        with pytest.raises(BrokerUnavailable, match="no connection to the broker"):
            ensure(url, broker.topology)


def test_an_absent_broker_is_unavailable(broker: BrokerObjects) -> None:
    with pytest.raises(BrokerUnavailable, match="Connection refused"):
        ensure("amqp://guest:guest@127.0.0.1:1/", broker.topology)


@pytest.mark.parametrize(
    "url", ["http2://x", "amqp://user@host/", "amqp://u:secret@host:port/", "amqp://h/?x=1"]
)
def test_an_unusable_url_is_a_configuration_fault_that_does_not_quote_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"rabbitmq\.url") as caught:
        ensure(url, Topology())
    assert "secret" not in str(caught.value)
