"""The parent of one private server process: a script that stops the server when its own launcher is gone.

PostgreSQL and RabbitMQ outlive a launcher that is killed with SIGKILL. The launcher therefore starts this
script in a session of its own and holds the write end of its standard input. The first line there is the
charge, as JSON (not an argument: arguments are public). Each further line is a signal number for the server.
The end of input means that the launcher has died, whatever the cause: the server is then stopped and the
temporary folders are removed. The first line of standard output is the server's process id, or why there is
none.

Only the standard library is used: the script runs by its path, without the environment's packages.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Charge(TypedDict):
    """What the launcher asks for."""

    command: list[str]
    companions: list[list[str]]  # started before the server, killed after it (epmd)
    environment: dict[str, str]
    log: str  # the file that gets the output of all of them
    stop_signal: int
    grace: float  # seconds from stop_signal to SIGKILL once the launcher is gone
    remove_if_orphaned: list[str]


def _spawn(
    command: Sequence[str], environment: Mapping[str, str], log: int, cwd: Path
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - the launcher's own command
        command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd
    )


def _obey(server: subprocess.Popen[bytes], charge: Charge, orphaned: threading.Event) -> None:
    """Pass on signals until the input ends, then stop the server."""
    for line in sys.stdin:
        server.send_signal(int(line))
    orphaned.set()
    server.send_signal(charge["stop_signal"])
    try:
        server.wait(charge["grace"])
    except subprocess.TimeoutExpired:
        server.kill()


def main(charge: Charge) -> int:
    """Run the server until it ends or the launcher is gone; return its exit status (signals are negative)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orphaned = threading.Event()
    companions: list[subprocess.Popen[bytes]] = []
    log = Path(charge["log"])
    try:
        with log.open("ab") as output:
            spawn = (charge["environment"], output.fileno(), log.parent)
            try:
                companions.extend(_spawn(command, *spawn) for command in charge["companions"])
                server = _spawn(charge["command"], *spawn)
            except OSError as error:
                sys.stdout.write(f"{error}\n")
                return 127
        with contextlib.suppress(OSError):  # the launcher may be gone already; the end of input tells
            sys.stdout.write(f"{server.pid}\n")
            sys.stdout.flush()
        threading.Thread(target=_obey, args=(server, charge, orphaned), daemon=True).start()
        return server.wait()
    finally:
        for companion in companions:
            companion.kill()
            companion.wait()
        if orphaned.is_set():
            for folder in charge["remove_if_orphaned"]:
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    # Popen tells death by signal n as -n, which no process can return: 128 + n, as shells do.
    status = main(json.loads(sys.stdin.readline()))
    sys.exit(status if status >= 0 else 128 - status)
