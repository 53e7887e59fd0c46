"""Mail servers that are far away or slow: what one customer's connections carry."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from bench import sink, stage
from bench.measuring import Figure, at_least, median, plain
from bench.stage import RECIPIENTS
from bench.throughput import sample_mails
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from pathlib import Path

    from bench.stage import Services

CONNECTIONS = 4  # of one customer, by default
AWAY = 0.050  # seconds there and back
SLOW = 0.050  # seconds a mail


def far(services: Services, folder: Path, *, rounds: int, events: int) -> list[Figure]:
    """Return mails per connection-second over a line of 50 ms, beside plain smtplib over the same line."""
    ours, theirs = [], []
    folder.mkdir()
    sample_mails(services, folder)
    count = events * RECIPIENTS
    with sink.start() as target, TcpProxy((sink.HOST, target.port), latency=AWAY / 2) as line:
        for _ in range(rounds):
            command = [
                sys.executable,
                "-m",
                "bench.smtplib_limit",
                str(line.port),
                str(folder),
                str(CONNECTIONS),
            ]
            done = subprocess.run([*command, str(count)], capture_output=True, text=True, check=True)
            theirs.append(count / CONNECTIONS / json.loads(done.stdout)["seconds"])
            ours.append(_one_customer(services, line.port, events) / CONNECTIONS)
    return [
        plain(f"server {AWAY * 1000:g} ms away, smtplib", median(theirs), "mails per connection-second"),
        plain(f"server {AWAY * 1000:g} ms away, notifier", median(ours), "mails per connection-second"),
        at_least("server far away, of smtplib's", median(ours) / median(theirs), 1.7),
    ]


def slow(services: Services, *, rounds: int, events: int) -> list[Figure]:
    """Return mails per second to a server that takes 50 ms for each, beside what its connections allow."""
    with sink.start(slow=SLOW) as target:
        rates = [_one_customer(services, target.port, events) for _ in range(rounds)]
    allowed = CONNECTIONS / SLOW
    return [
        plain(f"server that takes {SLOW * 1000:g} ms a mail", median(rates), "mails/s"),
        at_least("slow server, of what its connections allow", median(rates) / allowed, 0.85),
    ]


def _one_customer(services: Services, port: int, events: int) -> float:
    """Return the mails per second of one customer's events, its server proven and known before."""
    with services.database() as database:
        customers = stage.people(database, ports=[port], customers=1, users=RECIPIENTS)
        with stage.scene(
            services, database, workers=1, delivery__connections_per_customer=CONNECTIONS
        ) as scene:
            for first, count in ((1, 30), (10_001, events)):
                numbers = range(first, first + count)
                began = scene.publish([stage.event(customers[0], n) for n in numbers])[0]
                scene.wait_sent(first, count * RECIPIENTS)
            scene.check([customers[0]] * count, numbers)
            return count * RECIPIENTS / scene.took(began)
