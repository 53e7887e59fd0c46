"""What SMTP servers do to mails, through the real process: what each row says afterwards, and how many copies arrived.

One worker serves all cases of this file at once; each has a customer and a server of its own.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.acceptance.smtp_cases import Case, arrange, at, check, refused
from tests.support.smtp_script import drip, drop, endless, hang, raw, reset, say
from tests.support.smtp_server import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.world import Customer, World

pytestmark = pytest.mark.xdist_group("smtp_faults")

# The lease bounds a mail to 8.75 s, so that a server that hangs is given up within this file's time.
SETTINGS: dict[str, Any] = {
    "delivery__lease": 10,
    "delivery__drain_timeout": 8,
    "delivery__senders": 24,
    "delivery__backoff_max": 1,
}
GREYLIST = "451 4.7.1 greylisted, come back later"
JUNK = b"550 5.1.1 no \x1b[31msuch\x00 user\x07 " + bytes(range(128, 256)) * 30 + b"\r\n"


CASES = {
    "F25 421 at the banner": Case(script=at("banner", say("421 4.3.2 too busy"), 3), copies=1),
    "F25 450 at RCPT": Case(script=at("rcpt", say("450 4.2.1 mailbox busy"), 3), copies=1, attempts=4),
    "F25 451 at RCPT": Case(script=at("rcpt", say("451 4.3.0 local error"), 3), copies=1, attempts=4),
    "421 at the dot": Case(script=at("dot", say("421 4.3.2 shutting down")), copies=1, attempts=2),
    "greylisted twice": Case(script=at("rcpt", say(GREYLIST), 2), copies=1, attempts=3),
    "F26 550 at RCPT": refused("rcpt", "550 5.1.1 no such user here"),
    "F26 554 at the dot": refused("dot", "554 5.7.1 we think this is spam"),
    "F26 552 at the dot": refused("dot", "552 5.3.4 too big for us"),
    "F26 552 at MAIL": refused("mail", "552 5.3.4 too big for us"),
    "F26 above the size the server tells": Case(
        script=lambda _: None,
        options=Options(size=1000),
        status="failed",
        reason="too_large",
        attempts=0,
        copies=0,
        code=None,
        enhanced=None,
    ),
    "the sender is refused": refused(
        "mail", "550 5.7.1 sender not allowed", reason="sender_refused", attempts=2
    ),
    "F27 451 for ever": refused("rcpt", "451 4.3.0 try later", reason="attempts_exhausted", attempts=8),
    "F28 drop in the middle of a small body": Case(
        script=at("body", drop()), copies=1, attempts=2, ambiguous=1
    ),
    "F29 accepts, then drops": Case(script=at("dot", drop(accept=True)), copies=2, attempts=2, ambiguous=1),
    "F29 accepts, then resets": Case(script=at("dot", reset(accept=True)), copies=2, attempts=2, ambiguous=1),
    "F29 accepts, then hangs": Case(script=at("dot", hang(accept=True)), copies=2, attempts=2, ambiguous=1),
    "F29 accepts and drops for ever": Case(
        script=at("dot", drop(accept=True), None),
        copies=3,
        attempts=3,
        ambiguous=3,
        status="failed",
        reason="ambiguous",
        code=None,
        enhanced=None,
    ),
    "F31 endless reply to EHLO": Case(script=at("ehlo", endless("250-and so on")), copies=1),
    "F31 endless reply to RCPT": Case(script=at("rcpt", endless("250-and so on")), copies=1, attempts=2),
    "F31 a line of 1 MB at the banner": Case(
        script=at("banner", raw(b"220 " + b"x" * 1_000_000 + b"\r\n")), copies=1
    ),
    "F31 one byte per half second at the dot": Case(
        script=at("dot", drip("250 2.0.0 Ok: queued as 4711", interval=0.5)),
        copies=1,
        attempts=2,
        ambiguous=1,
    ),
    "F32 no more than two mails per connection": Case(
        script=lambda _: None, options=Options(max_mails=2), admins=5, copies=5, attempts=5
    ),
    "F45 the line dies at RCPT of the fifth of 16": Case(
        script=at("rcpt", drop(), 1, after=4), admins=16, copies=16, attempts=16
    ),
    "F45 the line dies at the dot of the fifth of 16": Case(
        script=at("dot", drop(accept=True), 1, after=4), admins=16, copies=17, attempts=17, ambiguous=1
    ),
    "B56 a reply of junk": Case(
        script=at("rcpt", raw(JUNK), None),
        copies=0,
        status="failed",
        reason="permanent_smtp",
        code=550,
        enhanced="5.1.1",
        text="no such user",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """The world with its worker, and the customer of each case. rss: the worker's memory before, in bytes."""

    world: World
    customers: dict[str, Customer]
    rss: int


