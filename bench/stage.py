"""What every measurement needs: a broker, a database, people, workers, events; all private, all real.

PostgreSQL runs as in production (fsync, full page writes) with pg_stat_statements; workers are `notifier run` with the
default configuration, except for addresses, and loopback allowed for the sink.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pika
import psutil
import psycopg2

from notifier import resources
from notifier.broker import topology as broker_topology
from notifier.broker.topology import Topology
from notifier.sandbox import postgres, rabbitmq
from tests.services import Database, fresh_database, schema_template

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RECIPIENTS = 3  # per event: one admin by role default, two operators by preference
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_STATEMENTS = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements"


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The broker and the cluster of one run."""

    amqp_url: str
    admin_url: str
    template: str
    told: str

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """Give one measurement a database of its own, with the schema."""
        with fresh_database(self.admin_url, self.template) as database:
            database.execute(_STATEMENTS)
            yield database


@contextlib.contextmanager
def services() -> Iterator[Services]:
    """Start what a run needs; everything is gone afterwards."""
    with contextlib.ExitStack() as stack:
        cluster = postgres.private(durable=True)
        stack.callback(cluster.close)
        with contextlib.closing(psycopg2.connect(cluster.url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        cluster.stop()
        cluster.start()
        node = rabbitmq.obtain(apt_install=True, say=lambda text: print(text, file=sys.stderr))
        stack.callback(node.close)
        template = stack.enter_context(schema_template(cluster.url))
        yield Services(
            amqp_url=node.url,
            admin_url=cluster.url,
            template=template,
            told=f"{cluster.source}; {node.source}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Customer:
    """A customer and who gets its failed jobs."""

    id: int
    recipients: frozenset[str]


def people(database: Database, *, ports: Sequence[int], customers: int, users: int) -> list[Customer]:
    """Make customers with a mail server each, on these ports in turn, and `users` users each.

    Of the users one is an admin (told by the role's default), two are operators with a preference, the others viewers.
    """
    database.execute(
        "INSERT INTO customers (name) SELECT 'Customer ' || n FROM generate_series(1, %s) AS n", (customers,)
    )
    database.execute(
        "INSERT INTO smtp_configs (customer_id, host, port, use_tls, from_email)"
        " SELECT id, '127.0.0.1', (%s::int[])[1 + id %% %s], false, 'webnet@sender.example' FROM customers",
        (list(ports), len(ports)),
    )
    database.execute(
        "WITH made AS (INSERT INTO users (username, email, role)"
        " SELECT 'u' || c.id || '-' || n, 'u' || c.id || '-' || n || '@reader.example',"
        "   CASE n WHEN 1 THEN 'admin' WHEN 2 THEN 'operator' WHEN 3 THEN 'operator' ELSE 'viewer' END"
        " FROM customers c, generate_series(1, %s) AS n RETURNING id, username)"
        " INSERT INTO customer_users (customer_id, user_id)"
        " SELECT substring(username FROM 'u([0-9]+)-')::bigint, id FROM made",
        (users,),
    )
    database.execute(
        "INSERT INTO notification_preferences (user_id, customer_id, event_type, enabled)"
        " SELECT a.user_id, a.customer_id, 'job_failed', true FROM customer_users a WHERE a.role = 'operator'"
    )
    database.execute("ANALYZE")
    return [
        Customer(
            id=int(str(customer_id)),
            recipients=frozenset(f"u{customer_id}-{n}@reader.example" for n in range(1, RECIPIENTS + 1)),
        )
        for (customer_id,) in database.rows("SELECT id FROM customers ORDER BY id")
    ]


def event(customer: Customer, number: int) -> bytes:
    """Return the shipped sample of a failed job as an event of this customer with a number of its own."""
    sample: dict[str, Any] = json.loads(resources.path("docs/events/job_failed.json").read_text("utf-8"))
    sample["id"] = f"bench-{number}"
    sample["data"]["customer_id"] = customer.id
    sample["data"]["job"]["id"] = number
    return json.dumps(sample).encode()


def check_mails(folder: Path, customers: Sequence[Customer]) -> int:
    """Check the mails kept from one event of each customer; return their mean size. Raises RuntimeError."""
    sizes, expected = [], {to for customer in customers for to in customer.recipients}
    for path in folder.glob("*.eml"):
        raw = path.read_bytes()
        mail = message_from_bytes(raw, policy=policy.default)
        text, html = (str(part.get_content()) for part in mail.iter_parts())
        number = str(mail["X-Webnet-Job"])
        told = all(f"#{number}" in part and "SSH login to edge-01 timed out" in part for part in (text, html))
        if (
            mail["To"] not in expected
            or not told
            or "</html>" not in html
            or f"#{number}" not in mail["Subject"]
        ):
            raise RuntimeError(f"not the mail it should be:\n{raw[:2000].decode('utf-8', 'replace')}")
        expected.remove(str(mail["To"]))
        sizes.append(len(raw))
    if expected:
        raise RuntimeError(f"{len(expected)} mails did not come, such as the one to {min(expected)}")
    return round(sum(sizes) / len(sizes))


class Worker:
    """A worker process under measurement."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "notifier", "run"],
                env=environ,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        self._measured = psutil.Process(self._process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until it consumes."""
        ends = time.monotonic() + _START_SECONDS
        while time.monotonic() < ends:
            if self._process.poll() is not None:
                raise RuntimeError(self._log.read_text()[-3000:])
            port = self._health_port()
            if port is not None:
                with (
                    contextlib.suppress(OSError),
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer,
                ):
                    if answer.status == 200:  # noqa: PLR2004 - HTTP's OK
                        return
            time.sleep(0.05)
        raise RuntimeError("the worker was not ready in time:\n" + self._log.read_text()[-3000:])

    def _health_port(self) -> int | None:
        for line in self._log.read_text(errors="replace").splitlines():
            if '"worker_started"' in line:
                return int(json.loads(line)["health_port"])
        return None

    def cpu(self) -> float:
        """Return the CPU seconds (user and system) it has used, with its children."""
        times = self._measured.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)

    def memory(self) -> float:
        """Return its memory in MiB: PSS, where pages shared with others count in parts."""
        return float(self._measured.memory_full_info().pss) / 2**20

    def end(self) -> None:
        """SIGTERM, and wait."""
        self._process.terminate()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(kw_only=True, slots=True)
class Scene:
    """One measurement's database, broker objects and running workers. looks: queries of the last `wait_sent`."""

    database: Database
    publisher: pika.BlockingConnection
    topology: Topology
    workers: tuple[Worker, ...]
    looks: int = 0

    def publish(self, bodies: Sequence[bytes], *, pace: float | None = None) -> list[float]:
        """Publish events, at `pace` a second if given; return the time of day before each.

        Without confirms, which would make the publisher the measure: one that got lost shows when the rows are checked.
        The connection stays open: a quorum queue forgets what a channel that closes has not handed over to it.
        """
        channel = self.publisher.channel()
        properties = pika.BasicProperties(content_type="application/cloudevents+json", delivery_mode=2)
        times = []
        began = time.monotonic()
        for number, body in enumerate(bodies):
            if pace is not None:
                time.sleep(max(0.0, began + number / pace - time.monotonic()))
            times.append(time.time())
            channel.basic_publish(self.topology.exchange, "job_failed", body, properties)
        return times

    def wait_sent(self, first: int, mails: int, seconds: float = 300.0) -> None:
        """Wait until so many mails about jobs from number `first` on are sent. Raises RuntimeError after so long."""
        ends = time.monotonic() + seconds
        self.looks = 0
        with contextlib.closing(self.database.connect()) as connection, connection.cursor() as cursor:
            while time.monotonic() < ends:
                time.sleep(_LOOK_SECONDS)
                self.looks += 1
                # The pending ones have an index of their own: cheap, however long the log is.
                cursor.execute("SELECT count(*) FROM notification_events WHERE status = 'pending'")
                if cursor.fetchone() == (0,):
                    self.looks += 1
                    cursor.execute(
                        "SELECT count(*) FROM notification_events WHERE status = 'sent' AND job_id >= %s",
                        (first,),
                    )
                    if cursor.fetchone() == (mails,):
                        return
        raise RuntimeError(f"not all of {mails} mails were sent in {seconds:g} s:\n{self._unsent()}")

    def _unsent(self) -> str:
        rows = self.database.rows(
            "SELECT status, failure_reason, error_message, attempts, count(*) FROM notification_events"
            " WHERE status <> 'sent' GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT 5"
        )
        return "\n".join(map(str, rows)) or "no row but sent ones"

    def took(self, since: float) -> float:
        """Return the seconds from a time of day to the last row that was sent."""
        ((last,),) = self.database.rows(
            "SELECT extract(epoch FROM max(sent_at))::float8 FROM notification_events"
        )
        return float(str(last)) - since

    def check(self, customers: Sequence[Customer], numbers: Sequence[int]) -> None:
        """Raise RuntimeError unless the rows of these events are exactly the expected ones, each sent at once."""
        rows = self.database.rows(
            "SELECT n.job_id, n.customer_id, array_agg(n.recipient_email ORDER BY n.recipient_email),"
            " bool_and(n.status = 'sent' AND n.attempts = 1 AND n.ambiguous_count = 0 AND n.smtp_code = 250"
            " AND n.sent_at IS NOT NULL AND n.lock_token IS NULL)"
            " FROM notification_events n WHERE n.job_id = ANY(%s) GROUP BY 1, 2 ORDER BY 1",
            (list(numbers),),
        )
        expected = [
            (number, customer.id, sorted(customer.recipients), True)
            for number, customer in sorted(zip(numbers, customers, strict=True), key=lambda pair: pair[0])
        ]
        if [tuple(row) for row in rows] != expected:
            raise RuntimeError(
                f"the rows are not the expected ones: {rows[:3]} … instead of {expected[:3]} …"
            )


@contextlib.contextmanager
def scene(given: Services, database: Database, *, workers: int, **settings: object) -> Iterator[Scene]:
    """Start workers on a database; settings are written section__key=value."""
    mark = f"bench-{uuid4().hex[:8]}"
    topology = Topology(
        exchange=f"{mark}.events",
        queue=f"{mark}.queue",
        binding_keys=("#",),
        dead_letter_exchange=f"{mark}.dlx",
        dead_letter_queue=f"{mark}.dead",
        declare=True,
    )
    chosen = {
        "rabbitmq__url": given.amqp_url,
        "rabbitmq__exchange": topology.exchange,
        "rabbitmq__queue": topology.queue,
        "rabbitmq__dead_letter_exchange": topology.dead_letter_exchange,
        "rabbitmq__dead_letter_queue": topology.dead_letter_queue,
        "database__url": database.url,
        "delivery__denied_networks": "[]",
        "health__port": "0",
        "logging__format": "json",
        **settings,
    }
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("NOTIFIER_", "EMAIL_"))
    }
    environ |= {f"NOTIFIER_{name.upper()}": str(value) for name, value in chosen.items()}
    broker_topology.ensure(given.amqp_url, topology)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="notifier-bench-")))
        stack.callback(_delete, given.amqp_url, topology)
        running = []
        for number in range(workers):
            running.append(Worker(environ, folder / f"worker-{number}.log"))
            stack.callback(running[-1].end)
        for worker in running:
            worker.wait_ready()
        publisher = pika.BlockingConnection(pika.URLParameters(f"{given.amqp_url}?heartbeat=0"))
        stack.callback(publisher.close)
        yield Scene(database=database, publisher=publisher, topology=topology, workers=tuple(running))


def _delete(url: str, topology: Topology) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for queue in (topology.queue, topology.dead_letter_queue):
        channel.queue_delete(queue)
    for exchange in (topology.exchange, topology.dead_letter_exchange):
        channel.exchange_delete(exchange)
    connection.close()
