"""A long run under random faults: `python -m tests.soak --minutes 10 --seed 1`.

Three workers take 20 events a second from a private broker into a private database and send to scripted SMTP servers,
while a nemesis, whose choices follow from the seed, kills and stops two of them, the broker, database sessions and SMTP
connections. The third worker is left alone, so that its memory and open files tell of leaks. Everything is judged at
the end by the invariants of the fault suite. Exit code 1: an invariant, or the memory, did not hold.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psutil

from notifier.sandbox import postgres, rabbitmq
from tests.acceptance.flow import Flow
from tests.acceptance.world import World, world
from tests.services import fresh_database, schema_template
from tests.support.smtp_script import drop, reset, say
from tests.support.smtp_server import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from notifier.sandbox.rabbitmq_node import RabbitNode
    from tests.acceptance.judgement import Verdict
    from tests.acceptance.world import WorkerProcess

SETTINGS: dict[str, Any] = {
    "delivery__lease": 20,
    "delivery__drain_timeout": 10,
    "delivery__ambiguous_delay": 1,
}
PAUSE = (1.0, 6.0)  # seconds between two faults
SAMPLE = 5.0  # seconds between two looks at the worker that is left alone
MOST_GROWTH = 16.0  # MB from the second quarter of the run to the last one
MOST_FILES = 16  # as far may the number of open files be from the first quarter to the last one
DRAIN_SECONDS = 30.0
SETTLE_SECONDS = 180.0
_END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND"
    " application_name LIKE 'notifier worker%'"
)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at a process: seconds since the start, MB in memory, open files."""

    at: float
    memory: float
    files: int


class Nemesis:
    """Breaks something at random."""

    def __init__(self, made: World, node: RabbitNode, chance: random.Random) -> None:
        self._world = made
        self._node = node
        self._chance = chance
        self._workers = [self._start() for _ in range(2)]
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self._choices: list[tuple[int, Callable[[], None]]] = [
            (5, self._kill_a_worker),
            (2, self._restart_a_worker),
            (1, self._kill_the_broker),
            (4, self._end_database_sessions),
            (4, self._break_smtp_connections),
            (4, self._take_mails_without_answer),
            (2, self._refuse_for_a_while),
        ]

    def _start(self) -> WorkerProcess:
        return self._world.worker(**SETTINGS)

    def strike(self) -> None:
        """Do one thing."""
        weights = [weight for weight, _ in self._choices]
        ((_, act),) = self._chance.choices(self._choices, weights)
        self.done[act.__name__.strip("_").replace("_", " ")] += 1
        act()

    def wait(self) -> float:
        """Return how long to leave things alone, in seconds."""
        return self._chance.uniform(*PAUSE)

    def check(self) -> None:
        """Note it when a worker has ended that nobody ended."""
        for place, worker in enumerate(self._workers):
            if (code := worker.process.poll()) is not None:
                self._ended(worker, code)
                self._workers[place] = self._start()

    def _ended(self, worker: WorkerProcess, code: int) -> None:
        """A start whose first session is ended fails with 1, and whoever started the worker starts it again."""
        if code == 1 and not any(line["event"] == "worker_started" for line in worker.lines()):
            self.done["failed starts, for want of the database"] += 1
            return
        said = worker.log.read_text(errors="replace").strip().splitlines()[-1:]
        self.faults.append(f"{worker.log.name}: ended by itself with {code}: {said}")

    def _kill_a_worker(self) -> None:
        place = self._chance.randrange(len(self._workers))
        self._workers[place].kill()
        self._workers[place] = self._start()

    def _restart_a_worker(self) -> None:
        place = self._chance.randrange(len(self._workers))
        ending, self._workers[place] = self._workers[place], self._start()
        began = time.monotonic()
        code = ending.terminate()
        # A worker that has not come far enough to catch the signal dies of it, which is as good.
        if code not in (0, -15) or time.monotonic() - began > DRAIN_SECONDS:
            self.faults.append(f"{ending.log.name}: SIGTERM ended with {code}")

    def _kill_the_broker(self) -> None:
        self._node.kill()
        self._node.start()

    def _end_database_sessions(self) -> None:
        self._world.database.execute(_END_SESSIONS)

    def _break_smtp_connections(self) -> None:
        self._chance.choice(self._world.servers).hang_up()

    def _take_mails_without_answer(self) -> None:
        action = self._chance.choice([drop(accept=True), reset(accept=True), drop()])
        self._chance.choice(self._world.servers).on("dot", action, times=self._chance.randint(1, 3))

    def _refuse_for_a_while(self) -> None:
        reply = self._chance.choice(["421 4.3.2 busy", "451 4.7.1 greylisted"])
        self._chance.choice(self._world.servers).on("rcpt", say(reply), times=self._chance.randint(1, 20))


