"""The worker's end of `notifier.rendering.workshop`: its process, asked with a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANSWER_SECONDS = 2.0  # the workshop's own limit is lower; this one is for a workshop that hangs or died
_START_SECONDS = 20.0


class Workshop:
    """One process, one request at a time, started when needed. Any number of threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._has_answered = False
        self._finalizer: weakref.finalize[[subprocess.Popen[bytes]], Workshop] | None = None

    def ask(self, request: Mapping[str, object]) -> dict[str, object]:
        """Return the answer to one request; a workshop that hangs or died is an answer too."""
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            try:
                stdin, stdout = self._pipes()
                stdin.write(line)
                stdin.flush()
                limit = _ANSWER_SECONDS if self._has_answered else _START_SECONDS
                answer: dict[str, object] = json.loads(_line(stdout, time.monotonic() + limit))
            except (OSError, ValueError) as exc:
                self._stop()
                return {"error": f"the process for customers' templates ended ({exc})", "limit": True}
            self._has_answered = True
            return answer

    def start(self) -> None:
        """Start the process ahead of the first request, which then need not wait for it.

        Where it cannot start (a system call filter, no room for one more process), the first request says so.
        """
        with self._lock, contextlib.suppress(OSError):
            self._pipes()

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._stop()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """Return the process's input and output, of a new process if there is none."""
        process = self._process
        if process is None or process.poll() is not None:
            self._stop()
            process = self._start()
        if process.stdin is None or process.stdout is None:
            raise BrokenPipeError("it has no pipes")
        return process.stdin, process.stdout

    def _start(self) -> subprocess.Popen[bytes]:
        # No secret of ours reaches it: neither the environment nor an open file but its own pipes.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "notifier.rendering.workshop"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=bare_environment(),
            start_new_session=True,
        )
        self._finalizer = weakref.finalize(self, _end, self._process)
        return self._process

    def _stop(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._finalizer = None
        self._has_answered = False


def bare_environment() -> dict[str, str]:
    """Return what another Python of ours needs to start, and no secret."""
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _line(source: IO[bytes], deadline: float) -> bytes:
    """Read one line. Raises TimeoutError or EOFError (an OSError and a ValueError to the caller)."""
    found = bytearray()
    readable = select.poll()  # unlike select() it takes any descriptor; a busy worker has thousands open
    readable.register(source, select.POLLIN)
    while not found.endswith(b"\n"):
        if not readable.poll(1000 * max(0.0, deadline - time.monotonic())):
            raise TimeoutError("no answer in time")
        chunk = os.read(source.fileno(), 65_536)
        if not chunk:
            raise ConnectionError("no answer")
        found += chunk
    return bytes(found)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a workshop: it stops by itself when its input ends."""
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.wait()
