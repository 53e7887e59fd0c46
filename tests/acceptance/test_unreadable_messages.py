"""Messages that cannot be accepted, through the real broker and process: refused with a reason, while good ones go on.

One worker serves all cases of this file; each has events or customers of its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from pika import BasicProperties

from tests.acceptance.world import failed_job
from tests.unit.test_unreadable_events import UNREADABLE, job_event
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.world import Customer, WorkerProcess, World

pytestmark = pytest.mark.xdist_group("unreadable_messages")

MOST_RECIPIENTS = 6
PLAIN = BasicProperties(content_type="application/json", delivery_mode=2)


def _event(**changes: Any) -> bytes:
    return json.dumps(job_event() | changes).encode()


def _data(**changes: Any) -> bytes:
    return json.dumps(job_event(**changes)).encode()


SCHEMA_FAULTS = {  # body, and the path that the detail must name
    "B12 customer_id true": (_data(customer_id=True), "data.customer_id"),
    "B12 customer_id text": (_data(customer_id="1"), "data.customer_id"),
    "B12 customer_id 1.0": (_data(customer_id=1.0), "data.customer_id"),
    "B12 customer_id -1": (_data(customer_id=-1), "data.customer_id"),
    "B12 customer_id 2^63": (_data(customer_id=2**63), "data.customer_id"),
    "B13 id missing": (json.dumps({k: v for k, v in job_event().items() if k != "id"}).encode(), "id"),
    "B13 id empty": (_event(id=""), "id"),
    "B13 id of 10 kB": (_event(id="x" * 10_000), "id"),
    "B13 id with controls": (_event(id="a\r\nb"), "id"),
    "B54 time in year 99999": (_event(time="99999-01-01T00:00:00Z"), "time"),
    "no job": (_data(job=None), "data.job"),
    "wrong status": (_data(job={"id": 1, "type": "x", "status": "success"}), "data.job.status"),
    "wrong types": (_data(job=[1]), "data.job"),
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """The world with its worker, and a customer whose good events go on."""

    world: World
    worker: WorkerProcess
    customer: Customer


@pytest.fixture(scope="module", name="field")
def _field(shared_world: World) -> Iterator[Field]:
    world = shared_world
    worker = world.worker(recipients__max_per_event=MOST_RECIPIENTS)
    customer = world.customer()
    yield Field(world=world, worker=worker.ready(), customer=customer)
    worker.check_alive()
    (dead,) = world.ask("SELECT count(*) FROM rejected_events")[0]
    wait_until(
        lambda: world.depth(world.topology.dead_letter_queue) == dead, 60, "the dead letters to arrive"
    )
    verdict = world.verdict(dead_expected=dead)
    assert (verdict.lost, verdict.extra, verdict.stuck, verdict.violations) == (0, 0, 0, ())


def _rejection(field: Field, body: bytes) -> tuple[str, str, str | None]:
    """Wait for the note on a refused body: reason, detail, event id."""
    digest = hashlib.sha256(body).digest()
    query = "SELECT reason, detail, event_id FROM rejected_events WHERE body_sha256 = %s"
    rows = wait_until(lambda: field.world.ask(query, (digest,)), 60, "the rejection to be noted")
    assert len(rows) == 1
    return rows[0]


def _letters(field: Field) -> dict[str, dict[str, Any]]:
    """What `notifier dead-letters` shows, by the digest of the body."""
    shown = json.loads(field.world.command("dead-letters", "show", "--all", "--json"))
    return {letter["body_sha256"]: letter for letter in shown}


def test_every_kind_of_unreadable_message_is_dead_lettered_with_its_reason_while_good_ones_go_on(
    field: Field,
) -> None:
    world = field.world
    for number, (body, _) in enumerate(UNREADABLE.values(), start=1):
        world.publish_as(body, PLAIN)
        world.fail_job(field.customer, number)
    compressed = b"\x1f\x8b" + bytes(range(256))
    world.publish_as(compressed, BasicProperties(content_encoding="gzip", delivery_mode=2))

    for body, reason in [*UNREADABLE.values(), (compressed, "content_encoding")]:
        assert _rejection(field, body)[0] == reason
    wait_until(
        lambda: [row["status"] for row in world.log(field.customer)].count("sent") >= len(UNREADABLE),
        30,
        "the good ones to be sent",
    )
    wait_until(
        lambda: world.depth(world.topology.dead_letter_queue) >= len(UNREADABLE) + 1, 60, "the dead letters"
    )
    dead = world.depth(world.topology.dead_letter_queue)
    wait_until(
        lambda: (json.loads(field.worker.get("/healthz")[1])["dead_letters"] or 0) >= dead, 25, "its count"
    )
    letters = _letters(field)
    for body, reason in UNREADABLE.values():
        assert letters[hashlib.sha256(body).hexdigest()]["reason"] == reason


@pytest.mark.parametrize("name", SCHEMA_FAULTS)
def test_a_fault_of_form_is_named_with_its_path(field: Field, name: str) -> None:  # B12, B13, B54
    body, path = SCHEMA_FAULTS[name]
    field.world.publish_as(body, PLAIN)
    reason, detail, _ = _rejection(field, body)
    assert reason == "schema"
    assert path in detail


def test_an_unknown_customer_is_named(field: Field) -> None:  # B16
    body = _data(customer_id=987654321)
    field.world.publish_as(body, PLAIN)
    assert _rejection(field, body) == (
        "unknown_customer",
        "there is no customer 987654321",
        "job-4812-failed",
    )


def test_an_unknown_type_is_acked_and_kept_as_ignored(field: Field) -> None:  # B14
    world = field.world
    for customer in (field.customer.id, 987654321):
        body = {**job_event(customer_id=customer), "id": "b14", "type": "job_paused"}
        world.publish_as(json.dumps(body).encode(), PLAIN, routing_key="job_paused")
    query = "SELECT customer_id, outcome FROM job_events WHERE event_id = 'b14'"
    rows = wait_until(lambda: world.ask(query), 60, "the inbox row")
    wait_until(lambda: world.depth(world.topology.queue) == 0, 60, "both to be acked")
    assert rows == world.ask(query) == [(field.customer.id, "ignored")]
    assert world.ask("SELECT 1 FROM rejected_events WHERE event_id = 'b14'") == []


def test_another_payload_under_a_known_identity_is_refused_and_the_first_stands(field: Field) -> None:  # B18
    world = field.world
    customer = world.customer()
    world.fail_job(customer, 18)
    world.wait_final(customer, 1)
    other = failed_job(customer, 18, error="something else")
    world.publish(other)
    reason, _, event_id = _rejection(field, other)
    assert (reason, event_id) == ("id_conflict", "job-18-failed")
    world.publish(failed_job(customer, 18))  # the same again is a duplicate, not a conflict
    wait_until(lambda: world.depth(world.topology.queue) == 0, 60, "it to be acked")
    assert len(world.log(customer)) == 1


def test_one_id_of_two_customers_or_sources_is_two_events(field: Field) -> None:  # B19
    world = field.world
    first, second = world.customer(), world.customer()
    for customer in (first, second):
        world.fail_job(customer, 19)
    world.publish(failed_job(first, 19).replace(b"tests/jobs", b"other/jobs"))
    world.expect(first, "job-19-failed", source="other/jobs")
    assert {len(world.wait_final(first, 2)), len(world.wait_final(second, 1))} == {1, 2}


def test_an_event_with_too_many_recipients_goes_to_nobody(field: Field) -> None:  # B37
    world = field.world
    crowd, full = world.customer(admins=MOST_RECIPIENTS + 1), world.customer(admins=MOST_RECIPIENTS)
    body = failed_job(crowd, 37)
    world.publish(body)
    world.fail_job(full, 37)
    reason, detail, event_id = _rejection(field, body)
    assert (reason, event_id) == ("too_many_recipients", "job-37-failed")
    assert "recipients.max_per_event" in detail
    world.wait_final(full, MOST_RECIPIENTS)
    assert world.log(crowd) == []


def test_the_body_wins_over_the_routing_key_and_the_contradiction_is_told(field: Field) -> None:  # B15
    world = field.world
    customer = world.customer()
    for number, key in enumerate((f"job_success.{customer.id}", f"job_failed.{customer.id + 1}"), start=1):
        world.publish(failed_job(customer, number), routing_key=key)
        world.expect(customer, f"job-{number}-failed")
    rows = world.wait_final(customer, 2)
    assert {(row["event_type"], row["status"]) for row in rows} == {("job_failed", "sent")}

    def told() -> int:
        lines = [line for line in field.worker.lines() if line["event"] == "routing_key_contradicts_body"]
        return sum(line["customer_id"] == customer.id for line in lines)

    wait_until(lambda: told() == 2, what="both warnings")


def test_odd_headers_and_forged_deaths_change_nothing(field: Field) -> None:  # B53
    world = field.world
    customer = world.customer()
    death = {
        "queue": world.topology.queue,
        "reason": "rejected",
        "count": 99,
        "exchange": "",
        "routing-keys": ["x"],
    }
    oddities: list[dict[str, Any]] = [
        {f"header-{number}": "x" * 40 for number in range(1500)},
        {"x-death": [death], "x-delivery-count": 99, "x-first-death-reason": "rejected"},
        {"traceparent": b"\xff\xfe", "id": None, "ce-id": ["not", "an", "event"]},
    ]
    for number, headers in enumerate(oddities, start=1):
        properties = BasicProperties(
            content_type="text/html; charset=klingon", headers=headers, delivery_mode=2
        )
        world.publish_as(failed_job(customer, number), properties)
        world.expect(customer, f"job-{number}-failed")
    assert {row["status"] for row in world.wait_final(customer, 3)} == {"sent"}


@pytest.mark.parametrize("timezone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_oldest_and_the_latest_times_are_taken_and_shown(field: Field, timezone: str) -> None:  # B54
    world = field.world
    customer = world.customer()
    world.database.execute("UPDATE customers SET timezone = %s WHERE id = %s", (timezone, customer.id))
    times = ("0001-01-01T00:00:00Z", "2026-11-20T04:31:07+14:00", "9999-12-31T23:59:59Z")
    for number, time in enumerate(times, start=1):
        job = dict.fromkeys(("requested_at", "started_at", "finished_at", "next_run_at"), time)
        body = failed_job(customer, number, **job).replace(b"2026-11-23T04:31:07Z", time.encode())
        world.publish(body)
        world.expect(customer, f"job-{number}-failed")
    assert {row["status"] for row in world.wait_final(customer, 3)} == {"sent"}
