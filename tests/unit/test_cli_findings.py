"""What `notifier check` says of the health address; the other parts need services."""

from __future__ import annotations

import socketserver
import threading
import time
from typing import TYPE_CHECKING

import pytest

from notifier.cli import findings
from notifier.config import Settings
from notifier.domain.errors import ConfigurationError
from notifier.health import HealthServer
from notifier.metrics import Metrics
from notifier.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def health() -> Iterator[HealthServer]:
    server = HealthServer(
        "127.0.0.1", 0, vitals=Vitals(version="1", clock=time.monotonic), metrics=Metrics(version="1")
    )
    server.start()
    yield server
    server.stop()


def looked(port: int) -> list[str]:
    settings = Settings.model_validate({"health": {"host": "127.0.0.1", "port": port}})
    return [f"{one.level} {one.text}" for one in findings._health(settings)]


def test_a_free_port_is_right_and_still_free_afterwards(health: HealthServer) -> None:
    health.stop()
    for _ in range(2):
        assert looked(health.port) == [f"ok a worker can listen on 127.0.0.1, port {health.port}"]


def test_the_port_of_a_worker_that_runs_is_right(health: HealthServer) -> None:
    (told,) = looked(health.port)
    assert told.startswith(
        f"ok a worker that runs here has 127.0.0.1, port {health.port}; a second one needs"
    )


class Stranger(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n")


class Babbler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 smtp.example ESMTP\r\n")


@pytest.mark.parametrize("kind", [Stranger, Babbler])
def test_a_port_of_somebody_else_is_a_fault_of_the_configuration(
    kind: type[socketserver.BaseRequestHandler],
) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), kind) as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(ConfigurationError, match=r"cannot listen on 127\.0\.0\.1"):
            looked(other.server_address[1])
        other.shutdown()
