"""Services in Docker containers, through testcontainers (its reaper removes them after a crash)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier.sandbox.ways import Absent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PING_SECONDS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """A running container and where its one port can be reached."""

    host: str
    port: int
    close: Callable[[], None]


def run(image: str, *, port: int, environment: Mapping[str, str], say: Callable[[str], None]) -> Container:
    """Start `image` and publish `port`. Raises Absent without a Docker engine that answers."""
    try:
        import docker  # noqa: PLC0415 - heavy, and only this way needs it
        from docker.errors import DockerException  # noqa: PLC0415 - as above
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - as above
    except ImportError:
        msg = "testcontainers is not installed (pip install '.[demo]' in notifier's folder)"
        raise Absent(msg) from None
    try:
        docker.from_env(timeout=_PING_SECONDS).ping()
    except DockerException:
        msg = "no Docker engine answers (start Docker, or set DOCKER_HOST)"
        raise Absent(msg) from None
    say(f"starting a container from {image}")
    container = DockerContainer(image).with_exposed_ports(port)
    for name, value in environment.items():
        container = container.with_env(name, value)
    container.start()
    return Container(
        host=container.get_container_host_ip(),
        port=int(container.get_exposed_port(port)),
        close=container.stop,
    )
