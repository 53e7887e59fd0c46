"""What `notifier check` looks at, part by part. Nothing here changes anything."""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Literal

from notifier import wiring
from notifier.broker import topology
from notifier.broker.connection import connected
from notifier.cli import database
from notifier.domain.errors import ConfigurationError, NotifierError, SchemaDamaged, SmtpFault
from notifier.health import SERVER_NAME, HealthServer
from notifier.metrics import Metrics
from notifier.rendering import checking
from notifier.rendering.renderer import Renderer
from notifier.smtp.policy import resolve
from notifier.smtp.tls import context as tls_context
from notifier.store import migrations, privileges, smtp_configs
from notifier.store.engine import place
from notifier.store.pages import Slice
from notifier.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from notifier.config import Settings

Level = Literal["ok", "warning", "problem"]
_PAGE = 500
_ANSWER_SECONDS = 3.0
_CURES = {"broker": "; check rabbitmq.url and that the broker is up"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the result. `configuration`: somebody must change something; else it may pass by itself."""

    part: str
    level: Level
    text: str
    configuration: bool = True


def look(settings: Settings) -> Iterator[Finding]:
    """Yield what is right, doubtful or wrong, part by part; the configuration itself was read without a fault."""
    yield _ok("configuration", "every key is right")
    parts: tuple[tuple[str, Callable[[Settings], Iterator[Finding]]], ...] = (
        ("templates", _templates),
        ("default server", _default_server),
        ("database", _database),
        ("broker", _broker),
        ("health", _health),
    )
    for name, examine in parts:
        try:
            yield from examine(settings)
        except ConfigurationError as exc:
            yield from (_problem(name, text) for text in exc.problems)
        except SchemaDamaged as exc:
            yield _problem(name, str(exc))
        except NotifierError as exc:
            yield _problem(name, f"{exc}{_CURES.get(name, '')}", configuration=False)


def _ok(part: str, text: str) -> Finding:
    return Finding(part=part, level="ok", text=text)


def _problem(part: str, text: str, *, configuration: bool = True) -> Finding:
    # The part is named already.
    return Finding(
        part=part, level="problem", text=text.removeprefix(f"{part}: "), configuration=configuration
    )


def _warning(part: str, text: str) -> Finding:
    return Finding(part=part, level="warning", text=text)


def _templates(settings: Settings) -> Iterator[Finding]:
    with closing(Renderer(settings.templates.folder(), wiring.site(settings))) as renderer:
        problems = checking.check(renderer)
        sets = len(list(renderer.customers.folders()))
    yield from (_problem("templates", text) for text in problems)
    if not problems:
        yield _ok("templates", f"all mails render in every language; {sets} sets of customers")


def _default_server(settings: Settings) -> Iterator[Finding]:
    part = "default server"
    smtp = settings.smtp
    if smtp.transport != "smtp":
        text = f"smtp.transport is {smtp.transport}: mails of customers without a server of their own are not sent"
        yield _warning(part, text)
        if smtp.transport == "file" and smtp.file_path is not None:
            folder = next(
                path for path in (smtp.file_path, *smtp.file_path.absolute().parents) if path.exists()
            )
            if not os.access(folder, os.W_OK | os.X_OK):
                yield _problem(
                    part, f"smtp.file_path: {folder} is not writable; let the worker's user write there"
                )
        return
    server = wiring.default_server(settings)
    if server is None:
        yield _warning(part, "smtp.host is empty: customers without a server of their own get no mail")
        return
    try:
        tls_context(server.ca_certificate)
    except SmtpFault as fault:
        yield _problem(part, f"smtp.ca_file: {fault}")
    try:
        addresses = resolve(server.host, server.port, wiring.connect_policy(settings), trusted=True)
    except SmtpFault as fault:
        yield _problem(part, f"smtp.host: {fault}", configuration=False)
        return
    if server.username and not (server.use_tls or server.use_ssl):
        yield _warning(part, "smtp.username without use_tls or use_ssl: the password may travel in the open")
    yield _ok(part, f"{server.host}:{server.port} is {addresses[0].ip}; try it with notifier smtp test")


def _database(settings: Settings) -> Iterator[Finding]:
    login = "is a member of notifier_worker"
    with database.engine(settings, checked=False, login=login) as engine, engine.connect() as connection:
        state = migrations.schema_state(connection)
        if state.problems:
            yield from (_problem("database", text) for text in state.problems)
            return
        yield _ok("database", f"{place(connection)}: the schema has version {state.version}")
        lacking = privileges.missing_for_worker(connection)
        yield from (_problem("database", text) for text in lacking)
        if not lacking:
            yield _ok("database", "this login may do what a worker does")
        if not any("smtp_configs" in text for text in lacking):
            yield from _passwords(settings, connection)


def _passwords(settings: Settings, connection: Connection) -> Iterator[Finding]:
    box = wiring.secret_box(settings)
    part = "passwords"
    found = unreadable = 0
    offset, total = 0, 1
    while offset < total:
        page = smtp_configs.find(connection, part=Slice(limit=_PAGE, offset=offset))
        offset, total = offset + _PAGE, page.total
        for server in page.items:
            if not server.password:
                continue
            found += 1
            try:
                box.decrypt(customer_id=server.customer_id, host=server.host, token=server.password)
            except NotifierError as exc:
                unreadable += 1
                yield _problem(part, f"customer {server.customer_id}: {exc}")
    if not settings.security.encryption_keys and not found:
        cure = "make a key with: notifier secrets generate-key"
        yield _warning(part, f"security.encryption_keys is empty: no SMTP password can be stored; {cure}")
    elif not unreadable:
        yield _ok(part, f"all {found} stored SMTP passwords can be read")


def _broker(settings: Settings) -> Iterator[Finding]:
    url = settings.rabbitmq.url.get_secret_value()
    names = wiring.topology(settings)
    with connected(url, name="notifier check"):
        pass  # first of all: is it there, and does it let us in?
    problems = topology.verify(url, names)
    yield from (_problem("broker", text) for text in problems)
    if not problems:
        yield _ok("broker", f"connected; nothing is in the way of queue {names.queue}")


def _health(settings: Settings) -> Iterator[Finding]:
    """Bind as the worker does, for a moment."""
    host, port = settings.health.host, settings.health.port
    vitals = Vitals(version="", clock=time.monotonic)
    try:
        HealthServer(host, port, vitals=vitals, metrics=Metrics(version="")).stop()
    except ConfigurationError:
        if not _worker_answers(host, port):
            raise
        yield _ok(
            "health", f"a worker that runs here has {host}, port {port}; a second one needs another port"
        )
    else:
        yield _ok("health", f"a worker can listen on {host}, {f'port {port}' if port else 'a free port'}")


def _worker_answers(host: str, port: int) -> bool:
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    with closing(HTTPConnection(reached, port, timeout=_ANSWER_SECONDS)) as connection:
        try:
            connection.request("HEAD", "/livez")
            return connection.getresponse().headers["Server"] == SERVER_NAME
        except (OSError, HTTPException):
            return False
