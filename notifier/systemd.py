"""sd_notify(3): tell systemd that the process is ready, what it does, and that it is alive."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_PATIENCE = 60.0  # s of more time that one sign of life before READY asks for


class Supervisor:
    """The notify socket of the environment; without one every call does nothing.

    clock is monotonic. Whoever does the work calls `alive`: once ready it feeds the watchdog, at most three times
    per WATCHDOG_USEC; before that it asks for more time to start, since what a start waits for may take its time.
    """

    def __init__(self, environ: Mapping[str, str], *, clock: Callable[[], float]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract socket.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        period = environ.get("WATCHDOG_USEC", "")
        self._interval = int(period) / 1e6 / 3 if period.isdigit() else None
        self._clock = clock
        self._fed = self._asked = float("-inf")
        self._is_ready = False

    def ready(self) -> None:
        """The process does its work."""
        self._is_ready = True
        self._tell("READY=1")

    def stopping(self) -> None:
        """The process finishes what is in hand."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """Say in one line what it does, for `systemctl status`."""
        self._tell(f"STATUS={text}")

    def alive(self) -> None:
        """Feed the watchdog, or before the process is ready ask for more time."""
        now = self._clock()
        if not self._is_ready:
            if now - self._asked >= _PATIENCE / 3:
                self._asked = now
                self._tell(f"EXTEND_TIMEOUT_USEC={_PATIENCE * 1e6:.0f}")
        elif self._interval is not None and now - self._fed >= self._interval:
            self._fed = now
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
