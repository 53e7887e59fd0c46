"""A TCP proxy on loopback that can cut its connections, or go silent without closing them."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class TcpProxy:
    """Forwards to `target`. `on_data(towards_target, data)` sees each piece before it is passed on; when it
    says False the piece is swallowed and both ends are reset.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ending = threading.Event()
        self._silenced: list[socket.socket] = []
        self.connections = 0
        self.on_data: Callable[[bool, bytes], bool] = lambda _towards_target, _data: True
        self._thread = threading.Thread(target=self._run, name="tcp-proxy")
        self._thread.start()

    def cut(self) -> None:
        """Reset every connection; new ones are accepted."""
        with self._lock:
            for one in list(self._clients):
                self._drop(one)

    def go_silent(self) -> None:
        """Keep all connections of now open, and forward nothing any more."""
        with self._lock:
            for one in self._pairs:
                self._selector.unregister(one)
            self._silenced.extend(self._pairs)
            self._pairs.clear()
            self._clients.clear()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        for one in [*self._pairs, *self._silenced]:
            one.close()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            for key, _mask in self._selector.select(timeout=0.05):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._pairs:
                        self._forward(key.fileobj)

    def _accept(self) -> None:
        client, _address = self._listener.accept()
        try:
            server = socket.create_connection(self.target)
        except OSError:
            client.close()
            return
        self.connections += 1
        self._clients.add(client)
        for one, other in ((client, server), (server, client)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, source: socket.socket) -> None:
        try:
            data = source.recv(65536)
            if data and self.on_data(source in self._clients, data):
                self._pairs[source].sendall(data)
                return
        except OSError:
            # One end is gone, so the other goes too.
            pass
        self._drop(source)

    def _drop(self, one: socket.socket) -> None:
        other = self._pairs.pop(one)
        del self._pairs[other]
        for end in (one, other):
            self._clients.discard(end)
            self._selector.unregister(end)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            end.close()


@contextmanager
def tcp_proxy(target: tuple[str, int]) -> Iterator[TcpProxy]:
    proxy = TcpProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
