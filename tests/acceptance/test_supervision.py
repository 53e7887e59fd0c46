"""What systemd hears from the processes, and that it hears nothing once their work stands still."""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import TYPE_CHECKING, Self

import psycopg2
import pytest

from notifier.sandbox.processes import free_ports
from tests.acceptance.api_process import ApiProcess
from tests.acceptance.world import failed_job

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.world import World

pytestmark = pytest.mark.services

WATCHDOG = 1.2  # s; a third of it between two signs of life


class NotifySocket:
    """The socket on which systemd listens, and the environment that leads to it."""

    def __init__(self, folder: Path) -> None:
        address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self.variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(int(WATCHDOG * 1e6))}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self, seconds: float = 30.0) -> str:
        """Return the next message. Raises TimeoutError when none comes in time."""
        self._socket.settimeout(seconds)
        return self._socket.recv(200).decode()

    def until(self, wanted: str) -> list[str]:
        """Return what is said up to the message `wanted`."""
        said = []
        while (message := self.heard()) != wanted:
            said.append(message)
        return said

    def miss(self) -> None:
        """Wait until nothing is heard for as long as systemd would wait before it kills the process."""
        with contextlib.suppress(TimeoutError):
            for _ in range(20):
                self.heard(WATCHDOG)
            pytest.fail("the watchdog is fed all the time")


@pytest.fixture(name="systemd")
def _systemd(tmp_path: Path) -> NotifySocket:
    return NotifySocket(tmp_path)


def test_a_worker_that_says_so_is_ready(world: World, systemd: NotifySocket) -> None:
    """Systemd starts what depends on it, and people look, the moment it says so."""
    with systemd:
        worker = world.worker(variables=systemd.variables)
        systemd.until("READY=1")
        assert worker.get("/readyz") == (200, "ok\n")


def test_a_worker_tells_its_life_and_falls_silent_when_its_loop_stands_still(
    world: World, systemd: NotifySocket
) -> None:
    """A locked table holds the loop that takes the events; the senders, the sweeper and the pages live on."""
    customer = world.customer()
    with systemd, contextlib.closing(psycopg2.connect(world.database.url)) as other:
        worker = world.worker(variables=systemd.variables)
        assert [one.partition("=")[0] for one in systemd.until("READY=1")] == [
            "STATUS",
            "EXTEND_TIMEOUT_USEC",
            "STATUS",
        ]
        systemd.until("WATCHDOG=1")
        systemd.until("WATCHDOG=1")

        with other.cursor() as cursor:
            cursor.execute("LOCK TABLE job_events")
        world.publish(failed_job(customer, 1))
        systemd.miss()
        assert worker.get("/healthz")[0] == 200
        other.rollback()
        systemd.until("WATCHDOG=1")
        world.wait_final(customer, 1)

        worker.process.send_signal(signal.SIGSTOP)
        systemd.miss()
        worker.process.send_signal(signal.SIGCONT)
        systemd.until("WATCHDOG=1")

        worker.process.send_signal(signal.SIGTERM)
        systemd.until("STOPPING=1")
        assert worker.wait() == 0


def test_a_worker_whose_broker_is_away_asks_for_time_and_is_not_ready(
    world: World, systemd: NotifySocket
) -> None:
    with systemd:
        port = free_ports(1)[0]
        worker = world.worker(variables=systemd.variables, rabbitmq__url=f"amqp://127.0.0.1:{port}/%2F")
        said = systemd.until("EXTEND_TIMEOUT_USEC=60000000")
        assert worker.get("/readyz")[0] == 503
        assert worker.terminate() == 0
        said += systemd.until("STOPPING=1")
        assert {one.partition("=")[0] for one in said} == {"STATUS"}


def test_the_api_tells_its_life_and_falls_silent_when_it_stands_still(
    world: World, systemd: NotifySocket
) -> None:
    with systemd, ApiProcess(world, variables=systemd.variables) as api:
        systemd.until("READY=1")
        systemd.until("WATCHDOG=1")
        api.process.send_signal(signal.SIGSTOP)
        systemd.miss()
        api.process.send_signal(signal.SIGCONT)
        systemd.until("WATCHDOG=1")
        assert api.terminate() == 0
        systemd.until("STOPPING=1")
