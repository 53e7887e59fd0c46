"""One test's world: database, broker objects, SMTP servers, worker processes, and the record of what happened."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pika
import psycopg2

from notifier.broker.connection import close_connection, open_connection, parameters
from notifier.broker.publisher import Publisher
from notifier.broker.topology import Topology
from notifier.encryption import SecretBox, generate_key
from tests.acceptance.judgement import Expected, History, Row, Verdict, judge
from tests.acceptance.scale import size
from tests.support.smtp_server import Options, SmtpServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pika import BasicProperties
    from psycopg2.extensions import connection as PgConnection  # noqa: N812 - a class in lower case

    from tests.services import Database

READY_SECONDS = 60.0
_TOLD = ("status", "failure_reason", "attempts", "ambiguous_count", "error_message")


class WorkerProcess:
    """A real `notifier run`, its log in a file."""

    def __init__(self, environ: Mapping[str, str], log: Path, *, prefix: tuple[str, ...] = ()) -> None:
        self.log = log
        self._stream = log.open("wb")
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-W", "error::ResourceWarning", "-m", "notifier", "run"],
            env=dict(environ),
            cwd=log.parent,
            stdout=self._stream,
            stderr=subprocess.STDOUT,
        )

    @property
    def health(self) -> str:
        """The address of the health pages, from the log: the port was chosen by the system."""
        for line in self.lines():
            if line.get("event") == "worker_started":
                return f"http://127.0.0.1:{line['health_port']}"
        self.check_alive()
        raise AssertionError("the worker has not started yet")

    def lines(self) -> list[dict[str, Any]]:
        """Return the log as data."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict)]

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of a health page."""
        try:
            with urllib.request.urlopen(self.health + path, timeout=5) as answer:  # noqa: S310 - loopback
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def check_alive(self) -> None:
        """Fail with the log when the process has ended."""
        if self.process.poll() is not None:
            text = self.log.read_text(errors="replace")[-4000:]
            msg = f"the worker ended with {self.process.returncode}:\n{text}"
            raise RuntimeError(msg)

    def ready(self, seconds: float = READY_SECONDS) -> WorkerProcess:
        """Wait until it consumes."""
        wait_until(lambda: self.get("/readyz")[0] == 200, seconds, "the worker to be ready")
        return self

    def terminate(self, seconds: float = 40.0) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = 40.0) -> int:
        """Wait for the end by itself."""
        try:
            return self.process.wait(seconds)
        finally:
            self._stream.close()

    def kill(self) -> None:
        """SIGKILL."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()


@dataclass(frozen=True, kw_only=True)
class Customer:
    """A customer of the test with its own SMTP server."""

    id: int
    server: SmtpServer


def event_id(number: int) -> str:
    """Return the identity of the event that job `number` failed."""
    return f"job-{number}-failed"


def failed_job(customer: Customer, number: int, **job: object) -> bytes:
    """Return the event that job `number` failed, as it is published."""
    event = {
        "specversion": "1.0",
        "id": event_id(number),
        "source": "tests/jobs",
        "type": "job_failed",
        "time": "2026-11-23T04:31:07Z",
        "data": {
            "customer_id": customer.id,
            "job": {"id": number, "type": "config_backup", "status": "failed", **job},
        },
    }
    return json.dumps(event).encode()


