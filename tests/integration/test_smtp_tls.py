from __future__ import annotations

import base64
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from notifier.domain.errors import SmtpFault
from notifier.domain.outcomes import BreakerEffect, Kind, classify
from notifier.domain.vocabulary import FaultCause, Phase
from tests.support.certificates import authority, self_signed_context
from tests.support.smtp_client import OPEN_POLICY, PATIENT, SHORT, connected, mail, opened, send, settings
from tests.support.smtp_script import drop, hang, raw, reset, say
from tests.support.smtp_server import Options, SmtpServer

if TYPE_CHECKING:
    from tests.support.smtp_conversation import Conversation

USER, PASSWORD = "user", "pässwort-canary"
ENCODED = tuple(base64.b64encode(text.encode()) for text in (PASSWORD, f"\0{USER}\0{PASSWORD}", USER))
STARTTLS = pytest.mark.parametrize("starttls", [True, False], ids=["starttls", "implicit"])


def _options(*, starttls: bool, **more: object) -> Options:
    return Options(
        starttls=starttls,
        implicit_tls=not starttls,
        mechanisms=("PLAIN",),
        users={USER: PASSWORD},
        **more,  # type: ignore[arg-type]  # any field of Options
    )


def _fault(server: SmtpServer, *, use_tls: bool = False, use_ssl: bool = False) -> SmtpFault:
    given = settings(server.port, use_tls=use_tls, use_ssl=use_ssl, username=USER, password=PASSWORD)
    with pytest.raises(SmtpFault) as caught:
        connected(given, deadlines=SHORT)
    return caught.value


def _assert_nothing_leaked(server: SmtpServer) -> None:
    assert b"AUTH" not in server.plaintext.upper()
    for secret in (PASSWORD.encode(), *ENCODED):
        assert secret not in server.plaintext


@STARTTLS
def test_login_and_mail_go_through_verified_tls(*, starttls: bool) -> None:
    with SmtpServer(_options(starttls=starttls, require_tls=True, require_auth=True)) as server:
        given = settings(
            server.port, use_tls=starttls, use_ssl=not starttls, username=USER, password=PASSWORD
        )
        with opened(server, given=given) as session:
            send(session)
            facts = session.tls
        _assert_nothing_leaked(server)
    assert len(server.mails) == 1
    assert facts is not None
    assert facts.version in {"TLSv1.2", "TLSv1.3"}
    assert facts.issuer == "CN=Test Authority"
    assert "localhost" in facts.names
    assert facts.not_after.endswith("GMT")


@STARTTLS
def test_ehlo_is_said_again_under_tls_and_only_that_answer_counts(*, starttls: bool) -> None:
    with SmtpServer(_options(starttls=starttls)) as server:
        given = settings(server.port, use_tls=starttls, use_ssl=not starttls)
        with opened(server, given=given) as session:
            assert not session._smtp.has_extn("starttls")
    told = [(c.line.split(" ")[0], c.encrypted) for c in server.commands]
    before = [("EHLO", False), ("STARTTLS", False)] if starttls else []
    assert [(verb.upper(), encrypted) for verb, encrypted in told] == [
        *before,
        ("EHLO", True),
        ("QUIT", True),
    ]


@STARTTLS
@pytest.mark.parametrize("case", ["expired", "self-signed", "wrong name"])
def test_a_certificate_that_does_not_hold_ends_it_before_the_login(*, starttls: bool, case: str) -> None:
    """F33"""
    context = {
        "expired": lambda: authority().server_context(names=("127.0.0.1",), expired=True),
        "self-signed": lambda: self_signed_context("127.0.0.1"),
        "wrong name": lambda: authority().server_context(names=("other.example",)),
    }[case]()
    with SmtpServer(_options(starttls=starttls, context=context)) as server:
        fault = _fault(server, use_tls=starttls, use_ssl=not starttls)
        _assert_nothing_leaked(server)
    verdict = classify(fault)
    assert fault.cause == FaultCause.CERTIFICATE
    assert (verdict.kind, verdict.failure_reason) == (Kind.CONFIG, "tls")
    assert verdict.breaker == BreakerEffect.OPEN_CONFIG
    assert PASSWORD not in fault.detail


