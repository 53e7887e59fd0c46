"""A server's behaviour and what must become of the mails that meet it: cases for one worker to serve all at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.smtp_script import say
from tests.support.smtp_server import Options, SmtpServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.acceptance.world import Customer, World


@dataclass(frozen=True, kw_only=True)
class Case:
    """A server's behaviour, and the end of the mails that meet it.

    Every row ends with status, reason and answer; attempts and ambiguous are sums over the rows of all `admins`.
    copies is how many mails the server took in all. customer: how the customer's configuration differs.
    """

    script: Callable[[SmtpServer], None]
    copies: int
    options: Options = field(default_factory=Options)
    admins: int = 1
    status: str = "sent"
    reason: str | None = None
    attempts: int = 1
    ambiguous: int = 0
    code: int | None = 250
    enhanced: str | None = "2.0.0"
    text: str = ""
    customer: Mapping[str, Any] = field(default_factory=dict)


def refused(phase: str, answer: str, **facts: Any) -> Case:
    """A mail that is refused for good, after one attempt and with the server's own words."""
    code, enhanced, text = answer.split(" ", 2)
    known = {"status": "failed", "reason": "permanent_smtp", "copies": 0}
    return Case(
        script=lambda server: server.on(phase, say(answer)),
        code=int(code),
        enhanced=enhanced,
        text=text,
        **{**known, **facts},
    )


def at(phase: str, action: Any, times: int | None = 1, after: int = 0) -> Callable[[SmtpServer], None]:
    return lambda server: server.on(phase, action, times=times, after=after)


def arrange(world: World, cases: Mapping[str, Case]) -> dict[str, Customer]:
    """Give each case a server and a customer, and let one job of each fail."""
    customers = {}
    for name, case in cases.items():
        server = world.smtp(case.options)
        case.script(server)
        customers[name] = world.customer(server, admins=case.admins, **case.customer)
        world.fail_job(customers[name], 4812)
    return customers


def check(world: World, case: Case, customer: Customer, seconds: float = 60.0) -> None:
    """Wait for the end of the case's mails and compare."""
    rows = world.wait_final(customer, case.admins, seconds)

    assert {(row["status"], row["failure_reason"]) for row in rows} == {(case.status, case.reason)}
    assert sum(row["attempts"] for row in rows) == case.attempts
    assert sum(row["ambiguous_count"] for row in rows) == case.ambiguous
    taken = customer.server.accepted()
    assert sum(taken.values()) == case.copies
    assert set(taken) <= {row["message_id"] for row in rows}
    (answer,) = {(row["smtp_code"], row["smtp_enhanced_code"]) for row in rows}
    assert answer == (case.code, case.enhanced)
    for row in rows:
        assert (row["error_message"] is None) == (case.status == "sent")
        assert case.text in (row["smtp_response"] or row["error_message"] or "")
        assert case.text in (row["error_message"] or case.text)
