"""What becomes of mails when worker processes are killed, stopped, paused or replaced in the middle of their work."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from notifier.store import sweep
from tests.acceptance.flow import Flow
from tests.acceptance.scale import scaled, size
from tests.support.smtp_script import drop, hang, pause
from tests.support.smtp_server import Options
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.judgement import Verdict
    from tests.acceptance.world import World
    from tests.support.smtp_conversation import Conversation
    from tests.support.smtp_server import SmtpServer

KILLED = -signal.SIGKILL
LEASE = 10.0  # seconds, the least that the configuration allows
SWEEP = 5.0  # seconds in which the end of a lease is found
BUSY = 10.0  # seconds granted to a machine that does other things as well
# Seconds: a mail whose second worker died is put off by a random time.
LOST_TWICE = LEASE + SWEEP + sweep.LOST_AGAIN_SECONDS + BUSY
SHORT_LEASE: dict[str, Any] = {"delivery__lease": LEASE, "delivery__drain_timeout": 5}


def clean(world: World) -> bool:
    """Tell whether nothing was lost, repeated or in doubt."""
    verdict = world.verdict()
    return (verdict.lost, verdict.extra, verdict.ambiguous, verdict.violations) == (0, 0, 0, ())


def _took(server: SmtpServer, mails: int) -> bool:
    return len(server.mails) >= mails


def costs(verdict: Verdict) -> tuple[int, int, int]:
    """What a run cost that broke no invariant: lost, extra copies, ambiguous ends."""
    assert not verdict.violations
    return verdict.lost, verdict.extra, verdict.ambiguous


@scaled
def test_hundreds_of_mails_arrive_once_each(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    """F1: in full 10 000 events."""
    customers = [world.customer(admins=2) for _ in range(5)]
    world.worker().ready()
    count = size(300, 10_000)
    began = time.monotonic()
    for number in range(1, count + 1):
        world.fail_job(customers[number % 5], number)

    rows = world.wait_settled(2 * count, size(60, 600))

    record_property("mails", len(rows))
    record_property("seconds", round(time.monotonic() - began, 1))
    assert {row.status for row in rows} == {"sent"}
    assert clean(world)


@scaled
def test_kills_while_mails_flow_lose_none(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    """F3: the copies are at most the ambiguous ends, and those at most what the dead had in hand. In full 60 kills."""
    kills = size(10, 60)
    customer = world.customer(world.smtp(Options(delay=0.02)), admins=2)
    # A dead worker's batches count as connections for a while, so the cap must hold all of them.
    settings = {**SHORT_LEASE, "delivery__connections_per_customer": 256, "delivery__ambiguous_delay": 0.1}
    for kill in range(kills):
        worker = world.worker(**settings)
        for number in range(15 * kill + 1, 15 * kill + 16):
            world.fail_job(customer, number)
        enough = len(customer.server.mails) + 3
        customer.server.wait_for(functools.partial(_took, customer.server, enough), seconds=60)
        worker.kill()
    last = world.worker(**settings)
    rows = world.wait_settled(30 * kills, size(60, 300) + LOST_TWICE)

    lost, extra, ambiguous = costs(world.verdict())
    record_property("costs", f"{kills} kills, {len(rows)} mails, extra {extra}, ambiguous {ambiguous}")
    assert lost == 0
    assert extra <= ambiguous <= kills * 8 * 16
    # Who loses three workers while it is prepared is taken for what kills them: told, and final.
    vanished = {
        row["failure_reason"] for row in world.log(customer) if row["lost_claims"] >= sweep.MAX_LOST_CLAIMS
    }
    assert vanished <= {"render_error"}
    assert {row.failure_reason for row in rows} <= {None, "ambiguous", *vanished}
    assert last.terminate() == 0


def test_killed_after_the_dot_costs_one_copy(world: World) -> None:
    """F4, waiting for the real end of the lease."""
    customer = world.customer()
    world.fail_job(customer, 1)
    assert world.worker(crashpoint="after_dot", **SHORT_LEASE).wait() == KILLED
    died = time.monotonic()
    world.worker(**SHORT_LEASE)

    (row,) = world.wait_settled(1)

    assert time.monotonic() - died <= LEASE + SWEEP + BUSY
    assert (row.status, row.ambiguous_count, row.attempts) == ("sent", 1, 2)
    assert costs(world.verdict()) == (0, 1, 1)


def test_killed_after_the_dot_costs_no_copy_where_a_missing_mail_is_the_lesser_evil(world: World) -> None:
    """F5."""
    customer = world.customer(admins=2)
    world.fail_job(customer, 1)
    settings = {**SHORT_LEASE, "delivery__on_ambiguous": "fail"}
    assert world.worker(crashpoint="after_dot", **settings).wait() == KILLED
    customer.server.wait_for(lambda: len(customer.server.mails) == 1)
    world.let_leases_end()
    world.worker(**settings)

    rows = world.wait_settled(2)

    assert sorted((row.status, row.failure_reason) for row in rows) == [
        ("failed", "ambiguous"),
        ("sent", None),
    ]
    assert costs(world.verdict()) == (0, 0, 1)


@pytest.mark.parametrize(
    ("place", "extra", "ambiguous", "attempts"),
    [("after_claim", 0, 0, 1), ("after_stamp", 0, 1, 2), ("after_250", 1, 1, 2)],
    ids=["F7 claimed", "stamped", "F6 accepted but not recorded"],
)
def test_a_mail_outlives_the_worker_that_had_it(
    world: World, place: str, extra: int, ambiguous: int, attempts: int
) -> None:
    customer = world.customer()
    world.fail_job(customer, 1)
    assert world.worker(crashpoint=place, **SHORT_LEASE).wait() == KILLED
    world.let_leases_end()
    world.worker(**SHORT_LEASE)

    (row,) = world.wait_settled(1)

    assert (row.status, row.attempts) == ("sent", attempts)
    assert costs(world.verdict()) == (0, extra, ambiguous)


def test_a_dead_worker_keeps_no_place_at_its_server(world: World) -> None:
    """F3: its leases last for minutes, yet others take its server's connections as soon as it is silent."""
    silence = 7  # seconds instead of 30; a living worker speaks every 5
    world.database.execute(
        f"ALTER TABLE delivery_batches ALTER alive_until SET DEFAULT now() + interval '{silence} seconds'"
    )
    customer = world.customer(world.smtp(Options(delay=0.3)))
    for number in range(1, 61):
        world.fail_job(customer, number)
    worker = world.worker(delivery__ambiguous_delay=0.1)
    customer.server.wait_for(functools.partial(_took, customer.server, 5), seconds=60)
    worker.kill()
    died = time.monotonic()
    last = world.worker(delivery__ambiguous_delay=0.1).ready()
    world.fail_job(customer, 61)

    of_others = (
        "SELECT count(*) FROM notification_events"
        " WHERE status = 'pending' AND coalesce(split_part(locked_by, ':', 2), '') <> %s"
    )
    wait_until(
        lambda: world.database.rows(of_others, (str(worker.process.pid),)) == [(0,)],
        silence + SWEEP + BUSY + 60 * 0.3 / 4,
        "all mails but those that the dead worker may have sent",
    )

    assert time.monotonic() - died < 100  # no lease has ended yet
    world.let_leases_end()
    assert len(world.wait_settled(61)) == 61
    lost, extra, ambiguous = costs(world.verdict())
    assert lost == 0
    # One connection has sent, and not written down, at most what starts within a second of its stamp.
    assert extra <= min(ambiguous, 4 * 5)
    assert last.terminate() == 0


