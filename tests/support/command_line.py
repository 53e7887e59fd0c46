"""The command line as a person uses it, in this process: arguments in, exit code and both outputs out."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from notifier.cli import main
from notifier.encryption import generate_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from notifier.broker.topology import Topology
    from tests.services import Database

CANARY = "canary-Zq7#pw"  # a stored SMTP password; whatever prints it fails the test


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The output of a command with `--json`."""
        assert self.code in {0, 1}, self.err
        return json.loads(self.out)


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


class CommandLine:
    """Runs commands against this test's own database, in an empty folder, without the caller's environment."""

    def __init__(
        self,
        database: Database,
        *,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        folder: Path,
    ) -> None:
        for name in os.environ:
            if name.startswith(("NOTIFIER_", "EMAIL_")) or name in {"DEFAULT_FROM_EMAIL", "WEBNET_BASE_URL"}:
                monkeypatch.delenv(name)
        monkeypatch.chdir(folder)
        self.key = generate_key()
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self._printed = ""
        self.configure({"DATABASE__URL": database.url, "SECURITY__ENCRYPTION_KEYS": self.key})

    def configure(self, values: Mapping[str, str]) -> None:
        """Set configuration keys, written as `SMTP__HOST`."""
        for name, value in values.items():
            self._monkeypatch.setenv(f"NOTIFIER_{name}", value)

    def use_broker(self, url: str, topology: Topology) -> None:
        """Use these broker objects."""
        self.configure(
            {
                "RABBITMQ__URL": url,
                "RABBITMQ__EXCHANGE": topology.exchange,
                "RABBITMQ__QUEUE": topology.queue,
                "RABBITMQ__DEAD_LETTER_EXCHANGE": topology.dead_letter_exchange,
                "RABBITMQ__DEAD_LETTER_QUEUE": topology.dead_letter_queue,
            }
        )

    def __call__(self, *args: object, stdin: str = "", answer: str | None = None) -> Result:
        """Run `notifier args…`; with an `answer` somebody sits at a terminal and types it."""
        kind, typed = (io.TextIOWrapper, stdin) if answer is None else (_Terminal, f"{answer}\n")
        self._monkeypatch.setattr(sys, "stdin", kind(io.BytesIO(typed.encode())))
        self._capsys.readouterr()
        code = main([str(arg) for arg in args])
        captured = self._capsys.readouterr()
        self._printed += captured.out + captured.err
        return Result(code=code, out=captured.out, err=captured.err)

    def check_no_secret(self) -> None:
        """Fail when any command of the test printed the stored password or a key."""
        for secret in (CANARY, self.key):
            assert secret not in self._printed
