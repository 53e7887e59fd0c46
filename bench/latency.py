"""From publishing an event to its acceptance by the mail server, at a steady pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import sink, stage
from bench.measuring import QUIET, Figure, OthersLoad, at_most, percentile, plain
from bench.stage import RECIPIENTS
from bench.throughput import CUSTOMERS, USERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.stage import Services
    from tests.services import Database

PACE = 20.0  # events a second


def accepted(record: Path, database: Database, published: Mapping[int, float]) -> list[float]:
    """Return, per mail, the seconds from publishing its event to the sink's acceptance."""
    rows = database.rows("SELECT message_id, job_id FROM notification_events")
    jobs = {str(message_id): int(str(job)) for message_id, job in rows}
    found = []
    for line in record.read_text(encoding="ascii").splitlines():
        at, _, message_id = line.split()
        job = jobs[message_id]
        if job in published:
            found.append(float(at) - published[job])
    return found


def measure(services: Services, folder: Path, *, seconds: float) -> list[Figure]:
    """Return p50 and p99 in milliseconds, and how many cores others used meanwhile."""
    folder.mkdir()
    record = folder / "accepted"
    events = int(PACE * seconds)
    with services.database() as database, sink.start(record=record) as target:
        customers = stage.people(database, ports=[target.port], customers=CUSTOMERS, users=USERS)
        with stage.scene(services, database, workers=1) as scene:
            scene.publish([stage.event(customer, n) for n, customer in enumerate(customers, 1)])
            scene.wait_sent(1, CUSTOMERS * RECIPIENTS)
            numbers = range(1001, 1001 + events)
            chosen = [customers[n % CUSTOMERS] for n in range(events)]
            load = OthersLoad()
            times = scene.publish(
                [stage.event(c, n) for c, n in zip(chosen, numbers, strict=True)], pace=PACE
            )
            others = load.cores()
            scene.wait_sent(1001, events * RECIPIENTS)
            scene.check(chosen, numbers)
        found = accepted(record, database, dict(zip(numbers, times, strict=True)))
    return [
        at_most(f"latency at {PACE:g} events/s, p50", percentile(found, 0.5) * 1000, 10, "ms"),
        at_most(f"latency at {PACE:g} events/s, p99", percentile(found, 0.99) * 1000, 25, "ms"),
        plain(f"cores others used meanwhile (quiet: below {QUIET:g})", others, "cores"),
    ]