def test_killed_while_the_server_keeps_silent_is_made_up_for_after_the_lease(world: World) -> None:
    """F7, waiting for the real end of the lease."""
    customer = world.customer()
    customer.server.on("banner", hang(), times=1)
    world.fail_job(customer, 1)
    worker = world.worker(**SHORT_LEASE)
    customer.server.wait_for(lambda: customer.server.connections == 1, seconds=60)
    world.worker(**SHORT_LEASE).ready()
    worker.kill()
    died = time.monotonic()

    (row,) = world.wait_settled(1)

    assert time.monotonic() - died <= LEASE + SWEEP + BUSY
    assert (row.attempts, row.ambiguous_count) == (1, 0)
    assert clean(world)


def test_killed_between_commit_and_ack_makes_no_second_row(world: World) -> None:
    """F8. The mail server keeps the first worker waiting, so that nothing can have left when it dies."""
    customer = world.customer(admins=2)
    customer.server.on("banner", hang())
    world.fail_job(customer, 1)
    assert world.worker(crashpoint="after_commit", **SHORT_LEASE).wait() == KILLED
    assert world.database.rows("SELECT count(*) FROM job_events") == [(1,)]
    customer.server.forget()
    world.let_leases_end()
    worker = world.worker(**SHORT_LEASE).ready()

    world.wait_settled(2)
    taken = wait_until(
        lambda: [line["outcome"] for line in worker.lines() if line["event"] == "event_taken"],
        what="the redelivery",
    )

    assert taken == ["duplicate"]
    assert worker.terminate() == 0  # what it had not acked would be back, for the verdict to see
    assert clean(world)


