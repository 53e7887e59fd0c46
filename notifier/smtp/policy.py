"""Which addresses may be connected to: resolve once, check all, connect to what was checked (B47-B50)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from notifier.domain.errors import SmtpFault
from notifier.domain.vocabulary import FaultCause, Phase

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Lookup = Callable[..., Sequence[tuple[Any, ...]]]  # socket.getaddrinfo or a stand-in

# NAT64's well-known and local-use prefixes (RFC 6052, RFC 8215) and IPv4-compatible addresses (RFC 4291)
# carry the IPv4 address in their last 32 bits.
_IPV4_TAILS = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))
_LOWEST_COMPATIBLE = 0x10000  # below lie ::, ::1 and 0.0.0.0/16, which are themselves


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectPolicy:
    """`denied_networks` applies to untrusted hosts; `local_hostname` is what EHLO says."""

    denied_networks: tuple[IpNetwork, ...]
    local_hostname: str
    lookup: Lookup = field(default=socket.getaddrinfo, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One checked address: what `socket.connect` takes."""

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]

    @property
    def ip(self) -> str:
        """The address as text."""
        return str(self.sockaddr[0])


def default_local_hostname() -> str:
    """Return the name for EHLO: the fully qualified host name, else an address literal (RFC 5321 4.1.3)."""
    name = socket.getfqdn()
    return name if "." in name and name.isascii() else "[127.0.0.1]"


def resolve(host: str, port: int, policy: ConnectPolicy, *, trusted: bool) -> tuple[Target, ...]:
    """Return every address of `host`, in the resolver's order.

    Raises SmtpFault: `dns` when there is none, `policy_host` when any of them is denied and the host is not
    trusted. Decimal, octal and short forms (B48) are what the resolver makes of them.
    """
    try:
        found = policy.lookup(host, port, type=socket.SOCK_STREAM) if host else ()
    except (OSError, ValueError) as error:  # ValueError: a label IDNA refuses, a NUL
        reason = getattr(error, "strerror", None) or "not a host name"
        raise _fault(FaultCause.DNS, f"the host name {host!r} cannot be resolved: {reason}") from error
    targets = tuple(Target(family=family, sockaddr=sockaddr) for family, _, _, _, sockaddr in found)
    if not targets:
        raise _fault(FaultCause.DNS, f"the host name {host!r} has no address")
    if not trusted:
        for target in targets:
            if is_denied(ipaddress.ip_address(target.ip), policy.denied_networks):
                raise _fault(
                    FaultCause.POLICY_HOST,
                    f"the SMTP host {host!r} leads to {target.ip}, in a network of delivery.denied_networks",
                )
    return targets


def is_denied(address: IpAddress, networks: Sequence[IpNetwork]) -> bool:
    """Say whether the address, or one it stands for, lies in one of the networks."""
    return any(
        one.version == network.version and one in network
        for one in unwrapped(address)
        for network in networks
    )


def denies(networks: Sequence[IpNetwork], host: str) -> bool:
    """Say whether a host is denied that needs no resolver: an address, or localhost."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host.lower() == "localhost" else host)
    except ValueError:
        return False
    return is_denied(address, networks)


def unwrapped(address: IpAddress) -> tuple[IpAddress, ...]:
    """Return the address and every IPv4 address wrapped in it: mapped, NAT64, 6to4, Teredo (B49)."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    inner: list[IpAddress] = [a for a in (address.ipv4_mapped, address.sixtofour) if a is not None]
    inner += address.teredo or ()
    tail = int(address) & 0xFFFFFFFF
    if any(address in network for network in _IPV4_TAILS) and int(address) >= _LOWEST_COMPATIBLE:
        inner.append(ipaddress.IPv4Address(tail))
    return (address, *inner)


def is_loopback(ip: str) -> bool:
    """Say whether the peer is this machine, also when written as a mapped address."""
    return any(address.is_loopback for address in unwrapped(ipaddress.ip_address(ip)))


def _fault(cause: FaultCause, detail: str) -> SmtpFault:
    return SmtpFault(phase=Phase.CONNECT, cause=cause, detail=detail)