def test_a_server_whose_starttls_is_stripped_gets_no_login() -> None:
    """F33"""
    options = Options(starttls=False, mechanisms=("PLAIN",), users={USER: PASSWORD})
    with SmtpServer(options) as server:
        fault = _fault(server, use_tls=True)
        _assert_nothing_leaked(server)
    assert fault.cause == FaultCause.STARTTLS_MISSING
    assert classify(fault).failure_reason == "tls"


@pytest.mark.parametrize("text", ["454 4.7.0 TLS not available", "502 5.5.1 no"])
def test_a_refused_starttls_gets_no_login(text: str) -> None:
    with SmtpServer(_options(starttls=True)) as server:
        server.on("starttls", say(text))
        fault = _fault(server, use_tls=True)
        _assert_nothing_leaked(server)
    assert fault.phase == Phase.STARTTLS
    assert classify(fault).kind == (Kind.TRANSIENT if text.startswith("4") else Kind.CONFIG)


def test_bytes_between_starttls_and_the_handshake_are_not_taken_for_an_answer() -> None:
    with SmtpServer(_options(starttls=True)) as server:
        server.on("starttls", raw(b"220 go ahead\r\n250-AUTH PLAIN\r\n250 injected\r\n"))
        fault = _fault(server, use_tls=True)
        _assert_nothing_leaked(server)
    assert fault.cause == FaultCause.HANDSHAKE


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (raw(b"220 go ahead\r\n"), FaultCause.TIMEOUT),
        (drop(), FaultCause.LOST),
        (hang(), FaultCause.TIMEOUT),
    ],
    ids=["silent", "drop", "hang"],
)
def test_a_handshake_that_never_comes_ends_in_time(answer: object, cause: FaultCause) -> None:
    with SmtpServer(_options(starttls=True)) as server:
        server.on("starttls", answer)  # type: ignore[arg-type]  # one of the actions above
        fault = _fault(server, use_tls=True)
    assert (fault.phase, fault.cause) == (Phase.STARTTLS, cause)


def test_a_plain_server_on_a_tls_port_is_a_tls_fault() -> None:
    with SmtpServer(Options()) as server:
        fault = _fault(server, use_ssl=True)
    assert fault.cause == FaultCause.HANDSHAKE
    assert classify(fault).failure_reason == "tls"


def test_a_broken_ca_certificate_is_named_without_its_text() -> None:
    with SmtpServer(_options(starttls=False)) as server:
        given = settings(server.port, use_ssl=True, ca_certificate="not a certificate")
        with pytest.raises(SmtpFault, match="not readable PEM") as caught:
            connected(given)
        server.wait_for(lambda: server.open_now == 0)
    assert caught.value.cause == FaultCause.CERTIFICATE


def test_the_name_on_the_certificate_must_be_the_configured_host_not_the_address() -> None:
    context = authority().server_context(names=("localhost",))
    with SmtpServer(_options(starttls=False, context=context)) as server:
        with opened(server, given=settings(server.port, host="localhost", use_ssl=True)):
            pass
        with pytest.raises(SmtpFault) as caught:
            connected(settings(server.port, use_ssl=True), deadlines=PATIENT)
    assert caught.value.cause == FaultCause.CERTIFICATE


@STARTTLS
def test_a_large_mail_goes_through_tls_whole(*, starttls: bool) -> None:
    data = mail(body=b"0123456789" * 500_000 + b"\r\n")
    with SmtpServer(_options(starttls=starttls)) as server:
        given = settings(server.port, use_tls=starttls, use_ssl=not starttls)
        with opened(server, given=given) as session:
            send(session, data=data)
            send(session)
    assert [m.data for m in server.mails] == [data, mail()]


