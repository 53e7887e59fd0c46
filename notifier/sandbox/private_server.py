"""A server of our own that can be stopped, killed and started again on the same data and port."""

from __future__ import annotations

import shutil
import signal
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from notifier.sandbox import processes


class PrivateServer(ABC):
    """What the private PostgreSQL and RabbitMQ have in common: a folder and one process.

    `directory` None means a temporary folder, named after `kind`. `source` says how it was obtained.
    """

    def __init__(self, kind: str, *, directory: Path | None, source: str) -> None:
        self.source = source
        self._temporary = directory is None
        self._root = Path(tempfile.mkdtemp(prefix=f"notifier-{kind}-")) if directory is None else directory
        self._root.mkdir(parents=True, exist_ok=True)
        self._log = self._root / f"{kind}.log"
        self._process: processes.Supervised | None = None

    @property
    def running(self) -> bool:
        """Whether the server process is alive."""
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int | None:
        """The process id of the server, None while it is down."""
        return self._process.pid if self._process is not None and self._process.running else None

    def start(self) -> None:
        """Start on the same data and port; return when connections are accepted. No effect while running.

        Raises SandboxError with the end of the server's log.
        """
        if self.running:
            return
        self._end()
        self._launch()

    @abstractmethod
    def _launch(self) -> None:
        """Set `_process` and wait until it is of use."""

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.stop(number=signal.SIGKILL)

    def _end(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    def close(self) -> None:
        """Stop the server; remove its folder if it was temporary."""
        self._end()
        if self._temporary:
            shutil.rmtree(self._root, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