@scaled
def test_rolling_restarts_under_flow_cost_nothing(
    world: World, record_property: Callable[[str, object], None]
) -> None:
    """F9: in full 20 restarts."""
    customers = [world.customer(world.smtp(Options(delay=0.01)), admins=2) for _ in range(3)]
    running = world.worker().ready()
    taken = []
    with Flow(world, customers, rate=25) as flow:
        for _ in range(size(5, 20)):
            following = world.worker().ready()
            flow.wait_for(5)
            asked = time.monotonic()
            assert running.terminate() == 0
            taken.append(time.monotonic() - asked)
            running = following
    world.wait_settled(flow.mails)

    assert max(taken) <= 30
    assert clean(world)
    record_property("restarts", f"{len(taken)}, each exit 0, the longest {max(taken):.1f} s")
    record_property("mails", f"{flow.mails}, extra 0, ambiguous 0")


def test_a_drain_does_not_wait_for_a_server_that_hangs(world: World) -> None:
    """F10."""
    customer = world.customer(admins=3)
    customer.server.on("rcpt", hang(), times=1)
    world.fail_job(customer, 1)
    worker = world.worker(delivery__drain_timeout=2)
    customer.server.wait_for(lambda: "RCPT" in customer.server.verbs(), seconds=60)

    asked = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - asked <= 2 + 5
    assert {(row.status, row.attempts) for row in world.rows()} == {("pending", 0)}
    assert worker.lines()[-1]["complete"] is False

    world.worker()
    world.wait_settled(3)
    assert clean(world)


def test_a_mail_that_the_drain_cut_off_at_its_end_says_who_gave_up(world: World) -> None:
    """Perhaps it arrived. The row does not blame the server, and the log does not call the drain complete."""
    customer = world.customer()
    customer.server.on("dot", hang(), times=1)
    world.fail_job(customer, 1)
    worker = world.worker(delivery__drain_timeout=2)
    asked = "SELECT count(*) FROM notification_events WHERE handoff_at IS NOT NULL"
    wait_until(lambda: world.database.rows(asked) == [(1,)], 60, "the hand-over")
    customer.server.wait_for(lambda: "DATA" in customer.server.verbs())
    assert worker.terminate() == 0

    told = "the worker gave up at the end of its drain: 127.0.0.1 had not answered the end of the mail"
    row = "SELECT status, ambiguous_count, error_message FROM notification_events"
    assert world.database.rows(row) == [("pending", 1, told)]
    last = worker.lines()[-1]
    assert (last["event"], last["complete"]) == ("worker_stopped", False)


def test_a_worker_that_slept_past_its_lease_changes_nothing_and_sends_nothing_more(world: World) -> None:
    """F11: SIGSTOP in the middle of a batch of three."""
    customer = world.customer(admins=3)
    reached, answer = threading.Event(), threading.Event()

    def wait_at_the_dot(conversation: Conversation) -> bool | None:
        reached.set()
        return pause(answer)(conversation)

    customer.server.on("dot", wait_at_the_dot, times=1)
    world.fail_job(customer, 1)
    sleeper = world.worker(**SHORT_LEASE)
    assert reached.wait(60)
    sleeper.process.send_signal(signal.SIGSTOP)
    world.worker(**SHORT_LEASE)
    before = world.wait_settled(3)

    answer.set()
    customer.server.wait_for(lambda: len(customer.server.mails) == 4)
    sleeper.process.send_signal(signal.SIGCONT)
    wait_until(
        lambda: any(line["event"] == "rows_no_longer_held" for line in sleeper.lines()),
        what="the zombie to find its rows gone",
    )
    assert sleeper.terminate() == 0

    assert world.rows() == before
    assert {(row.status, row.ambiguous_count) for row in before} == {("sent", 1)}
    assert costs(world.verdict()) == (0, 1, 3)