class World:
    """Made by the `world` fixture; everything in it is this test's own."""

    def __init__(
        self, *, database: Database, amqp_url: str, folder: Path, stack: contextlib.ExitStack
    ) -> None:
        mark = f"acc-{uuid4().hex[:10]}"
        self.database = database
        self.amqp_url = amqp_url
        self.folder = folder
        self.topology = Topology(
            exchange=f"{mark}.events",
            queue=f"{mark}.queue",
            binding_keys=("#",),
            dead_letter_exchange=f"{mark}.dlx",
            dead_letter_queue=f"{mark}.dead",
            declare=True,
        )
        self.key = generate_key()
        self.events: list[Expected] = []
        self.servers: list[SmtpServer] = []
        self.workers: list[WorkerProcess] = []
        self.settings: dict[str, str] = {}
        self._stack = stack
        self._publisher = stack.enter_context(self.publisher())
        self._users = 0
        self._kept: PgConnection | None = None

    # -- people and servers --------------------------------------------------------------------------------------

    def smtp(self, options: Options | None = None) -> SmtpServer:
        """Start an SMTP server."""
        server = self._stack.enter_context(SmtpServer(options))
        self.servers.append(server)
        return server

    def customer(
        self,
        server: SmtpServer | None = None,
        *,
        admins: int = 1,
        username: str | None = None,
        password: str | None = None,
        host: str = "127.0.0.1",
        port: int | None = None,
        use_tls: bool = False,
        use_ssl: bool = False,
        ca_certificate: str | None = None,
    ) -> Customer:
        """Add a customer with that many admins, who get its failed jobs, and its own server."""
        server = server or self.smtp()
        (row,) = self.database.rows(
            "INSERT INTO customers (name) VALUES (%s) RETURNING id", (f"Customer {uuid4().hex}",)
        )
        customer_id = int(str(row[0]))
        secret = None
        if password is not None:
            secret = SecretBox([self.key]).encrypt(customer_id=customer_id, host=host, password=password)
        self.database.execute(
            "INSERT INTO smtp_configs (customer_id, host, port, use_tls, use_ssl, username, password, from_email,"
            " ca_certificate) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                customer_id,
                host,
                port or server.port,
                use_tls,
                use_ssl,
                username,
                secret,
                "jobs@sender.example",
                ca_certificate,
            ),
        )
        self.users(customer_id, admins)
        return Customer(id=customer_id, server=server)

    def users(self, customer_id: int, count: int, *, role: str = "admin") -> None:
        """Add many users with access."""
        first, self._users = self._users + 1, self._users + count
        self.database.execute(
            "WITH made AS (INSERT INTO users (username, email, role)"
            " SELECT 'user' || n, 'user' || n || '@reader.example', %s FROM generate_series(%s, %s) AS n RETURNING id)"
            " INSERT INTO customer_users (customer_id, user_id) SELECT %s, id FROM made",
            (role, first, self._users, customer_id),
        )

    def user(self, customer_id: int, *, role: str = "admin", email: str | None = None) -> str:
        """Add a user with access; returns the address."""
        self._users += 1
        address = email or f"user{self._users}@reader.example"
        (row,) = self.database.rows(
            "INSERT INTO users (username, email, role) VALUES (%s, %s, %s) RETURNING id",
            (f"user{self._users}", address, role),
        )
        self.database.execute("INSERT INTO customer_users VALUES (%s, %s)", (customer_id, row[0]))
        return address

    def admins(self, customer_id: int) -> frozenset[str]:
        """Return the addresses of the customer's admins."""
        rows = self.ask(
            "SELECT email FROM users JOIN customer_users a ON a.user_id = users.id"
            " WHERE a.customer_id = %s AND users.role = 'admin'",
            (customer_id,),
        )
        return frozenset(str(row[0]) for row in rows)

    # -- events --------------------------------------------------------------------------------------------------

    def fail_job(self, customer: Customer, number: int, *, copies: int = 1, **job: object) -> str:
        """Publish that job `number` failed, and expect a row per admin; returns the event's id."""
        expected = Expected(
            customer_id=customer.id, event_id=event_id(number), recipients=self.admins(customer.id)
        )
        for _ in range(copies):
            self.publish(failed_job(customer, number, **job))
        self.events.append(expected)
        return expected.event_id

    def expect(
        self,
        customer: Customer,
        event: str,
        recipients: frozenset[str] | None = None,
        *,
        source: str = "tests/jobs",
    ) -> None:
        """Note that a published event must make a row for each of these, of the customer's admins if not told."""
        chosen = self.admins(customer.id) if recipients is None else recipients
        self.events.append(
            Expected(customer_id=customer.id, event_id=event, recipients=chosen, source=source)
        )

    def publisher(self) -> Publisher:
        """Return another publisher, which outlasts a broker that is down for a while; for one thread."""
        return Publisher(self.amqp_url, exchange=self.topology.exchange, patience=size(90.0, 900.0))

    def publish(self, body: bytes, *, routing_key: str = "job_failed") -> None:
        """Publish any body, confirmed."""
        self._publisher.publish(body, routing_key=routing_key)

    def publish_as(
        self, body: bytes, properties: BasicProperties, *, routing_key: str = "job_failed"
    ) -> None:
        """Publish any body with any properties, confirmed."""
        self._publisher.send(
            body, exchange=self.topology.exchange, routing_key=routing_key, properties=properties
        )

    # -- workers -------------------------------------------------------------------------------------------------

    def environ(self, **settings: object) -> dict[str, str]:
        """Return the environment of a worker: short retry times, loopback allowed, overridden by `settings`.

        A setting is written section__key=value.
        """
        chosen: dict[str, object] = {
            "rabbitmq__url": self.amqp_url,
            "rabbitmq__exchange": self.topology.exchange,
            "rabbitmq__queue": self.topology.queue,
            "rabbitmq__dead_letter_exchange": self.topology.dead_letter_exchange,
            "rabbitmq__dead_letter_queue": self.topology.dead_letter_queue,
            "database__url": self.database.url,
            "delivery__denied_networks": "[]",
            "delivery__backoff_initial": "0.3",
            "delivery__backoff_max": "2",
            "delivery__greylist_delay": "0.3",
            "delivery__ambiguous_delay": "0.3",
            "delivery__breaker_initial": "0.5",
            "delivery__breaker_max": "2",
            "delivery__breaker_config_initial": "2",
            "delivery__breaker_config_max": "4",
            "health__port": "0",
            "security__encryption_keys": json.dumps([self.key]),
            "logging__format": "json",
            **self.settings,
            **settings,
        }
        inherited = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ
        }
        own = {f"NOTIFIER_{name.upper()}": str(value) for name, value in chosen.items() if value is not None}
        return {**inherited, **own, "PYTHONFAULTHANDLER": "1"}

    def command(self, *arguments: str, stdin: str | None = None) -> str:
        """Run `notifier` with these arguments and the workers' configuration; return what it printed."""
        done = self.tried(*arguments, stdin=stdin)
        assert done.returncode == 0, done
        return done.stdout

    def tried(
        self, *arguments: str, stdin: str | None = None, **settings: object
    ) -> subprocess.CompletedProcess[str]:
        """Run `notifier`, however it may end; `settings` as for a worker."""
        return subprocess.run(
            [sys.executable, "-m", "notifier", *arguments],
            env=self.environ(**settings),
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def worker(
        self,
        *,
        crashpoint: str | None = None,
        variables: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        **settings: object,
    ) -> WorkerProcess:
        """Start a worker that may die at `crashpoint`. variables: more environment. prefix: a command before it."""
        environ = self.environ(**settings) | dict(variables or {})
        if crashpoint is not None:
            environ["NOTIFIER_CRASHPOINT"] = crashpoint
        process = WorkerProcess(environ, self.folder / f"worker-{len(self.workers)}.log", prefix=prefix)
        self.workers.append(process)
        return process

    # -- what happened -------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Return the event log."""
        found = self.ask(
            "SELECT n.customer_id, j.event_id, n.recipient_email, n.generation, n.status, n.failure_reason,"
            " n.ambiguous_count, n.attempts, n.message_id, j.source FROM notification_events n"
            " JOIN job_events j ON j.id = n.job_event_id ORDER BY n.id"
        )
        names = [field.name for field in fields(Row)]
        columns: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in found]
        return [Row(**column) for column in columns]

    def log(self, customer: Customer) -> list[dict[str, Any]]:
        """Return the customer's rows of the event log with every column, the oldest first."""
        query = "SELECT to_jsonb(n) FROM notification_events n WHERE customer_id = %s ORDER BY id"
        return [cast("dict[str, Any]", row[0]) for row in self.ask(query, (customer.id,))]

    def ask(self, query: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query over a connection that is kept, for those who ask often."""
        if self._kept is None or self._kept.closed:
            self._kept = self.database.connect()
        try:
            with self._kept.cursor() as cursor:
                cursor.execute(query, parameters)
                return list(cursor.fetchall())
        except psycopg2.OperationalError as error:  # the database went away
            self._kept.close()
            raise ConnectionError(str(error)) from error

    def forget_connection(self) -> None:
        """Close the connection that is kept."""
        if self._kept is not None:
            self._kept.close()

    def wait_log(
        self, customer: Customer, condition: Callable[[list[dict[str, Any]]], bool], seconds: float = 60.0
    ) -> list[dict[str, Any]]:
        """Wait until the customer's rows are as wanted; return them."""

        def wanted() -> list[dict[str, Any]]:
            rows = self.log(customer)
            seen = [{key: row[key] for key in _TOLD} for row in rows[:20]]
            assert condition(rows), f"{len(rows)} rows: {seen}"
            return rows

        return wait_until(wanted, seconds, f"the rows of customer {customer.id}")

    def wait_final(self, customer: Customer, count: int, seconds: float = 60.0) -> list[dict[str, Any]]:
        """Wait until the customer has that many rows and none is pending; return them."""
        return self.wait_log(
            customer, lambda rows: len(rows) == count and all(r["status"] != "pending" for r in rows), seconds
        )

    def wait_settled(self, count: int, seconds: float = 60.0) -> list[Row]:
        """Wait until there are that many rows and none is pending."""
        query = "SELECT count(*), count(*) FILTER (WHERE status = 'pending') FROM notification_events"

        def settled() -> bool:
            found = self.ask(query)[0]
            assert found == (count, 0), found
            return True

        wait_until(settled, seconds, f"{count} rows to be final")
        return self.rows()

    def accepted(self) -> Counter[str]:
        """Return how often each Message-ID was accepted by any server."""
        return sum((server.accepted() for server in self.servers), Counter())

    def let_leases_end(self) -> None:
        """Put the leases of all rows in hand into the past, as if that much time had gone by."""
        self.database.execute(
            "UPDATE notification_events SET lease_until = now() - interval '1 second' WHERE lock_token IS NOT NULL"
        )

    def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        connection = open_connection(parameters(self.amqp_url, heartbeat=30, name="tests"))
        try:
            count: int = connection.channel().queue_declare(queue, passive=True).method.message_count
        finally:
            close_connection(connection)
        return count

    def wait_depth(self, queue: str, count: int, seconds: float = 15.0) -> None:
        """Wait until so many messages wait in a queue; what was given back or dead-lettered takes its time."""

        def there() -> bool:
            found = self.depth(queue)
            assert found == count, f"{found} messages"
            return True

        wait_until(there, seconds, f"{count} messages in {queue}")

    def verdict(self, *, dead_expected: int = 0, max_ambiguous: int = 2) -> Verdict:
        """Judge everything that happened."""
        with contextlib.suppress(AssertionError):  # the verdict tells it better
            self.wait_depth(self.topology.dead_letter_queue, dead_expected)
        return judge(
            History(
                events=self.events,
                rows=self.rows(),
                accepted=self.accepted(),
                queued=self.depth(self.topology.queue),
                dead=self.depth(self.topology.dead_letter_queue),
                dead_expected=dead_expected,
                max_ambiguous=max_ambiguous,
            )
        )

    def close(self) -> None:
        """End every worker and delete the broker objects."""
        self.forget_connection()
        for worker in self.workers:
            worker.kill()
        _delete(self.amqp_url, self.topology)


def _delete(url: str, topology: Topology) -> None:
    with contextlib.suppress(Exception):  # a test that killed its broker takes its objects with it
        connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = connection.channel()
        for queue in (topology.queue, topology.dead_letter_queue):
            channel.queue_delete(queue)
        for exchange in (topology.exchange, topology.dead_letter_exchange):
            channel.exchange_delete(exchange)
        connection.close()


@contextlib.contextmanager
def world(database: Database, amqp_url: str, folder: Path) -> Iterator[World]:
    """Give a test its world, and clean up."""
    with contextlib.ExitStack() as stack:
        made = World(database=database, amqp_url=amqp_url, folder=folder, stack=stack)
        from notifier.broker import topology  # noqa: PLC0415 - only here

        topology.ensure(amqp_url, made.topology)
        try:
            yield made
        finally:
            made.close()
