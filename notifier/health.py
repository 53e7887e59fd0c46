"""The worker's read-only pages over HTTP: /livez, /readyz, /healthz, /metrics (docs/operations.md)."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import sys
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Lock, Thread
from typing import TYPE_CHECKING, cast

import structlog

from notifier.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from notifier.metrics import Metrics
    from notifier.vitals import Vitals

    Page = tuple[HTTPStatus, str, bytes]

MAX_CONNECTIONS = 16
SOCKET_TIMEOUT = 5.0  # seconds for one read or write
REQUEST_LIMIT = 10.0  # seconds from one answer (or the connect) to the end of the next one
POLL_INTERVAL = 0.1  # seconds between two looks for slow clients
SERVER_NAME = "notifier"  # the header Server of every answer
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

log = structlog.get_logger(__name__)


class HealthServer:
    """Serves the pages from its own threads between `start` and `stop`.

    Raises ConfigurationError at construction when the address cannot be bound.
    """

    def __init__(self, host: str, port: int, *, vitals: Vitals, metrics: Metrics) -> None:
        try:
            self._server = _Server(host, port, vitals=vitals, metrics=metrics)
        except OSError as error:
            problem = (
                f"health.port: cannot listen on {host}, port {port} ({error.strerror or error}); "
                "stop what uses it, or set health.host and health.port"
            )
            raise ConfigurationError([problem]) from error
        self._thread = Thread(
            target=self._server.serve_forever, args=(POLL_INTERVAL,), name="health", daemon=True
        )

    @property
    def port(self) -> int:
        """The port in use, also when a free one was asked for."""
        return self._server.server_port

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._thread.is_alive():
            self._server.wake()
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.close_older_than(0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 2 * MAX_CONNECTIONS
    block_on_close = False

    def __init__(self, host: str, port: int, *, vitals: Vitals, metrics: Metrics) -> None:
        self.vitals = vitals
        self.metrics = metrics
        self._free = BoundedSemaphore(MAX_CONNECTIONS)
        self._lock = Lock()
        self._waiting_since: dict[socket.socket, float] = {}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without the name look-up of HTTPServer, which can hang for the time of a DNS outage."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: object, client_address: object) -> None:
        """Refuse a connection over the limit at once, so that nobody can use up our threads."""
        connection = cast("socket.socket", request)
        if not self._free.acquire(blocking=False):
            self.shutdown_request(connection)
            return
        self.answered(connection)
        super().process_request(connection, client_address)

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Serve one connection, then free its place."""
        connection = cast("socket.socket", request)
        try:
            super().process_request_thread(connection, client_address)
        finally:
            with self._lock:
                self._waiting_since.pop(connection, None)
            self._free.release()

    def answered(self, connection: socket.socket) -> None:
        """Start the clock for the next request of `connection`."""
        with self._lock:
            self._waiting_since[connection] = time.monotonic()

    def wake(self) -> None:
        """End the wait for the next connection at once, and take none any more (where a listener can be shut)."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def service_actions(self) -> None:
        """Between two polls: drop who sends a request drop by drop."""
        self.close_older_than(REQUEST_LIMIT)

    def close_older_than(self, limit: float) -> None:
        """Shut the connections that have waited for over `limit` seconds; their threads then end."""
        now = time.monotonic()
        with self._lock:
            slow = [connection for connection, since in self._waiting_since.items() if now - since >= limit]
        for connection in slow:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it went away by itself

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what went wrong in one connection; the others go on."""
        del request, client_address
        log.debug("health_connection_failed", error=sys.exception())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SOCKET_TIMEOUT
    wbufsize = -1  # header and body in one write: two would meet Nagle's algorithm and delayed acks
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        """Refuse every method but GET and HEAD."""
        if not super().parse_request():
            return False
        if self.command in ("GET", "HEAD"):
            if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
                self.close_connection = True  # a body is not read, nor taken for the next request
            return True
        self.close_connection = True  # its body is not read
        self._answer((HTTPStatus.METHOD_NOT_ALLOWED, TEXT, b"only GET and HEAD\n"), allow="GET, HEAD")
        return False

    def version_string(self) -> str:
        """Return the header Server, without a version."""
        return SERVER_NAME

    def do_GET(self) -> None:
        """Answer with the page."""
        self._answer(self._page())

    do_HEAD = do_GET  # noqa: N815 - the name http.server looks for

    def _page(self) -> Page:
        server = cast("_Server", self.server)
        vitals = server.vitals
        match self.path.partition("?")[0]:
            case "/livez":
                return _verdict([] if vitals.live() else ["main loop stuck"])
            case "/readyz":
                return _verdict(vitals.obstacles())
            case "/healthz":
                return HTTPStatus.OK, JSON, json.dumps(vitals.summary(), indent=2).encode() + b"\n"
            case "/metrics":
                body, content_type = server.metrics.exposition()
                return HTTPStatus.OK, content_type, body
            case _:
                return HTTPStatus.NOT_FOUND, TEXT, b"here are /livez /readyz /healthz /metrics\n"

    def _answer(self, page: Page, *, allow: str | None = None) -> None:
        status, content_type, body = page
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if allow:
            self.send_header("Allow", allow)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()
        cast("_Server", self.server).answered(self.connection)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parameter of http.server
        """Probes come every few seconds: no log lines."""


def _verdict(obstacles: list[str]) -> Page:
    if not obstacles:
        return HTTPStatus.OK, TEXT, b"ok\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, "".join(f"{line}\n" for line in obstacles).encode()