def test_two_releases_work_side_by_side_while_the_schema_moves_on(world: World) -> None:
    """F44, as far as one schema version allows: the newer schema is an entry in the list of migrations.

    A migration that says it can be worked with by this release does not stop it, nor a worker started after it; one
    that says it cannot is refused at the start.
    """
    customer = world.customer(world.smtp(Options(delay=0.01)), admins=2)
    (version,) = world.database.rows("SELECT max(version) FROM schema_migrations")[0]
    add = (
        "INSERT INTO schema_migrations (version, name, checksum, minimum_release)"
        " SELECT %s, 'later', 'x', CASE WHEN %s THEN version + 1 ELSE minimum_release END"
        " FROM schema_migrations ORDER BY version DESC LIMIT 1"
    )
    world.worker().ready()
    with Flow(world, [customer], rate=20) as flow:
        subprocess.run([sys.executable, "-m", "notifier", "init-db"], env=world.environ(), check=True)
        world.database.execute(add, (int(str(version)) + 1, False))
        world.worker().ready()
        flow.wait_for(20)
    world.wait_settled(flow.mails)
    assert clean(world)

    world.database.execute(add, (int(str(version)) + 2, True))
    refused = world.worker()
    assert refused.wait() == os.EX_CONFIG
    assert "install that release" in refused.log.read_text()


@pytest.mark.parametrize(("phase", "ambiguous"), [("rcpt", 0), ("dot", 1)])
def test_a_connection_that_dies_at_the_fifth_of_16_mails_concerns_that_mail_alone(
    world: World, phase: str, ambiguous: int
) -> None:
    """F45. A line lost before DATA is replaced once on the spot, so it must be lost twice to cost an attempt."""
    customer = world.customer(admins=16)
    customer.server.on(phase, drop(accept=phase == "dot"), after=4, times=2 if phase == "rcpt" else 1)
    world.fail_job(customer, 1)
    world.worker()

    rows = world.wait_settled(16)

    assert [row.attempts for row in rows] == [1] * 4 + [2] + [1] * 11
    assert [row.ambiguous_count for row in rows] == [0] * 4 + [ambiguous] + [0] * 11
    assert costs(world.verdict()) == (0, ambiguous, ambiguous)


def test_killed_in_the_middle_of_16_mails_each_is_tried_again_alone(world: World) -> None:
    """F46."""
    customer = world.customer(admins=16)
    stuck = threading.Event()
    customer.server.on("dot", pause(stuck), after=7, times=1)
    world.fail_job(customer, 1)
    worker = world.worker(**SHORT_LEASE)
    customer.server.wait_for(lambda: len(customer.server.mails) == 7, seconds=60)
    worker.kill()
    stuck.set()
    world.let_leases_end()
    world.worker(**SHORT_LEASE)

    rows = world.wait_settled(16)

    assert {(row.status, row.ambiguous_count, row.attempts) for row in rows} == {("sent", 1, 2)}
    lost, extra, ambiguous = costs(world.verdict())
    assert (lost, ambiguous) == (0, 16)
    assert 7 <= extra <= 8  # those that were answered, and perhaps the one at the dot


def test_a_worker_short_of_file_descriptors_recovers_or_ends_and_loses_nothing(world: World) -> None:  # F42
    customers = [world.customer() for _ in range(30)]
    world.worker(prefix=("prlimit", "--nofile=48"), delivery__senders=30)
    for number, customer in enumerate(customers, start=1):
        world.fail_job(customer, number)

    world.wait_settled(30)

    verdict = world.verdict()
    assert (verdict.lost, verdict.extra, verdict.violations) == (0, 0, ())


def test_a_worker_short_of_memory_recovers_or_ends_with_a_word_and_loses_nothing(world: World) -> None:
    """F42. It gets no megabyte more than it has, and events that need some."""
    customer = world.customer(admins=2)
    worker = world.worker(**SHORT_LEASE, delivery__ambiguous_delay=0.1).ready()
    process = psutil.Process(worker.process.pid)
    process.rlimit(psutil.RLIMIT_DATA, (_writable(process.pid), psutil.RLIM_INFINITY))
    for number in range(1, 21):
        world.fail_job(customer, number, error="no memory\n" * 8000, log_excerpt="x" * 90_000)

    def told() -> bool:
        return worker.process.poll() is not None or "memory" in worker.log.read_text(errors="replace").lower()

    wait_until(told, 60, "it to say that memory is short, or to end")
    with suppress(psutil.NoSuchProcess):
        process.rlimit(psutil.RLIMIT_DATA, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
    final = "SELECT count(*) FROM notification_events WHERE status <> 'pending'"
    wait_until(
        lambda: worker.process.poll() is not None or world.ask(final) == [(40,)],
        60,
        "it to recover or to end",
    )
    if worker.process.poll() is not None:
        assert worker.wait() != 0
        world.worker(**SHORT_LEASE)
    world.wait_settled(40)

    lost, extra, ambiguous = costs(world.verdict())
    assert (lost, extra <= ambiguous) == (0, True)


def _writable(pid: int) -> int:
    """Return the bytes of memory that a process may write to: what RLIMIT_DATA limits."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (kilobytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmData:")]
    return int(kilobytes) * 1024
