"""The demo's folder: configuration, key, worker's log; temporary, or kept for the next run."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from notifier.encryption import generate_key
from notifier.sandbox.processes import LOOPBACK, SandboxError

if TYPE_CHECKING:
    from notifier.broker.topology import Topology

GREYLIST_DELAY = 3.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoFolder:
    """Where one demo keeps its files. `kept` is the folder the caller named, None for a temporary one."""

    path: Path
    kept: Path | None

    @property
    def config(self) -> Path:
        """The worker's configuration; every other command takes it with --config."""
        return self.path / "config.toml"

    @property
    def log(self) -> Path:
        """The worker's log."""
        return self.path / "worker.log"

    def part(self, name: str) -> Path | None:
        """The folder of a service inside a kept folder; None lets the service make a temporary one."""
        return self.kept / name if self.kept else None

    def key(self) -> str:
        """The key of the SMTP passwords in the database: made once, kept with it."""
        file = self.path / "encryption.key"
        if not file.exists():
            _write_private(file, generate_key())
        return file.read_text(encoding="ascii")

    def write_config(self, *, amqp_url: str, database_url: str, topology: Topology, health_port: int) -> None:
        """Write a configuration in which faults take seconds instead of minutes, and loopback is allowed."""
        sections: dict[str, dict[str, object]] = {
            "app": {"environment": "demo"},
            "rabbitmq": {
                "url": amqp_url,
                "exchange": topology.exchange,
                "queue": topology.queue,
                "dead_letter_exchange": topology.dead_letter_exchange,
                "dead_letter_queue": topology.dead_letter_queue,
            },
            "database": {"url": database_url},
            "delivery": {
                "backoff_initial": 1.0,
                "backoff_max": 5.0,
                "ambiguous_delay": 2.0,
                "greylist_delay": GREYLIST_DELAY,
                "breaker_initial": 1.0,
                "breaker_max": 5.0,
                "breaker_config_initial": 2.0,
                "breaker_config_max": 10.0,
                "drain_timeout": 5.0,
                "denied_networks": [],
            },
            "health": {"host": LOOPBACK, "port": health_port},
            "security": {"encryption_keys": [self.key()]},
            "logging": {"format": "json"},
        }
        lines = ["# Written by notifier demo. Times are short, and mail servers on this machine are allowed."]
        for section, keys in sections.items():
            # A JSON text, number or list of ASCII texts is a TOML value too.
            lines += ["", f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        _write_private(self.config, "\n".join(lines) + "\n")

    def remove(self) -> None:
        """Remove a temporary folder; a kept one stays."""
        if self.kept is None:
            shutil.rmtree(self.path, ignore_errors=True)


def open_folder(kept: Path | None) -> DemoFolder:
    """Make the folder. Raises SandboxError when it cannot be made, or holds something else."""
    if kept is None:
        return DemoFolder(path=Path(tempfile.mkdtemp(prefix="notifier-demo-")), kept=None)
    kept = kept.resolve()
    try:
        kept.mkdir(mode=0o711, parents=True, exist_ok=True)
        foreign = any(kept.iterdir()) and not (kept / "encryption.key").exists()
    except OSError as error:
        raise SandboxError(f"{kept}: cannot be used as the demo's folder ({error.strerror})") from error
    if foreign:
        msg = f"{kept}: has files that are not of a demo; name an empty or new folder with --data"
        raise SandboxError(msg)
    return DemoFolder(path=kept, kept=kept)


def _write_private(file: Path, text: str) -> None:
    """Write a file with secrets: nobody else may read it, not even for a moment."""
    scratch = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    scratch.touch(mode=0o600)
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(file)