@pytest.fixture(scope="module", name="field")
def _field(shared_world: World) -> Iterator[Field]:
    world = shared_world
    worker = world.worker(**SETTINGS).ready()
    rss = psutil.Process(worker.process.pid).memory_info().rss
    customers = arrange(world, CASES)
    yield Field(world=world, customers=customers, rss=rss)
    for name, customer in customers.items():
        world.wait_final(customer, CASES[name].admins)
    verdict = world.verdict()
    assert (verdict.lost, verdict.stuck, verdict.violations) == (0, 0, ())
    assert verdict.extra <= verdict.ambiguous


@pytest.mark.parametrize("name", CASES)
def test_a_mail_ends_as_its_server_made_it_end(field: Field, name: str) -> None:
    check(field.world, CASES[name], field.customers[name])


def test_a_greylisted_mail_waits_the_greylist_delay_between_its_tries(field: Field) -> None:
    customer = field.customers["greylisted twice"]
    field.world.wait_final(customer, 1)
    tries = [c.at for c in customer.server.commands if c.line.startswith("RCPT")]
    assert len(tries) == 3
    assert all(after - before >= 0.3 for before, after in itertools.pairwise(tries))


def test_refused_mails_are_tried_along_the_schedule(field: Field) -> None:
    customer = field.customers["F27 451 for ever"]
    field.world.wait_final(customer, 1)
    tries = [c.at for c in customer.server.commands if c.line.startswith("RCPT")]
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    wanted = [0.3, 0.6, 1, 1, 1, 1, 1]
    assert len(pauses) == len(wanted)
    for pause, delay in zip(pauses, wanted, strict=True):
        assert delay * 0.8 <= pause <= delay * 1.2 + 5, (
            pauses
        )  # who sleeps is woken each second; machines are busy


def test_a_reply_of_junk_is_stored_as_one_short_printable_line(field: Field) -> None:  # B56
    (row,) = field.world.wait_final(field.customers["B56 a reply of junk"], 1)
    for text in (row["smtp_response"], row["error_message"]):
        assert text.isprintable()
        assert len(text) <= 700


def test_servers_that_never_stop_talking_do_not_fill_the_memory(field: Field) -> None:  # F31
    for name in [name for name in CASES if name.startswith("F31")]:
        field.world.wait_final(field.customers[name], 1)
    (worker,) = field.world.workers
    grown = psutil.Process(worker.process.pid).memory_info().rss - field.rss
    assert grown < 40_000_000, grown  # of which 24 sender threads and their connections take half


def test_a_connection_closed_while_idle_costs_no_attempt(field: Field) -> None:  # F32
    world = field.world
    customer = world.customer()
    for number in (1, 2):
        world.fail_job(customer, number)
        world.wait_final(customer, number)
        customer.server.hang_up("421 4.4.2 idle for too long" if number == 1 else None)
    world.fail_job(customer, 3)
    rows = world.wait_final(customer, 3)
    assert [(row["status"], row["attempts"], row["ambiguous_count"]) for row in rows] == [("sent", 1, 0)] * 3
    assert customer.server.connections == 3
