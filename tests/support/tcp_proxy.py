"""A TCP proxy with the faults of a real line: far away, thin, cut, half-open, swallowing, reset.

    with TcpProxy(("127.0.0.1", port), latency=0.05) as proxy:
        connect to proxy.port ...
        proxy.cut()

Every attribute may be changed while it runs. Bytes keep their order and their distance: latency does not
limit how much is under way.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_TICK = 0.02  # seconds between looks at the proxy's state
_PIECE = 16 * 1024


class TcpProxy:
    """Forwards to `target`. `latency` is seconds one way, `bandwidth` bytes per second and direction.

    `cut_after` breaks a connection once so many bytes have gone to the target; `swallow_answers` lets nothing
    come back; `refusing` accepts connections and resets them; `mute` passes nothing on, either way.
    `on_data(connection, towards_target, data)` sees each piece before it is passed on, connections counted from 1:
    it may wait, which keeps this direction back, and when it says False the piece is swallowed and both ends are reset.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        host: str = "127.0.0.1",
        latency: float = 0.0,
        bandwidth: float | None = None,
    ) -> None:
        self.target = target
        self.latency = latency
        self.bandwidth = bandwidth
        self.cut_after: int | None = None
        self.swallow_answers = False
        self.refusing = False
        self.mute = False
        self.connections = 0
        self.on_data: Callable[[int, bool, bytes], bool] | None = None
        self.stopping = threading.Event()
        self._listener = socket.create_server((host, 0), backlog=128)
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """Where to connect to."""
        return int(self._listener.getsockname()[1])

    def cut(self, *, with_reset: bool = True) -> None:
        """Break every connection of now, by RST or by a plain close; new ones are accepted."""
        for link in self._current():
            link.end(with_reset=with_reset)

    def go_silent(self) -> None:
        """Keep the connections of now open, and forward nothing on them any more: half-open lines."""
        for link in self._current():
            link.silent.set()

    def start(self) -> Self:
        """Begin to accept connections."""
        self.spawn(self._accept)
        return self

    def stop(self) -> None:
        """End everything; returns when every thread has ended."""
        self.stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def spawn(self, run: Callable[[], None]) -> None:
        """Run this in a thread that `stop` waits for."""
        thread = threading.Thread(target=run, name="tcp-proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _current(self) -> list[_Link]:
        with self._lock:
            return list(self._links)

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                if self.refusing:
                    raise ConnectionRefusedError
                server = socket.create_connection(self.target)
            except OSError:
                _close(client, with_reset=True)
                continue
            link = _Link(self, self.connections, client, server)
            with self._lock:
                self._links.add(link)
            link.start()

    def forget(self, link: _Link) -> None:
        """Take note that a connection has ended."""
        with self._lock:
            self._links.discard(link)


class _Link:
    """One connection: two directions, each with a reader and a writer a latency apart."""

    def __init__(self, proxy: TcpProxy, number: int, client: socket.socket, server: socket.socket) -> None:
        self.silent = threading.Event()
        self._proxy = proxy
        self._number = number
        self._client = client
        self._server = server
        self._ended = threading.Event()
        self._to_target = 0
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for source, sink in ((self._client, self._server), (self._server, self._client)):
            line: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
            self._proxy.spawn(partial(self._read, source, line))
            self._proxy.spawn(partial(self._write, line, sink))

    def end(self, *, with_reset: bool) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        self._proxy.forget(self)
        for sock in (self._client, self._server):
            _close(sock, with_reset=with_reset)

    def _read(self, source: socket.socket, line: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        while not self._ended.is_set():
            try:
                data = source.recv(_PIECE)
            except OSError:
                data = b""
            if self.silent.is_set():
                self._ended.wait()
                return
            look = self._proxy.on_data
            if data and look is not None and not look(self._number, source is self._client, data):
                self.end(with_reset=True)
                return
            line.put((time.monotonic() + self._proxy.latency, data))
            if not data:
                return

    def _write(self, line: queue.SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
        while not self._ended.is_set():
            try:
                due, data = line.get(timeout=_TICK)
            except queue.Empty:
                continue
            if self._ended.wait(max(due - time.monotonic(), 0)) or not self._pass_on(data, sink):
                return

    def _pass_on(self, data: bytes, sink: socket.socket) -> bool:
        """Send one piece; False when this was the end of the connection."""
        proxy = self._proxy
        if proxy.mute or self.silent.is_set() or (proxy.swallow_answers and sink is self._client and data):
            return True
        if sink is self._server and proxy.cut_after is not None:
            data = data[: max(proxy.cut_after - self._to_target, 0)]
        try:
            sink.sendall(data)
        except OSError:
            data = b""
        if not data:
            self.end(with_reset=proxy.cut_after is not None)
            return False
        if sink is self._server:
            self._to_target += len(data)
        if proxy.bandwidth:
            self._ended.wait(len(data) / proxy.bandwidth)
        return True


def _close(sock: socket.socket, *, with_reset: bool) -> None:
    with suppress(OSError):
        if with_reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        else:
            sock.shutdown(socket.SHUT_RDWR)
    # A reader blocked in recv keeps the descriptor alive, so the reset needs the shutdown of reading as well.
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RD)
    sock.close()
