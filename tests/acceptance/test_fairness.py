"""A customer's dead mail server delays that customer alone, however much waits for it (F35, F36).

The healthy customers' delays are compared with those of the same load without dead servers in the same run.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Self

import pytest

from tests.acceptance.scale import scaled, size
from tests.acceptance.world import failed_job
from tests.support.smtp_script import hang
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.world import Customer, WorkerProcess, World

pytestmark = pytest.mark.xdist_group("fairness")

HEALTHY = size(20, 50)
WAITING = 50_000  # mails of the dead customer
ROUNDS = 4  # events per healthy customer and measurement
PACE = 0.04  # seconds between two events
CAP = 4
ALL_HANG = 2.5  # seconds until threads that hang are stood in for: two looks of a second, and noise
MAILS_HANG = 15.0  # seconds: five until a mail is said to hang, two looks, and noise
NOISE = 1.0  # seconds of delay that a busy test machine makes by itself; a hanging connection costs ten
# Measurements until one is within its limit: what a dead server costs is there each time, noise is not.
LOOKS = 3


@contextlib.contextmanager
def dead_port() -> Iterator[int]:
    """A port on which a connect hangs: the listener's queue is full and nobody accepts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = int(listener.getsockname()[1])
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)  # noqa: FBT003 - the interface of socket
            filler.connect_ex(("127.0.0.1", port))
        yield port


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(500)
        yield int(listener.getsockname()[1])


def wait_many(world: World, customer: Customer, rows: int, event: str = "backlog") -> None:
    """Put that many due mails into the customer's lane, as if its server had been down for long."""
    world.database.execute(
        "WITH event AS (INSERT INTO job_events (customer_id, source, event_id, event_type, payload, payload_sha256,"
        " outcome) VALUES (%s, 'tests/backlog', %s, 'job_failed', %s, sha256(''), 'accepted') RETURNING id)"
        " INSERT INTO notification_events (job_event_id, customer_id, recipient_email, recipient_key, event_type, rule,"
        " subject, message_id, expires_at) SELECT id, %s, n || '@dead.example', n || '@dead.example', 'job_failed',"
        " 'role_default', 'waiting', '<' || n || '.' || %s || '@dead.example>', now() + interval '1 day'"
        " FROM event, generate_series(1, %s) AS n",
        (customer.id, event, failed_job(customer, 1).decode(), customer.id, f"{event}.{customer.id}", rows),
    )
    world.database.execute(
        "UPDATE delivery_lanes SET next_due_at = now() WHERE customer_id = %s", (customer.id,)
    )


class Watch:
    """Looks all the time at how many connections each server is being used by, over all workers."""

    def __init__(self, world: World, customers: list[Customer]) -> None:
        self.most: dict[int, int] = {}
        self._world = world
        self._ids = [customer.id for customer in customers]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _look(self) -> None:
        query = (
            "SELECT customer_id, count(DISTINCT lock_token) FROM notification_events"
            " WHERE lock_token IS NOT NULL AND customer_id = ANY(%s) GROUP BY 1"
        )
        with contextlib.closing(self._world.database.connect()) as connection, connection.cursor() as cursor:
            while not self._stopping.wait(0.1):
                cursor.execute(query, (self._ids,))
                for customer, count in cursor.fetchall():
                    self.most[customer] = max(count, self.most.get(customer, 0))


