"""An SMTP server that takes every mail as fast as one Python thread can, for measuring what sends to it.

`python -m bench.sink` prints its port on one line and serves on loopback until it is ended. It offers PIPELINING. With
`--record FILE` each accepted mail is a line "seconds recipient message-id"; with `--keep FOLDER` its bytes are a file;
with `--slow SECONDS` the final 250 of each mail comes that much later, without holding up other connections.

`start` prefers Debian's `smtp-sink` (package postfix), which is written in C, where it is installed and only counting
is asked for; its environment variable SMTP_SINK may name the program.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import os
import re
import selectors
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from notifier.sandbox.processes import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
_END = b"\r\n.\r\n"
_HELLO = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
_MESSAGE_ID = re.compile(rb"^Message-ID:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_RECEIVE = 256 * 1024
_SESSIONS = 4096  # smtp-sink leaves more than 256 waiting unless it is told; every worker keeps some open per customer


@dataclass(slots=True)
class _Client:
    sock: socket.socket
    buffer: bytearray = field(default_factory=bytearray)
    recipient: str = ""
    in_text: bool = False
    waiting: bool = False  # for the moment of a slow 250; nothing is read meanwhile


class Sink:
    """The server; `run` never returns."""

    def __init__(self, *, slow: float, record: TextIO | None, keep: Path | None) -> None:
        self._slow = slow
        self._record = record
        self._keep = keep
        self._taken = 0
        self._later: list[tuple[float, int, _Client]] = []
        self._listener = socket.create_server((HOST, 0), backlog=512)
        self._listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.port = int(self._listener.getsockname()[1])

    def run(self) -> None:
        """Serve."""
        while True:
            for key, _ in self._selector.select(self._pause()):
                if key.data is None:
                    self._accept()
                else:
                    self._readable(key.data)
            self._answer_due()

    def _pause(self) -> float | None:
        return max(0.0, self._later[0][0] - time.monotonic()) if self._later else None

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Client(sock)
        self._selector.register(sock, selectors.EVENT_READ, client)
        self._say(client, b"220 sink\r\n")

    def _readable(self, client: _Client) -> None:
        try:
            chunk = client.sock.recv(_RECEIVE)
        except OSError:
            chunk = b""
        if not chunk:
            self._selector.unregister(client.sock)
            client.sock.close()
            return
        client.buffer += chunk
        self._serve(client)

    def _serve(self, client: _Client) -> None:
        answers: list[bytes] = []
        while not client.waiting:
            taken = self._take_text(client) if client.in_text else self._take_command(client)
            if taken is None:
                break
            answers.append(taken)
        if answers:
            self._say(client, b"".join(answers))

    def _take_text(self, client: _Client) -> bytes | None:
        at = client.buffer.find(_END)
        if at < 0:
            return None
        self._accepted(client, bytes(client.buffer[: at + 2]) if self._record or self._keep else b"")
        del client.buffer[: at + len(_END)]
        client.in_text = False
        if self._slow:
            client.waiting = True
            heapq.heappush(self._later, (time.monotonic() + self._slow, self._taken, client))
            return b""
        return b"250 2.0.0 taken\r\n"

    def _take_command(self, client: _Client) -> bytes | None:
        at = client.buffer.find(b"\n")
        if at < 0:
            return None
        line = bytes(client.buffer[:at]).rstrip(b"\r")
        del client.buffer[: at + 1]
        match line[:4].upper():
            case b"EHLO" | b"HELO":
                return _HELLO
            case b"RCPT":
                client.recipient = line.partition(b"<")[2].partition(b">")[0].decode("ascii", "replace")
                return b"250 2.1.5 ok\r\n"
            case b"DATA":
                client.in_text = True
                return b"354 go on\r\n"
            case b"QUIT":
                return b"221 2.0.0 bye\r\n"
            case _:
                return b"250 2.0.0 ok\r\n"

    def _accepted(self, client: _Client, mail: bytes) -> None:
        self._taken += 1
        if self._record is not None:
            found = _MESSAGE_ID.search(mail)
            name = found[1].decode("ascii", "replace") if found else "-"
            self._record.write(f"{time.time():.6f} {client.recipient} {name}\n")
            self._record.flush()
        if self._keep is not None:
            (self._keep / f"{self._taken:06}.eml").write_bytes(mail.replace(b"\r\n..", b"\r\n."))

    def _answer_due(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            _, _, client = heapq.heappop(self._later)
            client.waiting = False
            self._say(client, b"250 2.0.0 taken\r\n")
            self._serve(client)

    def _say(self, client: _Client, answer: bytes) -> None:
        with contextlib.suppress(OSError):  # the client has gone; the next read says so
            client.sock.send(answer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A sink that runs; name says which program it is."""

    port: int
    name: str


_OURS = "the sink of this bench (Python)"
_IN_C = "smtp-sink of Postfix"


def name() -> str:
    """Say which sink counts mails on this machine."""
    return _OURS if _in_c() is None else _IN_C


@contextlib.contextmanager
def start(*, slow: float = 0.0, record: Path | None = None, keep: Path | None = None) -> Iterator[Running]:
    """Run a sink as a process of its own."""
    if slow == 0.0 and record is None and keep is None and (program := _in_c()) is not None:
        with _started_in_c(program) as running:
            yield running
        return
    command = [sys.executable, "-m", "bench.sink", "--slow", str(slow)]
    command += ["--record", str(record)] if record is not None else []
    command += ["--keep", str(keep)] if keep is not None else []
    with _ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as process:
        line = process.stdout.readline() if process.stdout is not None else ""
        yield Running(port=int(line), name=_OURS)


def _in_c() -> str | None:
    return os.environ.get("SMTP_SINK") or shutil.which("smtp-sink") or shutil.which("/usr/sbin/smtp-sink")


@contextlib.contextmanager
def _started_in_c(program: str) -> Iterator[Running]:
    (port,) = free_ports(1)
    privileges = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = [program, *privileges, "-m", str(_SESSIONS), f"{HOST}:{port}", "1024"]
    with _ended(subprocess.Popen(command)):
        _wait_open(port)
        yield Running(port=port, name=_IN_C)


def _wait_open(port: int) -> None:
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.02)
    msg = f"the sink does not listen on port {port}"
    raise RuntimeError(msg)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process  # type: ignore[misc]
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def main() -> None:
    """Serve as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        record = stack.enter_context(options.record.open("a")) if options.record else None
        sink = Sink(slow=options.slow, record=record, keep=options.keep)
        print(sink.port, flush=True)
        sink.run()


if __name__ == "__main__":
    main()
