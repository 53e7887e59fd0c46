"""Start a private server in a process of its own that can be killed with SIGKILL."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

_LAUNCHER = """
import sys
from notifier.sandbox import postgres, rabbitmq
server = {expression}
print(server.pid, server._root, flush=True)
sys.stdin.read()
"""


@contextmanager
def launcher(expression: str) -> Iterator[tuple[subprocess.Popen[str], psutil.Process, str]]:
    """Run `expression` elsewhere; give the launching process, the server's process and its folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER.format(expression=expression)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        pid, folder = process.stdout.readline().split()
        try:
            yield process, psutil.Process(int(pid)), folder
        finally:
            process.kill()


def family(server: psutil.Process) -> list[psutil.Process]:
    """The server, its guardian, and everything that descends from the guardian (backends, epmd)."""
    guardian = server.parent()
    assert guardian is not None
    assert any("guardian.py" in part for part in guardian.cmdline())
    return [guardian, *guardian.children(recursive=True)]


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run."""
    return [one for one in processes if lives(one)]


def lives(process: psutil.Process) -> bool:
    """Whether it still runs; it may end while it is asked."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
