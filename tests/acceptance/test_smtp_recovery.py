"""Servers that were wrong for a while: nothing is burnt meanwhile, and a repaired setting delivers within seconds."""

from __future__ import annotations

import json
import shutil
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from notifier import resources
from tests.acceptance.world import failed_job
from tests.support.smtp_script import after_bytes, reset, say
from tests.support.smtp_server import Options
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.world import WorkerProcess, World

pytestmark = pytest.mark.xdist_group("smtp_recovery")

SLOW_RESOLVER = """
import os, socket, time
_real = socket.getaddrinfo
def getaddrinfo(host, *args, **named):
    if host == "slow.example":
        while not os.path.exists("answer"):
            time.sleep(0.1)  # the stall itself: a resolver that does not answer
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return _real(host, *args, **named)
socket.getaddrinfo = getaddrinfo
"""


def _tells(worker: WorkerProcess, count: int) -> bool:
    """Whether /healthz and /metrics tell of so many open breakers."""
    lines = worker.get("/metrics")[1].splitlines()
    (gauge,) = [line.split()[1] for line in lines if line.startswith("notifier_breakers_open ")]
    return (json.loads(worker.get("/healthz")[1])["breakers_open"], float(gauge)) == (count, count)


def test_a_wrong_password_for_500_mails_burns_nothing_and_they_leave_once_it_is_right(world: World) -> None:
    server = world.smtp(Options(mechanisms=("PLAIN",), users={"jobs": "right horse"}, require_auth=True))
    customer = world.customer(server, admins=25, username="jobs", password="wrong horse")
    workers = [world.worker() for _ in range(2)]
    for worker in workers:
        worker.ready()
    began = time.monotonic()
    for number in range(1, 21):
        world.fail_job(customer, number)

    def told(rows: list[dict[str, object]]) -> bool:
        return len(rows) == 500 and all("535" in str(row["error_message"]) for row in rows)

    rows = world.wait_log(customer, told)
    assert {(row["status"], row["attempts"], row["handoff_at"]) for row in rows} == {("pending", 0, None)}
    # One breaker for both workers, seen by everybody who asks.
    for worker in workers:
        wait_until(partial(_tells, worker, 1), 60, "both pages to tell of the breaker")
    (health,) = world.database.rows(
        "SELECT breaker, pending, last_error, breaker_open_until > now() FROM v_customer_delivery_health"
        " WHERE customer_id = %s",
        (customer.id,),
    )
    assert (health[0], health[1], health[3]) in {("open", 500, True), ("half-open", 500, None)}
    assert "535" in str(health[2])
    (failures,) = world.database.rows(
        "SELECT count(*) FROM v_notification_failures WHERE error_message LIKE '%%535%%'"
    )
    assert failures == (500,)
    # The breaker rests 2 s, then 4 s: hardly a login a second, for both workers together.
    assert 1 <= server.verbs().count("AUTH") <= 5 + time.monotonic() - began

    world.command("smtp", "set", str(customer.id), "--password-stdin", stdin="right horse\n")
    rows = world.wait_final(customer, 500)
    assert {(row["status"], row["attempts"]) for row in rows} == {("sent", 1)}
    assert world.ask("SELECT breaker, last_error FROM v_customer_delivery_health") == [("closed", None)]
    verdict = world.verdict()
    assert (verdict.extra, verdict.violations) == (0, ())


def test_names_that_do_not_resolve_burn_nothing_and_delay_nobody_else(world: World) -> None:  # F37
    (world.folder / "sitecustomize.py").write_text(SLOW_RESOLVER)
    unknown = world.customer(host="no-such-host.invalid", admins=3)
    slow = world.customer(host="slow.example", admins=3)
    healthy = world.customer()
    world.worker(variables={"PYTHONPATH": str(world.folder)}, delivery__senders=4).ready()
    for customer in (slow, unknown):
        for number in range(1, 4):
            world.fail_job(customer, number)
    wait_until(
        lambda: world.log(slow) and world.log(slow)[0]["lock_token"], 10, "the slow name to be looked up"
    )
    world.fail_job(healthy, 1)
    (row,) = world.wait_final(healthy, 1)  # while the slow name is still being looked up
    assert row["status"] == "sent"
    assert world.log(slow)[0]["error_message"] is None
    (world.folder / "answer").touch()
    for customer in (slow, unknown):
        rows = world.wait_log(
            customer, lambda found: all("resolved" in str(row["error_message"]) for row in found), 30
        )
        assert {(row["status"], row["attempts"]) for row in rows} == {("pending", 0)}
    tripped = "SELECT count(*) FROM smtp_breakers WHERE trips > 0"
    wait_until(lambda: world.ask(tripped) == [(2,)], 60, "both breakers to open")

    for customer in (slow, unknown):
        world.database.execute(
            "UPDATE smtp_configs SET host = '127.0.0.1' WHERE customer_id = %s", (customer.id,)
        )
        rows = world.wait_final(customer, 9)
        assert {(row["status"], row["attempts"]) for row in rows} == {("sent", 1)}
    assert not world.verdict().violations


