"""What grows must cost nothing: the log, the users of a customer, the customers that wait."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from bench import sink, stage
from bench.measuring import Figure, at_least, at_most, median, plain
from bench.stage import RECIPIENTS
from bench.throughput import CUSTOMERS, USERS
from notifier import log, wiring
from notifier.broker.messages import BrokerMessage
from notifier.config import load
from notifier.crashpoints import Crashpoint
from notifier.intake import Intake
from notifier.message_ids import new_uuid
from notifier.metrics import Metrics
from notifier.planning import Planner
from notifier.rendering.renderer import Renderer
from notifier.store import claims
from notifier.store.engine import make_engine
from notifier.tracing import Tracer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Scene, Services
    from tests.services import Database

LOG_ROWS = (1_000, 100_000, 2_000_000)
USERS_OF_ONE = (10, 1_000, 20_000)
CUSTOMERS_DUE = 3_000
_BATCH = 50  # events of an intake transaction, as many as the worker takes at most by default
_CLAIMS = 200

_OLD_EVENTS = """
INSERT INTO job_events (customer_id, source, event_id, event_type, payload, payload_sha256, received_at, outcome,
    decisions)
SELECT 1 + n %% %s, 'bench/old', 'old-' || n, 'job_failed', '{"data": {}}'::jsonb,
    sha256(n::text::bytea), now() - n * interval '1 second', 'accepted', '{}'::jsonb
FROM generate_series(1, %s) AS n
"""
_OLD_MAILS = """
INSERT INTO notification_events (job_event_id, customer_id, user_id, recipient_email, recipient_key, event_type, rule,
    subject, status, job_id, message_id, attempts, expires_at, created_at, sent_at, finished_at, smtp_code)
SELECT e.id, e.customer_id, m, 'u' || m || '@reader.example', 'u' || m || '@reader.example', 'job_failed',
    'role_default', '[Failed] Config backup', 'sent', 1000000 + e.id,
    '<old-' || e.id || '-' || m || '@sender.example>', 1,
    e.received_at + interval '1 day', e.received_at, e.received_at, e.received_at, 250