@contextlib.contextmanager
def _prepared(folder: Path) -> Iterator[tuple[World, RabbitNode]]:
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres.private(durable=False))
        node = stack.enter_context(rabbitmq.private(say=click.echo))
        template = stack.enter_context(schema_template(database.url))
        fresh = stack.enter_context(fresh_database(database.url, template))
        made = stack.enter_context(world(fresh, node.url, folder))
        # RabbitMQ writes the names of new queues to disk late, or when it stops in order.
        node.stop()
        node.start()
        yield made, node


def _look(worker: WorkerProcess, began: float) -> Sample:
    worker.check_alive()
    process = psutil.Process(worker.process.pid)
    return Sample(
        at=time.monotonic() - began, memory=process.memory_info().rss / 2**20, files=process.num_fds()
    )


def _run(made: World, node: RabbitNode, *, seconds: float, seed: int, rate: float) -> tuple[Report, Nemesis]:
    customers = [made.customer(made.smtp(Options(delay=0.005)), admins=2) for _ in range(5)]
    alone = made.worker(**SETTINGS).ready()
    nemesis = Nemesis(made, node, random.Random(seed))  # noqa: S311 - a run that can be repeated
    samples: list[Sample] = []
    began = time.monotonic()
    with Flow(made, customers, rate=rate) as flow:
        strike_at = look_at = 0.0
        while (at := time.monotonic() - began) < seconds:
            if at >= look_at:
                samples.append(_look(alone, began))
                look_at = at + SAMPLE
            if at >= strike_at:
                nemesis.strike()
                nemesis.check()
                strike_at = time.monotonic() - began + nemesis.wait()
            time.sleep(0.1)  # the pace of the run: strikes and looks are due at times, not at conditions
    for server in made.servers:
        server.forget()
    settled = time.monotonic()
    with contextlib.suppress(AssertionError):  # the verdict says what is stuck
        made.wait_settled(flow.mails, SETTLE_SECONDS)
    return Report(
        events=flow.confirmed,
        rows=len(made.rows()),
        verdict=made.verdict(),
        samples=samples,
        settled_after=time.monotonic() - settled,
    ), nemesis


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run came to. settled_after: seconds from the last event to the last final row."""

    events: int
    rows: int
    verdict: Verdict
    samples: list[Sample]
    settled_after: float

    def slope(self) -> float:
        """Return the growth of memory in MB an hour, of the last three quarters."""
        later = self.samples[len(self.samples) // 4 :]
        if len(later) < 2:
            return 0.0
        line = statistics.linear_regression([s.at / 3600 for s in later], [s.memory for s in later])
        return line.slope

    def growth(self) -> tuple[float, int]:
        """Return by how many MB and files the last quarter is above the second one."""
        quarter = max(1, len(self.samples) // 4)
        early, late = self.samples[quarter : 2 * quarter] or self.samples, self.samples[-quarter:]
        memory = statistics.median(s.memory for s in late) - statistics.median(s.memory for s in early)
        files = statistics.median(s.files for s in late) - statistics.median(s.files for s in early)
        return memory, round(files)


@click.command()
@click.option("--minutes", type=float, default=10.0, show_default=True)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Decides what breaks, and in what order."
)
@click.option("--rate", type=float, default=20.0, show_default=True, help="Events a second.")
def main(minutes: float, seed: int, rate: float) -> None:
    """Run events through random faults and judge what became of them."""
    with tempfile.TemporaryDirectory(prefix="notifier-soak-") as name, _prepared(Path(name)) as (made, node):
        report, nemesis = _run(made, node, seconds=minutes * 60, seed=seed, rate=rate)
    verdict = report.verdict
    memory, files = report.growth()
    click.echo(f"seed {seed}, {minutes:g} minutes; what was broken:")
    for what, count in sorted(nemesis.done.items()):
        click.echo(f"  {what}: {count}")
    click.echo(
        f"events {report.events}, rows {report.rows}, all final {report.settled_after:.0f} s after the last"
    )
    click.echo(
        f"lost {verdict.lost}, extra {verdict.extra} of at most {verdict.ambiguous}, stuck {verdict.stuck}"
    )
    click.echo(
        f"memory {report.samples[-1].memory:.0f} MB, slope {report.slope():+.1f} MB/h, growth {memory:+.1f} MB"
    )
    click.echo(f"open files {report.samples[-1].files}, growth {files:+d}")
    wrong = [*verdict.violations, *nemesis.faults]
    if memory > MOST_GROWTH:
        wrong.append(f"memory grew by {memory:.1f} MB")
    if files > MOST_FILES:
        wrong.append(f"open files grew by {files}")
    for line in wrong[:50]:
        click.echo(f"VIOLATION {line}")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
