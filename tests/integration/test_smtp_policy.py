from __future__ import annotations

import ipaddress
import socket
from dataclasses import replace
from typing import Any

import pytest

from notifier.domain.errors import SmtpFault
from notifier.domain.outcomes import Kind, classify
from notifier.domain.vocabulary import FaultCause
from notifier.smtp.policy import ConnectPolicy, default_local_hostname, is_denied, is_loopback, resolve
from tests.support.smtp_client import DEFAULT_DENIED, OPEN_POLICY, connected, settings
from tests.support.smtp_server import SmtpServer

DENYING = ConnectPolicy(denied_networks=DEFAULT_DENIED, local_hostname="client.example")


def _lookup(*ips: str) -> tuple[ConnectPolicy, list[str]]:
    """Return a policy whose resolver gives these addresses, and the list of the names it was asked for."""
    asked: list[str] = []

    def lookup(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (families[ipaddress.ip_address(ip).version], socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ips
        ]

    return replace(DENYING, lookup=lookup), asked


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1",
        "169.254.169.254",
        "0.0.0.0",  # noqa: S104 - an address to refuse
        "224.0.0.1",
        "::1",
        "fe80::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "::127.0.0.1",
    ],
)
def test_an_address_in_a_denied_network_is_refused_however_it_is_wrapped(ip: str) -> None:
    """B47, B49"""
    policy, _ = _lookup(ip)
    with pytest.raises(SmtpFault, match="denied_networks") as caught:
        resolve("mail.example.org", 25, policy, trusted=False)
    assert caught.value.cause == FaultCause.POLICY_HOST
    assert classify(caught.value).failure_reason == "policy_host"


@pytest.mark.parametrize("ip", ["10.1.2.3", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd00::1", "8.8.8.8"])
def test_private_relays_are_allowed(ip: str) -> None:
    policy, _ = _lookup(ip)
    assert [t.ip for t in resolve("relay.example.org", 25, policy, trusted=False)] == [ip]


def test_one_denied_address_among_good_ones_refuses_the_host() -> None:
    policy, _ = _lookup("8.8.8.8", "127.0.0.1")
    with pytest.raises(SmtpFault):
        resolve("mail.example.org", 25, policy, trusted=False)


def test_the_operators_own_host_is_not_checked() -> None:
    policy, _ = _lookup("127.0.0.1")
    assert resolve("localhost", 25, policy, trusted=True)[0].ip == "127.0.0.1"


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "127.1"])
def test_odd_spellings_of_loopback_are_resolved_before_they_are_judged(host: str) -> None:
    """B48, with the system's resolver."""
    with pytest.raises(SmtpFault) as caught:
        resolve(host, 25, DENYING, trusted=False)
    assert caught.value.cause == FaultCause.POLICY_HOST


@pytest.mark.parametrize("host", ["", "a" * 70 + ".example", "x\0y", "exa mple"])
def test_what_is_no_host_name_is_a_dns_fault(host: str) -> None:
    with pytest.raises(SmtpFault) as caught:
        resolve(host, 25, DENYING, trusted=False)
    assert caught.value.cause == FaultCause.DNS
    assert classify(caught.value).kind == Kind.CONNECTION


def test_a_denied_host_is_never_connected_to() -> None:
    """B47"""
    with SmtpServer() as server:
        with pytest.raises(SmtpFault) as caught:
            connected(settings(server.port, trusted=False), policy=DENYING)
        assert server.connections == 0
    assert caught.value.cause == FaultCause.POLICY_HOST


def test_the_name_is_resolved_once_and_the_checked_address_connected_to() -> None:
    """B50: whatever the name says a moment later."""
    policy, asked = _lookup("127.0.0.1")
    with SmtpServer() as server:
        session = connected(
            settings(server.port, host="rebinding.example"), policy=replace(policy, denied_networks=())
        )
        session.close()
    assert asked == ["rebinding.example"]
    assert session.peer_ip == "127.0.0.1"


def test_the_next_address_is_tried_when_the_first_does_not_answer() -> None:
    with SmtpServer() as server:
        policy, _ = _lookup("127.0.0.2", "127.0.0.1")
        session = connected(
            settings(server.port, host="two.example"), policy=replace(policy, denied_networks=())
        )
        assert session.peer_ip == "127.0.0.1"
        session.close()


def test_loopback_is_recognised_also_as_a_mapped_address() -> None:
    assert is_loopback("::ffff:127.0.0.1")
    assert is_loopback("127.9.9.9")
    assert not is_loopback("192.0.2.1")


def test_networks_of_the_other_family_do_not_matter() -> None:
    assert not is_denied(ipaddress.ip_address("2001:db8::1"), (ipaddress.ip_network("0.0.0.0/0"),))


def test_the_name_for_ehlo_is_qualified_or_a_literal() -> None:
    name = default_local_hostname()
    assert "." in name
    assert OPEN_POLICY.local_hostname == "client.example"
