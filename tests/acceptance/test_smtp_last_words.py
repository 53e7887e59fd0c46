"""How mails end that cannot be delivered in time, may be tried once only, or must never arrive twice."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.smtp_cases import Case, arrange, at, check, refused
from tests.support.certificates import authority, self_signed_context
from tests.support.smtp_script import drop, hang, reset, say
from tests.support.smtp_server import Options

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tests.acceptance.world import World

pytestmark = pytest.mark.xdist_group("smtp_last_words")

PASSWORD = "correct horse"
LOGIN = {"username": "jobs", "password": PASSWORD}
WRONG_LOGIN = {"username": "jobs", "password": "wrong horse"}
NOTHING = at("quit", hang(), 0)


def _ended(reason: str, text: str, **facts: Any) -> Case:
    known = {"script": NOTHING, "code": None, "enhanced": None, "attempts": 0, "copies": 0}
    return Case(status="failed", reason=reason, text=text, **{**known, **facts})


def _auth(text: str, **facts: Any) -> Case:
    options = Options(mechanisms=("PLAIN",), users={"jobs": PASSWORD}, require_auth=True)
    return _ended("auth", text, **{"options": options, **facts})


def _tls(text: str, *, implicit: bool, context: ssl.SSLContext | None, stripped: bool = False) -> Case:
    return _ended(
        "tls",
        text,
        options=Options(
            starttls=not (implicit or stripped),
            implicit_tls=implicit and not stripped,
            context=context,
            mechanisms=("PLAIN", "LOGIN"),
            users={"jobs": PASSWORD},
        ),
        customer={
            **LOGIN,
            "use_ssl": implicit,
            "use_tls": not implicit,
            "ca_certificate": authority().pem,
        },
    )


CERTIFICATES: dict[str, Callable[[], ssl.SSLContext]] = {
    "self-signed": lambda: self_signed_context("127.0.0.1"),
    "of another name": lambda: authority().server_context(names=("other.example",)),
    "expired": lambda: authority().server_context(names=("127.0.0.1",), expired=True),
}
TLS_FAULTS = {  # F33
    f"F33 certificate {name}, {'implicit' if implicit else 'STARTTLS'}": _tls(
        "not accepted", implicit=implicit, context=make()
    )
    for name, make in CERTIFICATES.items()
    for implicit in (False, True)
}
TLS_FAULTS["F33 STARTTLS stripped"] = _tls(
    "does not offer the encryption", implicit=False, context=None, stripped=True
)
TLS_FAULTS["F33 STARTTLS refused"] = _ended(
    "tls",
    "not now",
    script=at("starttls", say("502 5.5.1 not now"), None),
    options=Options(starttls=True, mechanisms=("PLAIN",), users={"jobs": PASSWORD}),
    customer={**LOGIN, "use_tls": True, "ca_certificate": authority().pem},
    code=502,
    enhanced="5.5.1",
)
EXPIRING = TLS_FAULTS | {
    "F34 wrong password": _auth("authentication failed", customer=WRONG_LOGIN, code=535, enhanced="5.7.8"),
    "no common mechanism": _auth(
        "offers no login", options=Options(mechanisms=("GSSAPI",), users={"jobs": PASSWORD}), customer=LOGIN
    ),
    "login wanted at MAIL": _auth("authentication required", code=530, enhanced="5.7.0"),
    "530 asks for STARTTLS": _ended(
        "tls", "STARTTLS", options=Options(starttls=True, require_tls=True), code=530, enhanced="5.7.0"
    ),
    "F37 no such host": _ended("expired", "cannot be resolved", customer={"host": "no-such-host.invalid"}),
    "connection refused": _ended("expired", "could not be reached", customer={"port": 1}),
    "554 at the banner": _ended(
        "expired", "go away", script=at("banner", say("554 5.7.1 go away"), None), code=554, enhanced="5.7.1"
    ),
    "lost at the dot": _ended(
        "ambiguous", "the end of the mail", script=at("dot", drop(), None), attempts=1, ambiguous=1
    ),
}


def test_what_kept_a_mail_from_leaving_in_time_is_the_reason_it_ends_with(world: World) -> None:
    world.worker(delivery__expire_after=8, delivery__ambiguous_delay=60, delivery__senders=16).ready()
    customers = arrange(world, EXPIRING)
    unreadable = world.customer()  # B52
    world.database.execute(
        "UPDATE smtp_configs SET username = 'jobs', password = 'gAAAAABnot-ours' WHERE customer_id = %s",
        (unreadable.id,),
    )
    world.fail_job(unreadable, 1)
    for customer in (*customers.values(), unreadable):  # the fault is told while the mail still waits
        world.wait_log(customer, lambda rows: len(rows) == 1 and rows[0]["error_message"] is not None)

    for name, case in EXPIRING.items():
        check(world, case, customers[name])
    (row,) = world.wait_final(unreadable, 1)
    assert (row["failure_reason"], row["attempts"], unreadable.server.connections) == ("auth", 0, 0)
    assert "security.encryption_keys" in row["error_message"]

    for name in TLS_FAULTS:  # no credential byte without the TLS that was asked for
        seen = bytes(customers[name].server.plaintext)
        assert b"AUTH PLAIN" not in seen
        assert "AUTH" not in customers[name].server.verbs()
        for secret in (
            PASSWORD,
            base64.b64encode(PASSWORD.encode()).decode(),
            base64.b64encode(f"\0jobs\0{PASSWORD}".encode()).decode(),
        ):
            assert secret.encode() not in seen
    assert 1 <= customers["F34 wrong password"].server.verbs().count("AUTH") <= 5
    assert not world.verdict().violations


ONCE = {
    "451 at RCPT": refused("rcpt", "451 4.3.0 try later", reason="attempts_exhausted"),
    "greylisted": refused("rcpt", "451 4.7.1 greylisted", reason="attempts_exhausted"),
    "421 at the banner": refused("banner", "421 4.3.2 busy", reason="attempts_exhausted", attempts=0),
    "the sender is refused": refused("mail", "550 5.7.1 not you", reason="sender_refused"),
    "550 at RCPT": refused("rcpt", "550 5.1.1 no such user"),
    "connection refused": _ended("attempts_exhausted", "could not be reached", customer={"port": 1}),
    "no such host": _ended(
        "attempts_exhausted", "cannot be resolved", customer={"host": "no-such-host.invalid"}
    ),
    "wrong password": _auth("authentication failed", customer=WRONG_LOGIN, code=535, enhanced="5.7.8"),
    "stripped STARTTLS": _tls("does not offer", implicit=False, context=None, stripped=True),
    "lost at the dot": _ended(
        "ambiguous", "", script=at("dot", drop(accept=True)), attempts=1, ambiguous=1, copies=1
    ),
    "sent": Case(script=NOTHING, copies=1),
}


def test_with_one_attempt_the_first_fault_of_any_kind_ends_the_mail_with_its_reason(world: World) -> None:
    world.worker(delivery__max_attempts=1, delivery__senders=16).ready()
    customers = arrange(world, ONCE)
    neighbours = world.customer(admins=8)
    neighbours.server.on("rcpt", drop(), after=3, times=1)
    world.fail_job(neighbours, 1)

    for name, case in ONCE.items():
        check(world, case, customers[name])
    rows = world.wait_final(neighbours, 8)
    assert sorted((row["status"], row["attempts"]) for row in rows) == [("sent", 1)] * 8
    assert not world.verdict().violations


NEVER_TWICE = {
    f"F29 accepts, then {name}": _ended(
        "ambiguous", "the end of the mail", script=at("dot", action), attempts=1, ambiguous=1, copies=1
    )
    for name, action in {
        "drops": drop(accept=True),
        "resets": reset(accept=True),
        "hangs": hang(accept=True),
    }.items()
}
BAD_GOODBYES = {  # F30
    f"F30 QUIT is answered by {name}": Case(script=at("quit", action), copies=2, admins=2, attempts=2)
    for name, action in {
        "500": say("500 5.5.2 what?"),
        "421": say("421 4.3.2 closing"),
        "a drop": drop(),
        "silence": hang(),
    }.items()
}


def test_no_mail_arrives_twice_when_ambiguous_mails_fail_and_a_bad_goodbye_changes_nothing(
    world: World,
) -> None:
    worker = world.worker(
        delivery__on_ambiguous="fail", delivery__lease=10, delivery__drain_timeout=8, delivery__senders=16
    ).ready()
    customers = arrange(world, NEVER_TWICE | BAD_GOODBYES)
    for name, case in (NEVER_TWICE | BAD_GOODBYES).items():
        check(world, case, customers[name])

    assert worker.terminate() == 0
    for name, case in BAD_GOODBYES.items():
        assert "QUIT" in customers[name].server.verbs()
        check(world, case, customers[name])
    verdict = world.verdict()
    assert (verdict.extra, verdict.violations) == (0, ())
