"""The demo's stage: everything started and set up, events published, the log read back."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from sqlalchemy.dialects import postgresql as pg

from notifier.broker.dead_letters import open_dead_letters
from notifier.broker.letters import Selection
from notifier.broker.publisher import Publisher
from notifier.domain.smtp_settings import SmtpChange
from notifier.encryption import SecretBox
from notifier.sandbox import demo_cast, demo_services
from notifier.sandbox.demo_folder import open_folder
from notifier.sandbox.demo_record import Record, read
from notifier.sandbox.demo_worker import DemoWorker
from notifier.sandbox.inbox import Inbox
from notifier.sandbox.processes import SandboxError
from notifier.store import preferences, smtp_configs
from notifier.store.tables import customer_users, customers, users

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import sqlalchemy as sa
    from sqlalchemy.engine import Connection

    from notifier.domain.recipients import Rules
    from notifier.sandbox.demo_cast import Sample
    from notifier.sandbox.demo_folder import DemoFolder
    from notifier.sandbox.demo_services import DemoBroker, DemoDatabase


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What the caller may choose. None and 0 leave the choice to the demo."""

    amqp_url: str | None = None
    database_url: str | None = None
    data: Path | None = None
    apt_install: bool = True
    inbox_port: int = 0
    health_port: int = 0


class Stage:
    """Everything the demo needs, running. Closing it leaves no process and, unless kept, no file behind."""

    def __init__(self, wishes: Wishes, *, rules: Rules, say: Callable[[str], None]) -> None:
        """Start everything, in the order of the way of an event. `say` is told each step.

        Raises ConfigurationError or SandboxError when something cannot be had; what was started is stopped.
        """
        with contextlib.ExitStack() as stack:
            self.folder: DemoFolder = open_folder(wishes.data)
            stack.callback(self.folder.remove)
            say("starting PostgreSQL")
            self.database: DemoDatabase = stack.enter_context(
                demo_services.database(wishes.database_url, folder=self.folder, say=say)
            )
            say("starting RabbitMQ (some seconds)")
            self.broker: DemoBroker = stack.enter_context(
                demo_services.broker(
                    wishes.amqp_url, folder=self.folder, apt_install=wishes.apt_install, say=say
                )
            )
            say("opening the mail inbox")
            self.inbox: Inbox = stack.enter_context(_inbox(wishes.inbox_port))
            with self.database.engine.begin() as connection:
                _populate(connection, inbox=self.inbox, box=SecretBox([self.folder.key()]), rules=rules)
            self.folder.write_config(
                amqp_url=self.broker.url,
                database_url=self.database.url,
                topology=self.broker.topology,
                health_port=wishes.health_port,
            )
            say("starting the worker")
            self.worker: DemoWorker = stack.enter_context(DemoWorker(self.folder))
            self._stack = stack.pop_all()

    def publish(self) -> tuple[Sample, ...]:
        """Publish the samples, each confirmed by the broker; return them."""
        found = demo_cast.samples(secrets.token_hex(4))
        with Publisher(self.broker.url, exchange=self.broker.topology.exchange) as publisher:
            for sample in found:
                publisher.publish(
                    sample.body,
                    routing_key=sample.routing_key,
                    event_type=sample.event_type,
                    message_id=sample.event_id,
                )
        return found

    def record(self) -> Record:
        """Return what has happened so far. Raises SandboxError when the worker has ended."""
        if not self.worker.running:
            raise SandboxError(f"the worker has ended; {self.worker.last_words()}")
        with self.database.engine.connect() as connection:
            return read(connection)

    def dead_letters(self, sample: Sample) -> int:
        """Return how often this very event lies in the dead-letter queue."""
        with open_dead_letters(self.broker.url, self.broker.topology) as letters:
            digest = hashlib.sha256(sample.body).hexdigest()
            return len(letters.show(Selection(ids=frozenset({digest}))))

    def close(self) -> None:
        """Stop everything, the worker first."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _inbox(web_port: int) -> Inbox:
    try:
        return Inbox(
            web_port=web_port,
            refuse=frozenset({demo_cast.REFUSING}),
            greylist={demo_cast.GREYLISTING: 1},
            login=(demo_cast.USERNAME, demo_cast.PASSWORD),
        )
    except OSError as error:
        msg = f"the inbox cannot listen on port {web_port} ({error.strerror}); choose another --inbox-port"
        raise SandboxError(msg) from error


def _populate(connection: Connection, *, inbox: Inbox, box: SecretBox, rules: Rules) -> None:
    """Write the cast; rows that an earlier run left in a kept database are brought up to date."""
    _upsert(
        connection,
        customers,
        [
            {"id": one.id, "name": one.name, "locale": one.locale, "timezone": one.timezone}
            for one in demo_cast.COMPANIES
        ],
    )
    _upsert(
        connection,
        users,
        [
            {
                "id": one.id,
                "username": one.username,
                "role": one.role,
                "email": one.email,
                "is_active": one.is_active,
            }
            for one in demo_cast.PEOPLE
        ],
    )
    connection.execute(
        pg.insert(customer_users).on_conflict_do_nothing(),
        [{"customer_id": one.customer_id, "user_id": one.id} for one in demo_cast.PEOPLE],
    )
    for company in demo_cast.COMPANIES:
        server = SmtpChange(
            host=inbox.smtp_host,
            port=inbox.smtp_port,
            use_tls=False,
            username=demo_cast.USERNAME,
            password=demo_cast.PASSWORD,
            from_email=company.from_email,
        )
        smtp_configs.save(connection, company.id, server, box=box)
    preferences.save_many(connection, dict(enumerate(demo_cast.PREFERENCES, start=1)), rules=rules)


def _upsert(connection: Connection, table: sa.Table, rows: list[dict[str, object]]) -> None:
    statement = pg.insert(table)
    fresh = {name: statement.excluded[name] for name in rows[0] if name != "id"}
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=fresh), rows)
