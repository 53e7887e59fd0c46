"""Where demo and tests get their RabbitMQ from: a given one, a node of their own, a container."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from notifier.domain.errors import ConfigurationError
from notifier.sandbox import amqp, containers, debian_packages, processes, rabbitmq_binaries, ways
from notifier.sandbox.processes import SandboxError
from notifier.sandbox.rabbitmq_node import START_SECONDS, USER, RabbitNode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from notifier.sandbox.rabbitmq_binaries import Binaries

_IMAGE = "rabbitmq:3-alpine"


def obtain(
    *,
    url: str | None = None,
    directory: Path | None = None,
    apt_install: bool = True,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> RabbitNode | ways.Given:
    """Return a broker: the given URL, else a private node, else a container, else Debian's packages.

    A broker that merely answers on this machine is never taken: it may be somebody's real one. `apt_install`
    False forbids installing the package as root, which may start a system broker; it is then only unpacked.
    Raises ConfigurationError naming every way when there is none, or when the given URL does not answer.
    """
    if url is not None:
        problem = amqp.problem(url)
        if problem is not None:
            raise ConfigurationError([f"the given RabbitMQ does not answer: {problem}"])
        return ways.Given(url, source="the given URL")

    local, *packages = _private_ways(directory=directory, apt_install=apt_install, cache=cache, say=say)
    order: list[ways.Way[RabbitNode | ways.Given]] = [
        local,
        ways.Way(name="Docker", take=lambda: _container(say)),
        *packages,
        ways.Way(name="a broker of yours", take=_ask_for_url),
    ]
    return ways.first("RabbitMQ", order)


def private(
    *,
    directory: Path | None = None,
    apt_install: bool = True,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> RabbitNode:
    """Start a private node, which can be killed and started again. Parameters and errors as for `obtain`."""
    nodes = _private_ways(directory=directory, apt_install=apt_install, cache=cache, say=say)
    return ways.first("private RabbitMQ node", nodes)


def _private_ways(
    *, directory: Path | None, apt_install: bool, cache: Path | None, say: Callable[[str], None]
) -> list[ways.Way[RabbitNode]]:
    """A local RabbitMQ first, then Debian's packages."""

    def way(name: str, find: Callable[[], Binaries]) -> ways.Way[RabbitNode]:
        return ways.Way(name=name, take=lambda: RabbitNode(find(), directory=directory))

    return [
        way("a local RabbitMQ", rabbitmq_binaries.local),
        way("installing Debian's package", lambda: _installed(say, allowed=apt_install)),
        way(
            "unpacking Debian's packages",
            lambda: rabbitmq_binaries.unpacked(cache or debian_packages.default_cache(), say),
        ),
    ]


def _installed(say: Callable[[str], None], *, allowed: bool) -> Binaries:
    if not allowed:
        msg = "switched off"
        raise ways.Absent(msg)
    return rabbitmq_binaries.installed_by_apt(say)


def _ask_for_url() -> ways.Given:
    msg = "give its URL (amqp://user:password@host:port/vhost)"
    raise ways.Absent(msg)


def _container(say: Callable[[str], None]) -> ways.Given:
    password = secrets.token_urlsafe(24)
    login = {"RABBITMQ_DEFAULT_USER": USER, "RABBITMQ_DEFAULT_PASS": password}
    container = containers.run(_IMAGE, port=5672, environment=login, say=say)
    url = f"amqp://{USER}:{password}@{container.host}:{container.port}/%2F"
    if not processes.wait_until(lambda: amqp.problem(url) is None, START_SECONDS):
        problem = amqp.problem(url)
        container.close()
        msg = f"RabbitMQ in a container from {_IMAGE} does not answer: {problem}"
        raise SandboxError(msg)
    return ways.Given(url, source=f"a container from {_IMAGE}", close=container.close)
