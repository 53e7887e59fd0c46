"""Start, signal and await a private server process through its guardian."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from notifier.domain.errors import NotifierError
from notifier.sandbox import guardian

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

LOOPBACK = "127.0.0.1"
# Below Linux's range for outgoing connections: none of those can take the port while a killed server is down.
_PORTS = range(20_000, 32_000)
_POLL_SECONDS = 0.02


class SandboxError(NotifierError):
    """A private server did not start, did not become ready, or ended by itself."""


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that nothing on the loopback address listens on."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    msg = f"no free port between {_PORTS.start} and {_PORTS.stop} on {LOOPBACK}"
    raise SandboxError(msg)


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Ask `condition` again and again for at most `timeout` seconds; return its last answer."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return condition()
        time.sleep(_POLL_SECONDS)
    return True


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, indented, for an error message."""
    if not log.exists():
        return "    (no log)"
    kept = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in kept) or "    (the log is empty)"


def plain_environment() -> dict[str, str]:
    """The few variables a server needs; everything else of the caller's environment could leak in."""
    names = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in names if name in os.environ} | {
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def dying_with_parent(command: Sequence[str], death_signal: str) -> list[str]:
    """Return `command` so that it gets `death_signal` when its parent dies, if setpriv is there."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or not sys.platform.startswith("linux"):
        return list(command)
    return [setpriv, "--pdeathsig", death_signal, "--", *command]


class Supervised:
    """One running server process. It ends with `stop`, or when this process ends, however that is."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        stop_signal: signal.Signals,
        companions: Sequence[Sequence[str]] = (),
        grace: float = 10.0,
        remove_if_orphaned: Sequence[Path] = (),
    ) -> None:
        charge: guardian.Charge = {
            "command": list(command),
            "companions": [list(companion) for companion in companions],
            "environment": dict(environment),
            "log": str(log),
            "stop_signal": int(stop_signal),
            "grace": grace,
            "remove_if_orphaned": [str(folder) for folder in remove_if_orphaned],
        }
        self._stop_signal = stop_signal
        self._log = log
        self._guardian = subprocess.Popen(  # noqa: S603 - this interpreter and our own script
            [sys.executable, "-I", "-S", guardian.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is for the launcher
            text=True,
        )
        if self._guardian.stdin is None or self._guardian.stdout is None:  # asked for above
            raise AssertionError
        self._guardian.stdin.write(json.dumps(charge) + "\n")
        self._guardian.stdin.flush()
        first_line = self._guardian.stdout.readline().strip()
        self._guardian.stdout.close()
        if not first_line.isdigit():
            self._reap(timeout=5.0)
            msg = f"cannot start {command[0]}: {first_line or 'its guardian ended at once'}"
            raise SandboxError(msg)
        self.pid = int(first_line)

    @property
    def running(self) -> bool:
        """Whether the server process is alive."""
        return self._guardian.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server process; nothing happens when it has ended."""
        if self._guardian.stdin is None or self._guardian.stdin.closed:
            return
        try:
            self._guardian.stdin.write(f"{int(number)}\n")
            self._guardian.stdin.flush()
        except BrokenPipeError:
            return

    def stop(self, *, number: signal.Signals | None = None, timeout: float = 30.0) -> None:
        """Send the stop signal (or `number`) and wait; after `timeout` seconds SIGKILL."""
        self.send(number or self._stop_signal)
        if not wait_until(lambda: not self.running, timeout):
            self.send(signal.SIGKILL)
        self._reap(timeout=10.0)

    def _reap(self, *, timeout: float) -> None:
        self._guardian.wait(timeout)
        if self._guardian.stdin is not None:
            try:
                self._guardian.stdin.close()
            except BrokenPipeError:  # an unwritten signal for a process that has ended
                return
