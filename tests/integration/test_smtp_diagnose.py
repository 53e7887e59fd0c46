from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from notifier.domain.errors import SmtpFault
from notifier.domain.outcomes import Kind, Reply
from notifier.domain.vocabulary import FaultCause, Phase
from notifier.smtp import diagnose
from notifier.smtp.cures import cure
from tests.support.certificates import authority, self_signed_context
from tests.support.smtp_client import DEFAULT_DENIED, OPEN_POLICY, SHORT, outgoing, settings
from tests.support.smtp_script import drop, say
from tests.support.smtp_server import Options, SmtpServer

if TYPE_CHECKING:
    from notifier.domain.servers import SmtpServer as ServerSettings
    from notifier.smtp.diagnose import Stage
    from notifier.smtp.policy import ConnectPolicy

SECRET = "canary-7731"
LOGIN = {"user": SECRET}


def _run(given: ServerSettings, *, policy: ConnectPolicy = OPEN_POLICY) -> list[Stage]:
    stages = diagnose.run(
        given,
        outgoing(),
        policy=policy,
        deadlines=SHORT,
    )
    assert SECRET not in repr(stages)
    return stages


def _names(stages: list[Stage]) -> list[tuple[str, bool]]:
    return [(stage.name, stage.ok) for stage in stages]


ALL = ["DNS", "TCP", "TLS", "AUTH", "MAIL", "RCPT", "DATA"]


@pytest.mark.parametrize(("starttls", "implicit"), [(True, False), (False, True), (False, False)])
def test_a_good_server_passes_every_stage_and_gets_the_mail(*, starttls: bool, implicit: bool) -> None:
    options = Options(starttls=starttls, implicit_tls=implicit, mechanisms=("PLAIN",), users=LOGIN)
    with SmtpServer(options) as server:
        stages = _run(
            settings(server.port, use_tls=starttls, use_ssl=implicit, username="user", password=SECRET)
        )
        server.wait_for(lambda: server.open_now == 0)
    assert _names(stages) == [(name, True) for name in ALL]
    assert len(server.mails) == 1
    by_name = {stage.name: stage for stage in stages}
    assert by_name["DNS"].detail == "127.0.0.1 is 127.0.0.1"
    if starttls or implicit:
        assert "issued by CN=Test Authority, valid until" in by_name["TLS"].detail
    else:
        assert by_name["TLS"].detail.startswith("not encrypted")
    assert by_name["AUTH"].detail == "logged in as user"
    assert by_name["DATA"].detail.startswith("the mail is taken: 250 2.0.0 Ok")


def test_a_name_that_does_not_resolve_fails_at_dns() -> None:
    stages = _run(settings(25, host="no such host"))
    assert _names(stages) == [("DNS", False)]
    assert "spelling" in str(stages[0].cure)


def test_a_denied_host_fails_at_dns_and_names_the_setting() -> None:
    with SmtpServer() as server:
        policy = replace(OPEN_POLICY, denied_networks=DEFAULT_DENIED)
        stages = _run(settings(server.port, trusted=False), policy=policy)
        assert server.connections == 0
    assert _names(stages) == [("DNS", False)]
    assert "delivery.denied_networks" in str(stages[0].cure)


def test_a_closed_port_fails_at_tcp() -> None:
    with SmtpServer() as server:
        port = server.port
    stages = _run(settings(port))
    assert _names(stages) == [("DNS", True), ("TCP", False)]
    assert "587" in str(stages[-1].cure)


def test_a_greeting_that_refuses_is_told_with_its_code() -> None:
    with SmtpServer() as server:
        server.on("banner", say("554 5.7.1 not you"))
        stages = _run(settings(server.port))
    last = stages[-1]
    assert (last.name, last.code, last.kind) == ("TCP", 554, Kind.CONNECTION)
    assert "refuses this machine" in str(last.cure)


def test_a_self_signed_certificate_fails_at_tls() -> None:
    with SmtpServer(Options(implicit_tls=True, context=self_signed_context("127.0.0.1"))) as server:
        stages = _run(settings(server.port, use_ssl=True))
    assert (stages[-1].name, stages[-1].ok) == ("TLS", False)
    assert "certificate" in str(stages[-1].cure)


