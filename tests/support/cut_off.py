"""A worker behind a cable of its own that can be pulled: everything it talks to goes silent at once.

As root on Linux the cable is a pair of virtual network devices with the worker in a network namespace, so that its
packets really vanish. Elsewhere proxies stand in: they keep every connection open, and pass nothing on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Iterator


class Cable(Protocol):
    """`host` is where the worker finds everything, `prefix` the command that starts it behind the cable."""

    host: str
    prefix: tuple[str, ...]

    def pull(self) -> None: ...

    def plug_in(self) -> None: ...

    def reach(self, url: str) -> str:
        """Return how the worker writes the URL of a server on this machine."""
        ...

    def port(self, port: int) -> int:
        """Return the port at `host` that leads to this one of this machine."""
        ...


class _Base:
    def __init__(self, host: str, prefix: tuple[str, ...], stack: contextlib.ExitStack) -> None:
        self.host = host
        self.prefix = prefix
        self.proxies: list[TcpProxy] = []
        self._stack = stack

    def reach(self, url: str) -> str:
        where = urlsplit(url)
        assert where.port is not None
        login = where.netloc.rpartition("@")[0]
        return where._replace(netloc=f"{login}@{self.host}:{self.port(where.port)}").geturl()

    def port(self, port: int) -> int:
        proxy = self._stack.enter_context(TcpProxy(("127.0.0.1", port), host=self.host))
        self.proxies.append(proxy)
        return proxy.port


class _Veth(_Base):
    def pull(self) -> None:
        _ip("link", "set", _name(), "down")

    def plug_in(self) -> None:
        _ip("link", "set", _name(), "up")


class _Proxies(_Base):
    """A pulled cable never resets a connection, but nothing of one that fell silent comes back to life here."""

    def pull(self) -> None:
        for proxy in self.proxies:
            proxy.mute = True

    def plug_in(self) -> None:
        for proxy in self.proxies:
            proxy.mute = False
            proxy.cut()


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    """A cable that is plugged in."""
    with contextlib.ExitStack() as stack:
        host = _laid()
        if host is None:
            yield _Proxies("127.0.0.1", (), stack)
        else:
            stack.callback(_ip, "netns", "delete", _name())  # takes the devices along
            yield _Veth(host, ("ip", "netns", "exec", _name()), stack)


def _name() -> str:
    return f"ntf{os.getpid()}"  # a device's name has at most 15 characters


def _ends(number: int) -> tuple[str, str]:
    """Return the two addresses of a subnet of four that no process with a number near this one takes."""
    first = (number << 2) & 0xFFFF
    subnet, offset = f"10.213.{first >> 8}", first & 0xFF
    return f"{subnet}.{offset + 1}", f"{subnet}.{offset + 2}"


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


def _laid() -> str | None:
    """Lay the cable; return the address of this end, None where this process may not."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return None
    name, (here, there) = _name(), _ends(os.getpid())
    try:
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "worker", "netns", name)
        _ip("address", "add", f"{here}/30", "dev", name)
        _ip("link", "set", name, "up")
        _ip("-n", name, "address", "add", f"{there}/30", "dev", "worker")
        _ip("-n", name, "link", "set", "worker", "up")
        _ip("-n", name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError:  # a container without the right, a kernel without the devices
        _ip("netns", "delete", name, check=False)
        return None
    return here