class Load:
    """Healthy customers whose jobs fail at a steady pace."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._customers = [world.customer() for _ in range(HEALTHY)]
        self._sent = 0

    def p95(self) -> float:
        """Let jobs fail, wait for their mails, return the 95th percentile of seconds from row to acceptance."""
        world, first = self._world, self._sent
        due = time.monotonic()
        for _ in range(ROUNDS):
            self._sent += 1
            for customer in self._customers:
                world.publish(failed_job(customer, self._sent))
                due += PACE
                threading.Event().wait(max(0.0, due - time.monotonic()))
        ids = [customer.id for customer in self._customers]
        query = (
            "SELECT extract(epoch FROM sent_at - created_at)::float8 FROM notification_events"
            " WHERE customer_id = ANY(%s) AND job_id > %s AND status = 'sent'"
        )

        def delays() -> list[float] | None:
            found = [row[0] for row in world.ask(query, (ids, first))]
            return found if len(found) == HEALTHY * ROUNDS else None

        found = wait_until(delays, 60, "the healthy customers' mails") or []
        return statistics.quantiles(found, n=20)[-1]

    def beside(self, limit: float) -> float:
        """Return the first measurement within the limit, else the last of three."""
        seen = self.p95()
        for _ in range(LOOKS - 1):
            if seen > limit:
                seen = self.p95()
        return seen


def _tells_of_one(worker: WorkerProcess) -> bool:
    told = json.loads(worker.get("/healthz")[1])["breakers_open"]
    return told == 1 and "notifier_breakers_open 1.0" in worker.get("/metrics")[1]


@scaled
def test_one_dead_customer_with_50_000_mails_delays_nobody_else(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    """F35: in full beside 50 healthy customers."""
    with dead_port() as port:
        dead = world.customer(port=port)
        world.worker(delivery__breaker_initial=5, delivery__breaker_max=30).ready()
        load = Load(world)
        load.p95()  # servers prove themselves, connections open
        baseline = load.p95()
        wait_many(world, dead, WAITING)
        # As if it had died just now: several connections may be tried, and hang.
        world.database.execute(
            "UPDATE smtp_breakers b SET proven = true FROM smtp_configs s"
            " WHERE s.id = b.server_id AND s.customer_id = %s",
            (dead.id,),
        )
        with Watch(world, [dead]) as watch:
            limit = max(1.5 * baseline, baseline + NOISE)
            beside = load.beside(limit)
        record_property(
            "p95", f"{baseline:.3f} s alone, {beside:.3f} s beside {WAITING} mails to a dead server"
        )
        record_property("connections", f"{watch.most[dead.id]} at most to the dead server")
        assert beside <= limit, (baseline, beside)
        assert 1 < watch.most[dead.id] <= CAP
        assert world.ask(
            "SELECT count(*), sum(attempts) FROM notification_events WHERE customer_id = %s", (dead.id,)
        ) == [(WAITING, 0)]
        world.workers[0].kill()


@scaled
def test_more_customers_without_a_living_server_than_senders_delay_the_others_little(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    """F36: in full beside 50 healthy customers."""
    with dead_port() as hanging, silent_port() as silent:
        dead = [world.customer(port=port) for port in [hanging] * 10 + [silent] * 10]
        world.worker(delivery__breaker_initial=5, delivery__breaker_max=30).ready()
        load = Load(world)
        load.p95()
        baseline = load.p95()
        for customer in dead:
            wait_many(world, customer, 200)
        with Watch(world, dead) as watch:
            limit = max(3 * baseline, baseline + NOISE)
            beside = load.beside(limit)
        record_property("p95", f"{baseline:.3f} s alone, {beside:.3f} s beside 20 dead servers")
        assert beside <= limit, (baseline, beside)
        assert max(watch.most.values()) == 1  # a server without a success is tried by one connection
        world.workers[0].kill()


def test_servers_that_die_together_while_they_are_in_use_delay_the_others_little(world: World) -> None:
    """All of them were proven, so several connections of each are tried at once and hang."""
    with dead_port() as hanging, silent_port() as silent:
        dead = [world.customer(port=port) for port in [hanging] * 10 + [silent] * 10]
        world.worker(delivery__breaker_initial=5, delivery__breaker_max=30).ready()
        load = Load(world)
        load.p95()
        baseline = load.p95()
        world.database.execute("UPDATE smtp_breakers SET proven = true")
        for customer in dead:
            wait_many(world, customer, 200)
        assert load.p95() <= max(3 * baseline, baseline + ALL_HANG), baseline
        world.workers[0].kill()


def test_servers_that_fall_silent_in_the_middle_of_mails_hold_up_the_others_for_seconds(world: World) -> None:
    """Their deadlines are minutes, and together they could have every sender wait."""
    silent = [world.customer(admins=20) for _ in range(3)]
    healthy = world.customer()
    world.worker().ready()
    for number, customer in enumerate([*silent, healthy], 1):
        world.publish(failed_job(customer, number))
    world.wait_settled(61)
    for customer in silent:
        customer.server.on("dot", hang())
    for number in range(10, 20):
        for customer in silent:
            world.publish(failed_job(customer, number))
    wait_until(lambda: sum(one.server.open_now for one in silent) >= 8, 30, "every sender to hang")
    began = time.monotonic()
    world.publish(failed_job(healthy, 20))
    world.wait_final(healthy, 2)
    assert time.monotonic() - began < MAILS_HANG
    world.workers[0].kill()


def test_two_workers_share_a_breaker_and_a_change_of_the_configuration_closes_it_at_once(
    world: World,
) -> None:
    customer = world.customer(port=1, admins=2)
    workers = [world.worker(delivery__breaker_initial=60, delivery__breaker_max=60) for _ in range(2)]
    for worker in workers:
        worker.ready()
    world.fail_job(customer, 1)

    state = "SELECT breaker, pending, last_error FROM v_customer_delivery_health"
    wait_until(lambda: world.ask(state)[0][0] == "open", 60, "the breaker to open")
    world.fail_job(customer, 2)
    (row,) = world.ask(state)
    assert "could not be reached" in row[2]
    for worker in workers:
        wait_until(partial(_tells_of_one, worker), 60, "both pages to tell of the breaker")
    faults = [line for worker in workers for line in worker.lines() if line["event"] == "mail_pending"]
    assert len(faults) <= 3 * 4  # three counts open it for both, whoever met them

    world.database.execute("UPDATE smtp_configs SET port = %s", (customer.server.port,))
    began = time.monotonic()
    rows = world.wait_final(customer, 4)
    assert time.monotonic() - began < 10
    assert {(row["status"], row["attempts"]) for row in rows} == {("sent", 1)}
    assert world.ask("SELECT breaker, last_error FROM v_customer_delivery_health") == [("closed", None)]
    assert not world.verdict().violations
