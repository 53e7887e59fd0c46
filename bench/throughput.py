"""How many mails leave in a second, and what they cost, beside smtplib sending the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from bench import sink, stage
from bench.measuring import Figure, at_least, at_most, machine_cpu, median, plain
from bench.stage import RECIPIENTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.stage import Customer, Scene, Services
    from tests.services import Database

CUSTOMERS, USERS = 100, 20
SENDERS = 8  # of a worker by default, and the connections of the limit
_SAMPLE_SECONDS = 0.2
_CALLS = (
    "SELECT sum(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
    " WHERE d.datname = current_database() AND s.toplevel"
)
_COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run: mails per second, CPU seconds per 1,000 mails; the rest for workers alone.

    machine: CPU seconds per 1,000 mails of all that ran, with database, broker, sink and publisher.
    """

    rate: float
    cpu: float
    machine: float = 0.0
    memory: float = 0.0
    statements: float = 0.0
    commits: float = 0.0


@dataclass(kw_only=True, slots=True)
class Runs:
    """All runs of one kind."""

    found: list[Run] = field(default_factory=list)

    def rate(self) -> float:
        """Return the median of mails per second."""
        return median([run.rate for run in self.found])

    def cpu(self) -> float:
        """Return the median of CPU seconds per 1,000 mails."""
        return median([run.cpu for run in self.found])

    def machine(self) -> float:
        """Return the median of the whole machine's CPU seconds per 1,000 mails."""
        return median([run.machine for run in self.found])


def sample_mails(services: Services, folder: Path) -> int:
    """Have a worker send one event of every customer, check the mails, keep them; return their mean size in bytes."""
    with services.database() as database, sink.start(keep=folder) as target:
        customers = stage.people(database, ports=[target.port], customers=CUSTOMERS, users=USERS)
        with stage.scene(services, database, workers=1) as scene:
            _send(scene, customers, first=1, count=CUSTOMERS)
    return stage.check_mails(folder, customers)


def limit(port: int, mails: Path, *, processes: int, count: int) -> Run:
    """Return what smtplib does with the mails that lie ready."""
    command = [
        sys.executable,
        "-m",
        "bench.smtplib_limit",
        str(port),
        str(mails),
        str(SENDERS),
        str(count // processes),
    ]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    found = [json.loads(process.communicate()[0]) for process in started]
    seconds = max(one["seconds"] for one in found)
    return Run(rate=count / seconds, cpu=sum(one["cpu"] for one in found) / count * 1000)


def workers(services: Services, port: int, *, processes: int, events: int) -> Run:
    """Return what our workers do with so many events, from the first publish to the last row."""
    with services.database() as database:
        customers = stage.people(database, ports=[port], customers=CUSTOMERS, users=USERS)
        with stage.scene(services, database, workers=processes) as scene:
            _send(
                scene, customers, first=1, count=CUSTOMERS * processes
            )  # warm: connected, templates compiled
            return _measured(scene, database, customers, events)


def _measured(scene: Scene, database: Database, customers: Sequence[Customer], events: int) -> Run:
    mails = events * RECIPIENTS
    cpu = [worker.cpu() for worker in scene.workers]
    commits = _number(database, _COMMITS)
    database.execute("SELECT pg_stat_statements_reset()")
    machine = machine_cpu()
    with _Memory(scene) as memory:
        seconds = _send(scene, customers, first=100_001, count=events)
    machine = machine_cpu() - machine
    used = sum(worker.cpu() - before for worker, before in zip(scene.workers, cpu, strict=True))
    return Run(
        rate=mails / seconds,
        cpu=used / mails * 1000,
        machine=machine / mails * 1000,
        memory=memory.peak,
        statements=(_number(database, _CALLS) - scene.looks) / mails,
        commits=(_number(database, _COMMITS) - commits - scene.looks) / mails,
    )


def _send(scene: Scene, customers: Sequence[Customer], *, first: int, count: int) -> float:
    """Publish events of all customers in turn, wait for their rows, check them; return the seconds it took."""
    numbers = range(first, first + count)
    chosen = [customers[n % len(customers)] for n in range(count)]
    bodies = [stage.event(customer, number) for customer, number in zip(chosen, numbers, strict=True)]
    began = scene.publish(bodies)[0]
    scene.wait_sent(first, count * RECIPIENTS)
    scene.check(chosen, numbers)
    return scene.took(began)


class _Memory:
    """The largest PSS of a worker, looked at again and again by a thread."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.peak = 0.0

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, *(worker.memory() for worker in self._scene.workers))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def _number(database: Database, query: str) -> float:
    ((value,),) = database.rows(query)
    return float(str(value or 0))


def measure(services: Services, folder: Path, *, rounds: int, events: int) -> list[Figure]:
    """Return throughput, cost, memory and statements; smtplib and our workers in turn, several rounds."""
    folder.mkdir()
    size = sample_mails(services, folder)
    limits = {n: Runs() for n in (1, 2)}
    ours = {n: Runs() for n in (1, 2, 4)}
    with sink.start() as target:
        for _ in range(rounds):
            for processes, runs in ours.items():
                if processes in limits:
                    found = limit(target.port, folder, processes=processes, count=events * RECIPIENTS)
                    limits[processes].found.append(found)
                runs.found.append(workers(services, target.port, processes=processes, events=events))
    one = ours[1].found
    return [
        plain("bytes of a mail", size, "B"),
        plain("smtplib, 1 process", limits[1].rate(), "mails/s"),
        plain("smtplib, 2 processes", limits[2].rate(), "mails/s"),
        *(plain(f"notifier, {n} process(es)", runs.rate(), "mails/s") for n, runs in ours.items()),
        at_least("throughput, 1 process, of smtplib's", ours[1].rate() / limits[1].rate(), 0.40),
        at_least("throughput, 2 processes, of smtplib's in 2", ours[2].rate() / limits[2].rate(), 0.45),
        at_least("throughput, 4 processes, of 2", ours[4].rate() / ours[2].rate(), 0.95),
        plain("smtplib, CPU per 1,000 mails", limits[1].cpu(), "s"),
        plain("notifier, CPU per 1,000 mails", ours[1].cpu(), "s"),
        at_most("CPU per mail, of smtplib's", ours[1].cpu() / limits[1].cpu(), 2.5),
        *(
            plain(f"whole machine, CPU per 1,000 mails, {n} process(es)", runs.machine(), "s")
            for n, runs in ours.items()
        ),
        at_most("largest memory of a worker (PSS)", max(run.memory for run in one), 80, "MiB"),
        plain("SQL statements per mail", median([run.statements for run in one]), ""),
        plain("commits per mail", median([run.commits for run in one]), ""),
    ]
