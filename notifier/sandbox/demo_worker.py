"""The demo's worker: the real `notifier run` in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Self

from notifier.sandbox import processes
from notifier.sandbox.processes import LOOPBACK, SandboxError

if TYPE_CHECKING:
    from notifier.sandbox.demo_folder import DemoFolder

_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0
# Settings in the caller's environment are for his own worker, not for this one.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "VIRTUAL_ENV")


class DemoWorker:
    """`python -m notifier --config … run`; the constructor returns when it is ready.

    Raises SandboxError with the end of its log when it is not.
    """

    def __init__(self, folder: DemoFolder) -> None:
        self._log = folder.log
        folder.log.write_bytes(b"")
        self._process = processes.Supervised(
            processes.dying_with_parent(
                [sys.executable, "-m", "notifier", "--config", str(folder.config), "run"], "TERM"
            ),
            environment={name: os.environ[name] for name in _INHERITED if name in os.environ},
            log=folder.log,
            stop_signal=signal.SIGTERM,
            remove_if_orphaned=[folder.path] if folder.kept is None else [],
        )
        try:
            processes.wait_until(lambda: self._ready() or not self._process.running, _READY_SECONDS)
            ready = self._ready()
        except BaseException:
            self.close()
            raise
        if not ready:
            self.close()
            raise SandboxError(f"the worker did not become ready; {self.last_words()}")

    @property
    def pid(self) -> int:
        """The process id of the worker."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is alive."""
        return self._process.running

    @property
    def url(self) -> str | None:
        """The address of its health pages, from its log (the port may be the system's choice)."""
        for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("event") == "worker_started":
                    return f"http://{LOOPBACK}:{entry['health_port']}"
        return None

    def last_words(self) -> str:
        """The end of the log, for an error message."""
        return f"its log {self._log} ends:\n{processes.tail(self._log)}"

    def _ready(self) -> bool:
        url = self.url
        if url is None:
            return False
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310 - loopback
                return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's OK
        except urllib.error.HTTPError as error:  # 503: not yet
            error.close()
            return False
        except OSError:
            return False

    def close(self) -> None:
        """Let it drain, and wait for its end."""
        self._process.stop(timeout=_STOP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
