"""A served API on a database whose roles are in force, and people with tokens for it."""

from __future__ import annotations

import contextlib
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

from notifier import wiring
from notifier.api import parts
from notifier.api.application import application
from notifier.api.server import configuration, limited_engine, listen
from notifier.bearer_tokens import new_token, token_hash
from notifier.config import Settings
from notifier.encryption import generate_key
from notifier.rendering.renderer import Renderer
from tests.store_rows import add_customer, add_event, add_mail, add_user
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy.engine import Connection, Engine

    from notifier.api.parts import Parts
    from tests.services import Database

PREFIX = "/api/v1/notifications"
ENCRYPTION_KEY = generate_key()
SIGNING_KEY = generate_key()
UNLIMITED = 1_000_000
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used: reading the system's authorities takes its time


def settings_for(database: Database, **sections: dict[str, Any]) -> Settings:
    """The settings of an API on this database: loopback mail servers allowed, hardly any rate limit."""
    base: dict[str, dict[str, Any]] = {
        "database": {"url": database.url},
        "delivery": {"denied_networks": []},
        "api": {"requests_per_minute": UNLIMITED, "failed_logins_per_minute": UNLIMITED},
        "links": {"unsubscribe": "https://notifications.example.com/u/{token}"},
        "security": {"encryption_keys": [ENCRYPTION_KEY], "signing_keys": [SIGNING_KEY]},
    }
    return Settings.model_validate({**base, **sections})


@dataclass(frozen=True, kw_only=True)
class Person:
    """A user with a token."""

    id: int
    token: str


class Api:
    """A running API. `engine` is the owner's: what it does is not limited."""

    def __init__(self, *, base: str, engine: Engine, parts: Parts) -> None:
        self.base = base
        self.engine = engine
        self.parts = parts
        self.anonymous = httpx.Client(base_url=base, timeout=60, verify=_TLS)

    def client(self, person: Person) -> httpx.Client:
        """A client with the person's token, at the prefix of the API."""
        headers = {"Authorization": f"Bearer {person.token}"}
        return httpx.Client(base_url=self.base + PREFIX, headers=headers, timeout=60, verify=_TLS)

    def person(self, role: str, *customers: int, email: str | None = "anna@example.org") -> Person:
        """Add a user with access to these customers and a token."""
        with self.engine.begin() as connection:
            user = add_user(connection, role=role, email=email)
            for customer in customers:
                connection.exec_driver_sql("INSERT INTO customer_users VALUES (%s, %s)", (customer, user))
        return Person(id=user, token=self.token(user))

    def token(self, user: int, *, expires_at: datetime | None = None) -> str:
        """Add a token of a user."""
        token = new_token()
        with self.engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO api_tokens (user_id, name, token_hash, expires_at) VALUES (%s, 'test', %s, %s)",
                (user, token_hash(token), expires_at),
            )
        return token

    def customer(self, name: str | None = None) -> int:
        """Add a customer, of any name unless one is given."""
        with self.engine.begin() as connection:
            return add_customer(connection, name)

    def smtp(self, customer: int, **values: object) -> int:
        """Add a customer's mail server by plain SQL; returns its id."""
        row = {"host": "mail.example.com", "port": 587, "from_email": "jobs@example.com", **values}
        with self.engine.begin() as connection:
            names = ", ".join(row)
            marks = ", ".join(f"%({name})s" for name in row)
            statement = (
                f"INSERT INTO smtp_configs (customer_id, {names}) VALUES (%(customer)s, {marks}) RETURNING id"  # noqa: S608
            )
            return int(connection.exec_driver_sql(statement, {**row, "customer": customer}).scalar_one())

    def preference(self, customer: int, user: int, event_type: str = "job_failed") -> int:
        """Add a preference by plain SQL; returns its id."""
        with self.engine.begin() as connection:
            statement = (
                "INSERT INTO notification_preferences (customer_id, user_id, event_type) VALUES (%s, %s, %s)"
                " RETURNING id"
            )
            return int(connection.exec_driver_sql(statement, (customer, user, event_type)).scalar_one())

    def mail(self, customer: int, **facts: Any) -> tuple[int, int]:
        """Add a job event that reads as one, and a mail of it; returns both ids."""
        with self.engine.begin() as connection:
            event = add_event(connection, customer)
            _complete(connection, event, customer)
            return event, add_mail(connection, customer, event, **facts)

    def one(self, query: str, *parameters: object) -> Any:
        """The only value of a query, as the owner."""
        with self.engine.connect() as connection:
            return connection.exec_driver_sql(query, parameters).scalar_one()


def _complete(connection: Connection, event: int, customer: int) -> None:
    document = (
        '{"specversion": "1.0", "id": "e", "source": "webnet/jobs", "type": "job_failed", "data": {"customer_id": %s,'
        ' "job": {"id": 4812, "type": "config_backup", "status": "failed", "error": "SSH login timed out"}}}'
    )
    connection.exec_driver_sql(
        "UPDATE job_events SET payload = %(p)s::jsonb WHERE id = %(e)s",
        {"p": document % customer, "e": event},
    )


@contextlib.contextmanager
def served(settings: Settings, engine: Engine, renderer: Renderer, **chosen: Any) -> Iterator[Api]:
    """Serve an API from a thread of this process."""
    with limited_engine(settings) as limited, contextlib.closing(listen("127.0.0.1", 0)) as listener:
        made = parts.make(settings, engine=limited, renderer=renderer, **chosen)
        server = uvicorn.Server(configuration(settings, application(made)))
        thread = threading.Thread(target=server.run, args=([listener],), name="api", daemon=True)
        thread.start()
        wait_until(lambda: server.started, 20, "the API to serve")
        api = Api(base=f"http://127.0.0.1:{listener.getsockname()[1]}", engine=engine, parts=made)
        try:
            yield api
        finally:
            api.anonymous.close()
            server.should_exit = True
            thread.join(30)


def renderer_for(settings: Settings) -> Renderer:
    """The mails' templates, compiled."""
    return Renderer(settings.templates.folder(), wiring.site(settings))
