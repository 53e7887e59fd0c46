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
from threading import Lock, Thread
from typing import TYPE_CHECKING, cast

import structlog

from notifier.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from notifier.metrics import Metrics
    from notifier.vitals import Vitals

    Page = tuple[HTTPStatus, str, bytes]

MAX_CONNECTIONS = 16
SOCKET_TIMEOUT = 5.0  # seconds for one read or write
HEAD_LIMIT = 2.0  # seconds from the connect, or the last answer, to the end of the next request's head
ANSWER_LIMIT = 10.0  # seconds from there to the end of the answer
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
        self._server.close_slow(head_limit=0, answer_limit=0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 2 * MAX_CONNECTIONS
    block_on_close = False

    def __init__(self, host: str, port: int, *, vitals: Vitals, metrics: Metrics) -> None:
        self.vitals = vitals
        self.metrics = metrics
        self._lock = Lock()
        # Whom we wait for, and who waits for us, since when; the longest first.
        self._asking: dict[socket.socket, float] = {}
        self._answering: dict[socket.socket, float] = {}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without the name look-up of HTTPServer, which can hang for the time of a DNS outage."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: object, client_address: object) -> None:
        """Serve a connection; when there are too many, in the place of the one that has asked nothing for longest.

        So whoever asks at once is answered, however many others only take up places.
        """
        connection = cast("socket.socket", request)
        with self._lock:
            self._asking[connection] = time.monotonic()
            full = len(self._asking) + len(self._answering) > MAX_CONNECTIONS
            slowest = next(iter(self._asking)) if full else None
        if slowest is connection:  # all others are being answered
            self.shutdown_request(connection)
            return
        if slowest is not None:
            self._give_up(slowest)
        super().process_request(connection, client_address)

    def shutdown_request(self, request: object) -> None:
        """Free the place of a connection, and close it."""
        connection = cast("socket.socket", request)
        self._give_up(connection)
        super().shutdown_request(connection)

    def _give_up(self, connection: socket.socket) -> None:
        """Free the place of a connection; its thread then ends."""
        with self._lock:
            self._asking.pop(connection, None)
            self._answering.pop(connection, None)
        with contextlib.suppress(OSError):  # it went away by itself
            connection.shutdown(socket.SHUT_RDWR)

    def asked(self, connection: socket.socket) -> None:
        """Start the clock for the answer: the head of a request is complete."""
        with self._lock:
            if self._asking.pop(connection, None) is not None:
                self._answering[connection] = time.monotonic()

    def answered(self, connection: socket.socket) -> None:
        """Start the clock for the next request of `connection`."""
        with self._lock:
            if self._answering.pop(connection, None) is not None:
                self._asking[connection] = time.monotonic()

    def wake(self) -> None:
        """End the wait for the next connection at once, and take none any more (where a listener can be shut)."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def service_actions(self) -> None:
        """Between two polls: drop who sends a request, or takes an answer, drop by drop."""
        self.close_slow(head_limit=HEAD_LIMIT, answer_limit=ANSWER_LIMIT)

    def close_slow(self, *, head_limit: float, answer_limit: float) -> None:
        """Give up the connections that take longer than so many seconds."""
        now = time.monotonic()
        with self._lock:
            slow = [who for who, since in self._asking.items() if now - since >= head_limit]
            slow += [who for who, since in self._answering.items() if now - since >= answer_limit]
        for connection in slow:
            self._give_up(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what went wrong in one connection; the others go on."""
        del request, client_address
        log.debug("health_connection_failed", error=sys.exception())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Of a line that names none, or a wrong one: "HTTP/0.9" gets no status line.
    default_request_version = "HTTP/1.0"
    timeout = SOCKET_TIMEOUT
    wbufsize = -1  # header and body in one write: two would meet Nagle's algorithm and delayed acks
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        """Refuse every method but GET and HEAD."""
        parsed = super().parse_request()
        cast("_Server", self.server).asked(self.connection)
        if not parsed:
            if not self.requestline.split():  # to an empty line the library says nothing
                self.send_error(HTTPStatus.BAD_REQUEST)
            return False
        if self.command in ("GET", "HEAD"):
            if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
                self.close_connection = True  # a body is not read, nor taken for the next request
            return True
        self.close_connection = True  # its body is not read
        self._answer((HTTPStatus.METHOD_NOT_ALLOWED, TEXT, b"only GET and HEAD\n"), allow="GET, HEAD")
        return False

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no request in plain text, without its words."""
        del message, explain
        self.close_connection = True
        status = HTTPStatus(code)
        self._answer((status, TEXT, f"{status.phrase}\n".encode()))

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
