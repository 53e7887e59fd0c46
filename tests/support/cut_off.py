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
        if _has_namespaces():
            stack.callback(_ip, "netns", "delete", _name())  # takes the devices along
            yield _Veth(_connect(), ("ip", "netns", "exec", _name()), stack)
        else:
            yield _Proxies("127.0.0.1", (), stack)


def _name() -> str:
    return f"ntf{os.getpid()}"  # a device's name has at most 15 characters


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _has_namespaces() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        _ip("netns", "add", _name())
    except subprocess.CalledProcessError:  # a container without the right to make one
        return False
    return True


def _connect() -> str:
    """Lay the cable; return the address of this end."""
    name, subnet = _name(), f"10.213.{os.getpid() % 250}"
    _ip("link", "add", name, "type", "veth", "peer", "name", "worker", "netns", name)
    _ip("address", "add", f"{subnet}.1/30", "dev", name)
    _ip("link", "set", name, "up")
    for arguments in (
        ("address", "add", f"{subnet}.2/30", "dev", "worker"),
        ("link", "set", "worker", "up"),
        ("link", "set", "lo", "up"),
    ):
        _ip("-n", name, *arguments)
    return f"{subnet}.1"
