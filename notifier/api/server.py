"""Serves the API with uvicorn: one process, many threads, and an orderly end."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn

from notifier import wiring
from notifier.api import parts
from notifier.api.application import THREADS, application
from notifier.api.connections import Connection
from notifier.domain.errors import ConfigurationError
from notifier.rendering.renderer import Renderer
from notifier.store import migrations, scope
from notifier.store.engine import make_engine
from notifier.store.first_connection import first_connection
from notifier.systemd import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

    from sqlalchemy.engine import Engine

    from notifier.config import Settings

CONNECTIONS = 200  # at once; more are answered 503
BACKLOG = 512
KEEP_ALIVE = 30  # seconds

log = structlog.get_logger(__name__)


def run(settings: Settings, *, environ: Mapping[str, str]) -> None:
    """Serve until SIGTERM or SIGINT; requests in hand are finished, for at most delivery.drain_timeout seconds.

    systemd is told that it serves and, by the loop that takes the requests, that it is alive.

    Raises ConfigurationError for an address that cannot be used, a refused login or a schema that does not fit;
    DatabaseUnavailable.
    """
    listener = listen(settings.api.host, settings.api.port)
    with (
        closing(listener),
        limited_engine(settings) as engine,
        closing(Renderer(settings.templates.folder(), wiring.site(settings))) as renderer,
    ):
        served = application(parts.make(settings, engine=engine, renderer=renderer))
        supervisor = Supervisor(environ, clock=time.monotonic)
        server = _Server(configuration(settings, served), supervisor)
        # uvicorn raises the signal again when it is done; then its work is over and nothing is to be killed.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ended)
        host, port = listener.getsockname()[:2]
        log.info("api_started", host=host, port=port)
        server.run(sockets=[listener])
        log.info("api_stopped")


class _Server(uvicorn.Server):
    """uvicorn's server, whose loop speaks to the supervisor."""

    def __init__(self, config: uvicorn.Config, supervisor: Supervisor) -> None:
        super().__init__(config)
        self._supervisor = supervisor

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._supervisor.ready()

    async def on_tick(self, counter: int) -> bool:
        self._supervisor.alive()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._supervisor.stopping()
        await super().shutdown(sockets)


def configuration(settings: Settings, app: Any) -> uvicorn.Config:  # noqa: ANN401 - an ASGI application, whoever made it
    """Return how uvicorn is to serve the application."""
    return uvicorn.Config(
        app,
        http=Connection,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        ws="none",
        proxy_headers=True,
        forwarded_allow_ips=[str(network) for network in settings.api.trusted_proxies],
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.delivery.drain_timeout),
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ConfigurationError naming the keys."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        problem = (
            f"api.port: cannot listen on {host}, port {port} ({error.strerror or error}); "
            "stop what uses it, or set api.host and api.port"
        )
        raise ConfigurationError([problem]) from error
    # Connections inherit it. asyncio sets it only where the socket's protocol number is given; without it the second
    # packet of an answer waits for the acknowledgement of the first, which a client delays by 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextmanager
def limited_engine(settings: Settings) -> Iterator[Engine]:
    """Yield the engine of the API, whose every transaction is limited to its caller's customers."""
    url = settings.database.url.get_secret_value()
    engine = make_engine(url, application="notifier api", pool_size=THREADS)
    try:
        with first_connection(engine) as connection:
            migrations.check_schema(connection)
        enforced = scope.in_force(engine)
        if not enforced:
            cure = "apply roles.sql (notifier init-db --roles) and GRANT notifier_api to the login"
            log.warning("api_scope_not_enforced_by_database", role=scope.ROLE, cure=cure)
        scope.limit(engine, enforced=enforced)
        yield engine
    finally:
        engine.dispose()


def _ended(_number: int, _frame: FrameType | None) -> None:
    """Let the process end by itself."""
