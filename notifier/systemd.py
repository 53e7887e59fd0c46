"""sd_notify(3): tell systemd that the worker is ready, what it does, and that it is alive."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Supervisor:
    """The notify socket of the environment; without one every call does nothing.

    clock is monotonic. The watchdog is fed at most three times per WATCHDOG_USEC, by whoever calls `alive`.
    """

    def __init__(self, environ: Mapping[str, str], *, clock: Callable[[], float]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract socket.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        period = environ.get("WATCHDOG_USEC", "")
        self._interval = int(period) / 1e6 / 3 if period.isdigit() else None
        self._clock = clock
        self._fed = float("-inf")

    def ready(self) -> None:
        """The worker consumes and sends."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The worker drains."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """Say in one line what it does, for `systemctl status`."""
        self._tell(f"STATUS={text}")

    def alive(self) -> None:
        """Feed the watchdog."""
        if self._interval is not None and self._clock() - self._fed >= self._interval:
            self._fed = self._clock()
            self._tell("WATCHDOG=1")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.connect(self._address)
                channel.sendall(message.encode())
        except OSError:
            return  # a supervisor that went away is no reason to stop