@pytest.mark.parametrize(
    ("names", "expired", "authority_known", "cure_says"),
    [
        (("other.example",), False, True, "made for another name"),
        (("127.0.0.1",), True, True, "renew the certificate"),
        (("127.0.0.1",), False, False, "certificate as ca_certificate (--ca-file)"),
    ],
)
def test_each_fault_of_a_certificate_has_its_own_cure(
    *, names: tuple[str, ...], expired: bool, authority_known: bool, cure_says: str
) -> None:
    context = authority().server_context(names=names, expired=expired)
    with SmtpServer(Options(starttls=True, context=context)) as server:
        given = settings(server.port, use_tls=True)
        last = _run(given if authority_known else replace(given, ca_certificate=None))[-1]
    assert (last.name, last.ok) == ("TLS", False)
    assert cure_says in str(last.cure)


def test_a_server_that_hangs_up_at_once_is_told_plainly() -> None:
    with SmtpServer() as server:
        server.on("banner", drop())
        last = _run(settings(server.port))[-1]
    assert last.detail == "127.0.0.1 closed the connection before its greeting"


def test_a_missing_starttls_fails_at_tls_and_a_plain_port_is_explained() -> None:
    with SmtpServer() as server:
        missing = _run(settings(server.port, use_tls=True))[-1]
        wrong_port = _run(settings(server.port, use_ssl=True))[-1]
    assert (missing.name, wrong_port.name) == ("TLS", "TLS")
    assert "STARTTLS" in str(missing.cure)
    assert "use_tls instead of use_ssl" in str(wrong_port.cure)


def test_a_wrong_password_fails_at_auth() -> None:
    with SmtpServer(Options(mechanisms=("PLAIN",), users={"user": "other"})) as server:
        stages = _run(settings(server.port, username="user", password=SECRET))
    assert (stages[-1].name, stages[-1].code) == ("AUTH", 535)
    assert "username and password" in str(stages[-1].cure)


@pytest.mark.parametrize(
    ("phase", "text", "name", "word"),
    [
        ("mail", "550 5.7.1 not you", "MAIL", "noreply@example.org"),
        ("mail", "530 5.7.0 authentication required", "MAIL", "wants a login"),
        ("mail", "530 5.7.0 Must issue a STARTTLS command first", "MAIL", "turn on use_tls"),
        ("rcpt", "550 5.1.1 who", "RCPT", "recipient's address"),
        ("rcpt", "450 4.2.0 greylisted", "RCPT", "few minutes"),
        ("data", "554 5.5.1 no", "DATA", "content"),
        ("dot", "554 5.7.1 spam", "DATA", "content"),
    ],
)
def test_a_refused_envelope_or_mail_names_its_stage_and_cure(
    phase: str, text: str, name: str, word: str
) -> None:
    with SmtpServer() as server:
        server.on(phase, say(text))
        stages = _run(settings(server.port))
    assert [stage.name for stage in stages] == ALL[: ALL.index(name) + 1]
    assert [stage.ok for stage in stages] == [True] * (len(stages) - 1) + [False]
    assert text in stages[-1].detail
    assert word in str(stages[-1].cure)


def test_a_line_that_breaks_at_the_dot_fails_at_data() -> None:
    with SmtpServer() as server:
        server.on("dot", drop())
        last = _run(settings(server.port))[-1]
    assert (last.name, last.ok, last.kind) == ("DATA", False, Kind.AMBIGUOUS)


def test_what_the_server_cannot_take_fails_at_mail() -> None:
    with SmtpServer(Options(size=10)) as server:
        last = _run(settings(server.port))[-1]
    assert (last.name, last.ok) == ("MAIL", False)
    assert "size" in str(last.cure)


def test_every_fault_in_every_phase_has_a_cure() -> None:
    given = settings(25, username="user", password=SECRET)
    for phase in Phase:
        for cause in FaultCause:
            assert cure(SmtpFault(phase=phase, cause=cause, detail="x"), given).endswith(".")
        for code in range(200, 600, 7):
            reply = Reply(code=code, enhanced=None, text="")
            fault = SmtpFault(phase=phase, cause=FaultCause.REPLY, detail="x", reply=reply)
            assert cure(fault, replace(given, username=None)).endswith(".")
