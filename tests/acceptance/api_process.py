"""A real `notifier api`, its log in a file."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Self

import httpx

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.acceptance.world import World

PREFIX = "/api/v1/notifications"


class ApiProcess:
    """Runs from `with` on; the world's configuration and what `settings` overrides. variables: more environment."""

    def __init__(
        self, world: World, *, variables: Mapping[str, str] | None = None, **settings: object
    ) -> None:
        self.log: Path = world.folder / "api.log"
        self._stream = self.log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "notifier", "api", "--port", "0"],
            env=world.environ(**settings) | dict(variables or {}),
            cwd=world.folder,
            stdout=self._stream,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        try:
            wait_until(self._port, 60, "the API to start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._stream.close()

    @property
    def base(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port()}"

    def _port(self) -> int:
        if self.process.poll() is not None:
            raise RuntimeError(self.log.read_text(errors="replace"))
        return next((int(line["port"]) for line in self.lines() if line["event"] == "api_started"), 0)

    def lines(self) -> list[dict[str, Any]]:
        """The log as data."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def client(self, token: str) -> httpx.Client:
        """A client with a token, at the prefix of the API."""
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.base + PREFIX, headers=headers, timeout=30)

    def terminate(self) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)
