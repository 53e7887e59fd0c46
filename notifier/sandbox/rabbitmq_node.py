"""A private RabbitMQ node that can be stopped, killed and started again on the same data and port."""

from __future__ import annotations

import os
import secrets
import signal
from typing import TYPE_CHECKING

from notifier.sandbox import amqp, processes
from notifier.sandbox.private_server import PrivateServer
from notifier.sandbox.processes import LOOPBACK, SandboxError

if TYPE_CHECKING:
    from pathlib import Path

    from notifier.sandbox.rabbitmq_binaries import Binaries

USER = "notifier"
START_SECONDS = 60.0
_START_ATTEMPTS = 3
_PORT_TAKEN = "eaddrinuse"


class RabbitNode(PrivateServer):
    """A node of our own. The constructor makes and starts it; `directory` None means temporary.

    Nothing of a system's RabbitMQ leaks in or is touched: home, cookie, ports, epmd, logs, plugins and
    configuration are the node's own, and every port is on loopback. Raises SandboxError with the log's end.
    """

    def __init__(self, binaries: Binaries, *, directory: Path | None = None) -> None:
        self._binaries = binaries
        super().__init__("rabbitmq", directory=directory, source=f"a private node with {binaries.source}")
        (self._root / "home").mkdir(exist_ok=True)
        try:
            self._password = self._kept_password()
            self._first_start()
        except BaseException:
            self.close()
            raise

    def _kept_password(self) -> str:
        """The configuration sets the login of new data only, so the password is kept with the data."""
        password_file = self._root / "password"
        if not password_file.exists():
            password_file.touch(mode=0o600)
            password_file.write_text(secrets.token_urlsafe(24), encoding="ascii")
        return password_file.read_text(encoding="ascii").strip()

    def _first_start(self) -> None:
        """Start on free ports; others may take one of them in between, so a few times."""
        for attempt in range(1, _START_ATTEMPTS + 1):
            self.port, self._distribution_port, self._epmd_port = processes.free_ports(3)
            self._write_configuration()
            try:
                self.start()
            except SandboxError:
                if attempt == _START_ATTEMPTS or _PORT_TAKEN not in processes.tail(self._log, 200):
                    raise
            else:
                return

    def _write_configuration(self) -> None:
        configuration = self._root / "rabbitmq.conf"
        configuration.touch(mode=0o600)
        lines = (
            f"listeners.tcp.1 = {LOOPBACK}:{self.port}",
            f"default_user = {USER}",
            f"default_pass = {self._password}",
            "log.console = true",
            "log.console.level = warning",
            "disk_free_limit.absolute = 50MB",
            "vm_memory_high_watermark.absolute = 512MB",
        )
        configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def url(self) -> str:
        """The AMQP URL of the virtual host `/`."""
        return f"amqp://{USER}:{self._password}@{LOOPBACK}:{self.port}/%2F"

    def _launch(self) -> None:
        epmd = [self._binaries.epmd, "-port", str(self._epmd_port), "-address", LOOPBACK]
        self._process = process = processes.Supervised(
            processes.dying_with_parent([str(self._binaries.server)], "TERM"),
            companions=[processes.dying_with_parent(epmd, "KILL")],
            environment=self._environment(),
            log=self._log,
            stop_signal=signal.SIGTERM,
            remove_if_orphaned=[self._root] if self._temporary else [],
        )
        processes.wait_until(lambda: amqp.problem(self.url) is None or not process.running, START_SECONDS)
        problem = amqp.problem(self.url)
        if not process.running or problem is not None:
            process.stop(number=signal.SIGKILL)
            said = processes.tail(self._log)
            msg = f"RabbitMQ in {self._root} did not start ({problem}); its log ends:\n{said}"
            raise SandboxError(msg)

    def _environment(self) -> dict[str, str]:
        """Every setting of RabbitMQ and Erlang that could otherwise come from the system."""
        base = processes.plain_environment()
        root = self._root
        own = {
            # ALLOW_INPUT makes the script become the Erlang machine, so that our signals reach that;
            # -noinput takes the shell away again that it would bring.
            "ALLOW_INPUT": "true",
            "SERVER_ADDITIONAL_ERL_ARGS": "-noinput +B i -kernel inet_dist_use_interface {127,0,0,1}",
            "NODENAME": "notifier@localhost",
            "NODE_PORT": str(self.port),
            "NODE_IP_ADDRESS": LOOPBACK,
            "DIST_PORT": str(self._distribution_port),
            "MNESIA_BASE": str(root / "data"),
            "LOG_BASE": str(root / "log"),
            "LOGS": "-",
            "CONF_ENV_FILE": str(root / "no-rabbitmq-env.conf"),
            "CONFIG_FILE": str(root / "rabbitmq.conf"),
            "CONFIG_FILES": str(root / "no-conf.d" / "*.conf"),
            "ADVANCED_CONFIG_FILE": str(root / "no-advanced.config"),
            "ENABLED_PLUGINS_FILE": str(root / "no-enabled-plugins"),
            "GENERATED_CONFIG_DIR": str(root / "generated"),
            "PID_FILE": str(root / "rabbitmq.pid"),
        }
        settings = {f"RABBITMQ_{name}": value for name, value in own.items()}
        libraries = [*self._binaries.libraries, *filter(None, [base.get("LD_LIBRARY_PATH")])]
        return {
            **base,
            **settings,
            **({"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {}),
            "HOME": str(root / "home"),
            "PATH": os.pathsep.join([*self._binaries.path, base.get("PATH", os.defpath)]),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
        }

    def stop(self) -> None:
        """Stop in order: connections get 320 CONNECTION_FORCED, queues are written out."""
        if self._process is not None:
            self._process.stop()

    def remembers(self, queue: str, *, quorum: bool = True) -> bool:
        """Whether a durable queue is on disk and will survive `kill`.

        RabbitMQ writes its definitions with a delay of up to two seconds, and in a second place for quorum queues.
        """
        places = [["data/*/LATEST.LOG", "data/*/rabbit_durable_queue.DC?"]]
        if quorum:
            places.append(["data/*/quorum/*/names.dets"])
        name = queue.encode()
        return all(
            any(name in file.read_bytes() for pattern in place for file in self._root.glob(pattern))
            for place in places
        )

    def kill(self) -> None:
        """End the node with SIGKILL, as a crash would.

        A queue that was declared just before is lost or never answers again: wait for `remembers` first.
        """
        super().kill()