def test_a_template_that_breaks_costs_its_own_mails_only(world: World, tmp_path: Path) -> None:  # F40
    templates = tmp_path / "templates"
    shutil.copytree(resources.path("templates"), templates)
    broken = templates / "job_partial" / "body.txt"
    broken.write_text(broken.read_text() + "\n{{ nobody.knows.this }}\n")
    customer = world.customer(admins=2)
    world.worker(
        templates__directory=templates, recipients__role_defaults='{"admin": ["job_failed", "job_partial"]}'
    ).ready()
    for number in range(1, 6):
        world.fail_job(customer, number)
        world.publish(failed_job(customer, number).replace(b"failed", b"partial"), routing_key="job_partial")
        world.expect(customer, f"job-{number}-partial")

    rows = world.wait_final(customer, 20)
    ends = {(row["event_type"], row["status"], row["failure_reason"]) for row in rows}
    assert ends == {("job_failed", "sent", None), ("job_partial", "failed", "render_error")}
    assert all("nobody" in row["error_message"] for row in rows if row["status"] == "failed")
    assert not world.verdict().violations


def test_a_line_that_breaks_in_the_middle_of_5_mb_is_no_doubt(world: World, tmp_path: Path) -> None:
    """F28: the end of the mail never left, so that trying again makes no second copy."""
    templates = tmp_path / "templates"
    shutil.copytree(resources.path("templates"), templates)
    body = templates / "job_failed" / "body.txt"
    line = "x" * 70
    loops = f"{{% for a in range(100) %}}{{% for b in range(750) %}}{line}\n{{% endfor %}}{{% endfor %}}"
    body.write_text(f"{body.read_text()}\n{loops}\n")
    server = world.smtp(Options(receive_buffer=8192))
    customer = world.customer(server)
    server.on("body", after_bytes(100_000, reset()), times=2)
    world.worker(templates__directory=templates, delivery__max_message_bytes=20_000_000).ready()
    world.fail_job(customer, 1)

    (row,) = world.wait_final(customer, 1)
    assert (row["status"], row["attempts"], row["ambiguous_count"]) == ("sent", 3, 0)
    (mail,) = server.mails
    assert len(mail.data) > 5_000_000
    verdict = world.verdict()
    assert (verdict.extra, verdict.ambiguous, verdict.violations) == (0, 0, ())


def test_a_relay_mistake_does_not_fail_hundreds_of_mails(
    world: World,
) -> None:  # ten in a row open the breaker
    customer = world.customer(admins=5)
    customer.server.on("rcpt", say("550 5.7.1 relaying denied"))
    world.worker(delivery__breaker_initial=60, delivery__breaker_max=60).ready()
    for number in range(1, 41):
        world.fail_job(customer, number)
    (server,) = world.database.rows("SELECT id FROM smtp_configs WHERE customer_id = %s", (customer.id,))
    wait_until(
        lambda: world.ask("SELECT 1 FROM smtp_breakers WHERE server_id = %s AND open_until > now()", server),
        60,
        "the breaker to open",
    )
    customer.server.forget()
    world.database.execute("UPDATE smtp_configs SET reply_to_email = 'help@sender.example'")
    rows = world.wait_final(customer, 200)
    refused = [row for row in rows if row["status"] == "failed"]
    assert {row["failure_reason"] for row in refused} == {"permanent_smtp"}
    assert 10 <= len(refused) <= 48  # those under way when it opened
    assert not world.verdict().violations
