"""What systemd is told, over a real datagram socket."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from notifier.systemd import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A notify socket of either kind, and its address as the environment gives it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@notifier-test-{uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + address[1:] if address.startswith("@") else address)
        sock.settimeout(5)
        yield sock, address


def test_it_tells_readiness_status_and_stopping(listener: tuple[socket.socket, str]) -> None:
    sock, address = listener
    supervisor = Supervisor({"NOTIFY_SOCKET": address}, clock=Clock())
    supervisor.ready()
    supervisor.status("consuming")
    supervisor.stopping()
    assert [sock.recv(100) for _ in range(3)] == [b"READY=1", b"STATUS=consuming", b"STOPPING=1"]


def test_the_watchdog_is_fed_three_times_per_period(listener: tuple[socket.socket, str]) -> None:
    sock, address = listener
    clock = Clock()
    supervisor = Supervisor({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}, clock=clock)
    supervisor.ready()
    assert sock.recv(100) == b"READY=1"
    for second in range(31):
        clock.now = second
        supervisor.alive()
    supervisor.stopping()
    told = []
    while (message := sock.recv(100)) != b"STOPPING=1":
        told.append(message)
    assert told == [b"WATCHDOG=1"] * 4  # at 0, 10, 20 and 30 seconds


def test_without_a_supervisor_or_after_it_went_away_nothing_happens(tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1000000"}):
        supervisor = Supervisor(environ, clock=Clock())
        supervisor.ready()
        supervisor.alive()


def test_before_it_is_ready_it_asks_for_more_time_instead(listener: tuple[socket.socket, str]) -> None:
    """A worker whose broker is away sends mails meanwhile: a start that takes long is no reason to kill it."""
    sock, address = listener
    clock = Clock()
    supervisor = Supervisor({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"}, clock=clock)
    for second in range(41):
        clock.now = second
        supervisor.alive()
    supervisor.ready()
    told = []
    while (message := sock.recv(100)) != b"READY=1":
        told.append(message)
    assert told == [b"EXTEND_TIMEOUT_USEC=60000000"] * 3  # at 0, 20 and 40 seconds