FROM job_events e CROSS JOIN generate_series(1, 3) AS m WHERE e.source = 'bench/old'
"""


# -- the log ---------------------------------------------------------------------------------------------------------


def log_growth(services: Services, *, rounds: int, events: int) -> list[Figure]:
    """Return throughput with ever more rows in the log, the logs in turn."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(sink.start())
        found: dict[int, list[float]] = {}
        scenes = {}
        for rows in LOG_ROWS:
            database = stack.enter_context(services.database())
            customers = stage.people(database, ports=[target.port], customers=CUSTOMERS, users=USERS)
            database.execute(_OLD_EVENTS, (CUSTOMERS, rows // RECIPIENTS))
            database.execute(_OLD_MAILS)
            database.execute("VACUUM ANALYZE")
            scenes[rows] = (database, customers)
            found[rows] = []
        for turn in range(rounds):
            for rows, (database, customers) in scenes.items():
                with stage.scene(services, database, workers=1) as scene:
                    found[rows].append(_rate(scene, customers, 10_000_000 + turn * 2 * events, events))
    rates = {rows: median(rates) for rows, rates in found.items()}
    return [
        *(
            plain(f"throughput with {rows:,} rows in the log", rate, "mails/s")
            for rows, rate in rates.items()
        ),
        at_least("throughput, longest log of shortest", rates[LOG_ROWS[-1]] / rates[LOG_ROWS[0]], 0.9),
    ]


def _rate(scene: Scene, customers: list[stage.Customer], first: int, events: int) -> float:
    """Return mails per second, after as many events that warm the caches."""
    seconds = 0.0
    for start in (first, first + events):
        chosen = [customers[n % CUSTOMERS] for n in range(events)]
        numbers = range(start, start + events)
        began = scene.publish([stage.event(c, n) for c, n in zip(chosen, numbers, strict=True)])[0]
        scene.wait_sent(start, events * RECIPIENTS)
        scene.check(chosen, numbers)
        seconds = scene.took(began)
    return events * RECIPIENTS / seconds


# -- users -------------------------------------------------------------------------------------------------------------


def user_growth(services: Services, *, rounds: int) -> list[Figure]:
    """Return the wall time of the intake per event of a customer with ever more users, the customers in turn."""
    found: dict[int, list[float]] = {users: [] for users in USERS_OF_ONE}
    with contextlib.ExitStack() as stack:
        intakes = {}
        for users in USERS_OF_ONE:
            database = stack.enter_context(services.database())
            (customer,) = stage.people(database, ports=[2525], customers=1, users=users)
            intakes[users] = (stack.enter_context(_intake(database)), customer)
        for turn in range(rounds * 4):
            for users, (intake, customer) in intakes.items():
                first = turn * _BATCH + 1
                batch = [
                    BrokerMessage(body=stage.event(customer, n), redelivered=False, routing_key="job_failed")
                    for n in range(first, first + _BATCH)
                ]
                began = time.monotonic()
                intake.handle(batch)
                if turn:  # the first one warms
                    found[users].append((time.monotonic() - began) / _BATCH * 1000)
    per_event = {users: median(times) for users, times in found.items()}
    return [
        *(
            plain(f"intake per event, customer of {users:,} users", ms, "ms")
            for users, ms in per_event.items()
        ),
        at_most(
            "intake, largest customer of smallest",
            per_event[USERS_OF_ONE[-1]] / per_event[USERS_OF_ONE[0]],
            1.5,
        ),
    ]


@contextlib.contextmanager
def _intake(database: Database) -> Iterator[Intake]:
    """Give the worker's intake, without a worker around it; it logs as a worker does, to nowhere."""
    settings = load(Path("config.toml"), {})
    renderer = Renderer(settings.templates.folder(), wiring.site(settings))
    engine = make_engine(_driver(database.url), application="notifier bench")
    try:
        with Path(os.devnull).open("w") as nowhere:
            log.configure("info", "json", stream=nowhere)
            intake = Intake(
                engine=engine,
                planner=Planner(
                    rules=wiring.planning_rules(settings), subject=renderer.subject, new_uuid=new_uuid
                ),
                max_event_bytes=settings.rabbitmq.max_event_bytes,
                on_new_mails=lambda: None,
                metrics=Metrics(version="bench"),
                tracer=Tracer(),
                crashpoint=Crashpoint(None),
            )
            with contextlib.closing(intake):
                yield intake
    finally:
        renderer.close()
        engine.dispose()


def _driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)


# -- customers that wait -----------------------------------------------------------------------------------------------


def claim_growth(services: Services) -> list[Figure]:
    """Return the wall time of a claim with one customer due and with thousands, in turn."""
    found: dict[int, list[float]] = {1: [], CUSTOMERS_DUE: []}
    with contextlib.ExitStack() as stack:
        connections = {}
        for customers in found:
            database = stack.enter_context(services.database())
            made = stage.people(database, ports=[2525], customers=customers, users=RECIPIENTS)
            with _intake(database) as intake:
                events = max(_CLAIMS * 16 // (customers * RECIPIENTS), 1) if customers == 1 else 1
                bodies = [stage.event(customer, n) for n in range(1, events + 1) for customer in made]
                for first in range(0, len(bodies), _BATCH):
                    intake.handle(
                        [
                            BrokerMessage(body=body, redelivered=False)
                            for body in bodies[first : first + _BATCH]
                        ]
                    )
            database.execute("UPDATE smtp_breakers SET proven = true")
            database.execute("VACUUM ANALYZE")
            engine = make_engine(_driver(database.url), application="notifier bench")
            stack.callback(engine.dispose)
            autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
            connections[customers] = stack.enter_context(contextlib.closing(autocommit.connect()))
        for _ in range(_CLAIMS):
            for customers, connection in connections.items():
                token = uuid4()
                began = time.monotonic()
                batch = claims.claim(
                    connection,
                    token=token,
                    worker="bench",
                    lease=480.0,
                    limit=RECIPIENTS,
                    connections=4,
                    unproven=True,
                    alone=False,
                    slow="{}",
                )
                found[customers].append((time.monotonic() - began) * 1000)
                if batch is None:
                    raise RuntimeError("nothing was due")
                claims.release(connection, token=token)
    one, many = median(found[1]), median(found[CUSTOMERS_DUE])
    return [
        plain("claim of 3 mails, 1 customer due", one, "ms"),
        plain(f"claim of 3 mails, {CUSTOMERS_DUE:,} customers due", many, "ms"),
        at_most("claim, many customers of one", many / one, 2),
    ]