def test_a_reset_during_the_handshake_is_a_lost_line() -> None:
    with SmtpServer(_options(starttls=True)) as server:
        server.on("starttls", reset_after_go_ahead)
        fault = _fault(server, use_tls=True)
    assert (fault.phase, fault.cause) == (Phase.STARTTLS, FaultCause.LOST)
    assert classify(fault).kind == Kind.TRANSIENT


def reset_after_go_ahead(conversation: Conversation) -> bool | None:
    """Agree to TLS, wait for the client's first bytes of it, break the line."""
    conversation.say("220 2.0.0 go ahead")
    conversation.skip(10)
    return reset()(conversation)


def test_a_host_name_no_certificate_can_hold_is_a_configuration_fault() -> None:
    host = ".leading.example"
    with SmtpServer(_options(starttls=False)) as server:
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        policy = replace(OPEN_POLICY, lookup=lambda *_, **__: [address])
        with pytest.raises(SmtpFault) as caught:
            connected(settings(server.port, host=host, use_ssl=True), policy=policy)
    assert caught.value.cause == FaultCause.CERTIFICATE
    assert host in caught.value.detail


# -- login ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_each_mechanism_logs_in_with_a_password_outside_ascii(mechanism: str) -> None:
    options = Options(mechanisms=(mechanism,), users={USER: PASSWORD}, require_auth=True)
    with SmtpServer(options) as server:
        given = settings(server.port, username=USER, password=PASSWORD)
        with opened(server, given=given) as session:
            send(session)
    assert len(server.mails) == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_wrong_password_is_tried_once_and_is_a_configuration_fault(mechanism: str) -> None:
    with SmtpServer(Options(mechanisms=(mechanism,), users={USER: "other"})) as server:
        fault = _fault(server)
    verdict = classify(fault)
    assert fault.reply is not None
    assert fault.reply.code == 535
    assert (verdict.kind, verdict.failure_reason, verdict.counts_attempt) == (Kind.CONFIG, "auth", False)
    assert server.verbs().count("AUTH") == 1


def test_a_login_that_fails_for_now_is_not_taken_for_a_wrong_password() -> None:
    with SmtpServer(Options(mechanisms=("PLAIN",))) as server:
        server.on("auth", say("454 4.7.0 temporary authentication failure"))
        fault = _fault(server)
    assert classify(fault).kind == Kind.TRANSIENT


def test_a_mechanism_the_server_takes_back_leads_to_the_next_one() -> None:
    with SmtpServer(Options(mechanisms=("CRAM-MD5", "PLAIN"), users={USER: PASSWORD})) as server:
        server.on("auth", say("504 5.5.4 not today"), times=1)
        with opened(server, given=settings(server.port, username=USER, password=PASSWORD)):
            pass
    assert server.verbs().count("AUTH") == 2


def test_no_common_mechanism_is_a_configuration_fault() -> None:
    with SmtpServer(Options(mechanisms=("XOAUTH2",))) as server:
        fault = _fault(server)
    assert fault.cause == FaultCause.NO_AUTH_MECHANISM
    assert "XOAUTH2" in fault.detail


def test_a_cram_challenge_that_is_no_base64_is_unparsable() -> None:
    with SmtpServer(Options(mechanisms=("CRAM-MD5",))) as server:
        server.on("auth", say("334 a"))
        fault = _fault(server)
    assert fault.cause == FaultCause.UNPARSABLE


def test_a_password_reaches_a_remote_server_in_clear_only_when_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loopback is exempt, so the peer is made to look remote."""
    monkeypatch.setattr("notifier.smtp.session.is_loopback", lambda _ip: False)
    with SmtpServer(Options(mechanisms=("PLAIN", "CRAM-MD5"), users={USER: PASSWORD})) as server:
        fault = _fault(server)
        _assert_nothing_leaked(server)
        allowed = settings(server.port, username=USER, password=PASSWORD, allow_plaintext_auth=True)
        with opened(server, given=allowed):
            pass
    assert fault.cause == FaultCause.PLAINTEXT_AUTH
    assert classify(fault).failure_reason == "tls"
