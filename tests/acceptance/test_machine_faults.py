"""What becomes of mails when a worker's machine is cut off from everything, or its clock jumps."""

from __future__ import annotations

import contextlib
import email
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from tests.acceptance.flow import Flow
from tests.acceptance.scale import scaled, size
from tests.acceptance.test_broker_faults import events
from tests.acceptance.test_process_faults import SHORT_LEASE, clean, costs
from tests.support.clock import Clock
from tests.support.cut_off import cable
from tests.support.smtp_script import pause
from tests.support.smtp_server import Options
from tests.waiting import wait_out, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.world import Customer, World

HOUR = 3600
_HELD = (
    "SELECT count(DISTINCT locked_by), count(*) FILTER (WHERE lease_until > now()) FROM notification_events"
)
ROUND = 5.5  # seconds: each sweeper has looked
CUT = size(12.0, 120.0)  # seconds


@scaled
def test_a_worker_cut_off_from_broker_database_and_mail_servers_heals_itself(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    """F41: in full for two minutes. Events keep coming to the broker meanwhile."""
    with cable() as line:
        servers = [world.smtp(Options(delay=0.02)) for _ in range(3)]
        customers = [
            world.customer(server, admins=2, host=line.host, port=line.port(server.port))
            for server in servers
        ]
        worker = world.worker(
            prefix=line.prefix,
            database__url=line.reach(world.database.url),
            rabbitmq__url=line.reach(world.amqp_url),
            rabbitmq__heartbeat=size(4, 30),
            **SHORT_LEASE,
        )
        with Flow(world, customers, rate=20) as flow:
            wait_until(lambda: sum(len(server.mails) for server in servers) >= 20, what="mails to flow")
            line.pull()
            wait_out(CUT, "the end of the cut")
            line.plug_in()
            plugged_in = time.monotonic()
        world.wait_settled(flow.mails, 120)
        healed = time.monotonic() - plugged_in

        worker.check_alive()
        assert events(worker, "worker_started") == 1
        assert events(worker, "sender_database_fault") + events(worker, "broker_connection_lost") > 0
        assert worker.terminate() == 0
    lost, extra, ambiguous = costs(world.verdict())
    assert (lost, extra <= ambiguous) == (0, True)
    record_property("way", type(line).__name__.strip("_").lower())
    record_property(
        "costs", f"{CUT:g} s cut, {flow.mails} mails final {healed:.0f} s after, extra {extra} of {ambiguous}"
    )


def test_a_clock_that_jumps_an_hour_ahead_or_back_moves_no_lease(world: World) -> None:
    """F38: two workers with a mail in hand each; the clock of one jumps, and neither takes the other's mail."""
    clock = Clock(world.folder)
    jumping = world.worker(variables=clock.variables, delivery__senders=1, delivery__lease=60).ready()
    with contextlib.ExitStack() as releases:
        first, release = _at_the_dot(world, 1)
        releases.callback(release)
        steady = world.worker(delivery__senders=1, delivery__lease=60).ready()
        second, release_second = _at_the_dot(world, 2)
        releases.callback(release_second)
        for hours in (1, -1):
            clock.jump(hours * HOUR)
            wait_out(ROUND, "a round of the sweepers")
            assert world.ask(_HELD) == [(2, 2)]
    for customer in (first, second):
        world.wait_final(customer, 1)

    assert steady.terminate() == 0

    for number, hours in ((3, -1), (4, 1)):  # the jumps were real: the Date header tells of them
        clock.jump(hours * HOUR)
        world.fail_job(first, number)
        world.wait_final(first, number - 1)
        sent = parsedate_to_datetime(email.message_from_bytes(first.server.mails[-1].data)["Date"])
        off = sent - datetime.now(UTC)
        assert abs(off - timedelta(hours=hours)) < timedelta(minutes=5)
    rows = world.rows()
    assert {(row.status, row.attempts, row.ambiguous_count) for row in rows} == {("sent", 1, 0)}
    assert clean(world)
    assert not [
        line for worker in (jumping, steady) for line in worker.lines() if line["event"] == "mails_taken_back"
    ]
    assert jumping.terminate() == 0


def _at_the_dot(world: World, number: int) -> tuple[Customer, Callable[[], None]]:
    """Let a mail of a new customer wait for the server's answer to its end; return how to let it be given."""
    customer = world.customer()
    answer = threading.Event()
    customer.server.on("dot", pause(answer), times=1)
    world.fail_job(customer, number)
    customer.server.wait_for(lambda: "DATA" in customer.server.verbs())
    return customer, answer.set
