from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
import time
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from notifier.domain.errors import SmtpFault
from notifier.domain.outcomes import Kind, classify
from notifier.domain.vocabulary import FaultCause, Phase
from notifier.smtp.connection import PhasedSMTP
from notifier.smtp.session import Session
from tests.support.smtp_client import (
    OPEN_POLICY,
    PATIENT,
    SHORT,
    connected,
    mail,
    opened,
    outgoing,
    send,
    settings,
)
from tests.support.smtp_script import (
    Action,
    HangUp,
    after_bytes,
    drip,
    drop,
    endless,
    hang,
    once_seen,
    pause,
    raw,
    reset,
    say,
)
from tests.support.smtp_server import Options, SmtpServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.smtp_conversation import Conversation

BOTH_WAYS = pytest.mark.parametrize("pipelining", [True, False])


def _fault_of_sending(server: SmtpServer, *, data: bytes | None = None) -> SmtpFault:
    with opened(server, deadlines=SHORT) as session, pytest.raises(SmtpFault) as caught:
        send(session, data=data)
    return caught.value


@BOTH_WAYS
def test_a_mail_arrives_byte_for_byte_and_the_final_reply_comes_back(*, pipelining: bool) -> None:
    body = b".\r\n..two\r\nend\r\n.\r\nMAIL FROM:<e@x>\r\n"
    with SmtpServer(Options(pipelining=pipelining)) as server, opened(server) as session:
        reply = send(session, data=mail(body=body))
    assert (reply.code, reply.enhanced) == (250, "2.0.0")
    assert [m.data for m in server.mails] == [mail(body=body)]
    assert server.mails[0].rcpt_tos == ("b@example.org",)
    assert server.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


def test_a_mail_that_begins_with_a_dot_or_lacks_the_last_line_end_is_not_damaged() -> None:
    with SmtpServer() as server, opened(server) as session:
        send(session, data=b".x: y\r\n\r\nno line end")
    assert server.mails[0].data == b".x: y\r\n\r\nno line end\r\n"


@BOTH_WAYS
def test_many_mails_share_one_connection(*, pipelining: bool) -> None:
    with SmtpServer(Options(pipelining=pipelining)) as server, opened(server) as session:
        reused = [session.reused]
        for number in range(20):
            send(session, data=mail(str(number)))
        reused.append(session.reused)
        assert reused == [False, True]
        assert session.sent == 20
    assert server.connections == 1
    assert len(server.accepted()) == 20


@BOTH_WAYS
@pytest.mark.parametrize("phase", [Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.DOT])
@pytest.mark.parametrize("text", ["451 4.3.0 later", "550 5.1.1 never"])
def test_a_refusal_names_its_phase_and_leaves_the_connection_clean(
    *, pipelining: bool, phase: Phase, text: str
) -> None:
    with SmtpServer(Options(pipelining=pipelining)) as server:
        server.on(phase, say(text), times=1)
        with opened(server) as session:
            with pytest.raises(SmtpFault) as caught:
                send(session, data=mail("refused"))
            assert session.usable
            assert session.reused
            send(session, data=mail("next"))
    fault = caught.value
    assert (fault.phase, fault.cause) == (phase, FaultCause.REPLY)
    assert str(fault.reply) == text
    assert server.connections == 1
    assert server.accepted() == {"<next@example.org>": 1}
    assert server.verbs().count("RSET") == 1


def test_when_rcpt_is_refused_but_data_is_taken_a_lone_dot_follows_and_rcpt_decides() -> None:
    with SmtpServer() as server:
        server.on("rcpt", say("550 5.1.1 no such user"), times=1)
        server.on("data", say("354 go on", accept=True), times=1)
        with opened(server) as session:
            with pytest.raises(SmtpFault) as caught:
                send(session, data=mail("refused"))
            send(session, data=mail("next"))
    assert caught.value.phase == Phase.RCPT
    assert [m.message_id for m in server.mails] == ["<next@example.org>"]


def test_when_the_connection_breaks_behind_a_refused_rcpt_the_refusal_decides() -> None:
    with SmtpServer() as server:
        server.on("rcpt", say("550 5.1.1 no such user"))
        server.on("data", drop())
        fault = _fault_of_sending(server)
    assert (fault.phase, fault.reply and fault.reply.code) == (Phase.RCPT, 550)


def test_the_greeting_of_what_is_no_mail_server_is_not_repeated() -> None:
    with SmtpServer() as server:
        server.on("banner", raw(b"SSH-2.0-OpenSSH_9.2p1 internal-name\r\n"))
        with pytest.raises(SmtpFault) as caught, opened(server, deadlines=SHORT):
            pass
    assert caught.value.cause == FaultCause.UNPARSABLE
    assert str(caught.value) == "127.0.0.1 answered what is no SMTP reply before its greeting"


@pytest.mark.parametrize("phase", [Phase.MAIL, Phase.RCPT, Phase.DATA])
@pytest.mark.parametrize(
    ("action", "cause"),
    [
        (drop(), FaultCause.LOST),
        (reset(), FaultCause.LOST),
        (hang(), FaultCause.TIMEOUT),
        (drip("250-slow", interval=0.1), FaultCause.TIMEOUT),
        (endless("250-more"), FaultCause.UNPARSABLE),
        (raw(b"250 " + b"x" * 1_000_000), FaultCause.UNPARSABLE),
        (raw(b"hello\r\n"), FaultCause.UNPARSABLE),
        (raw(b"999 what\r\n"), FaultCause.UNPARSABLE),
    ],
    ids=["drop", "rst", "hang", "drip", "endless", "megabyte", "words", "code"],
)
def test_a_line_that_breaks_before_the_dot_is_never_ambiguous(
    phase: Phase, action: Action, cause: FaultCause
) -> None:
    with SmtpServer() as server:
        server.on(phase, action)
        with opened(server, deadlines=SHORT) as session:
            started = time.monotonic()
            with pytest.raises(SmtpFault) as caught:
                send(session)
            assert time.monotonic() - started <= SHORT.mail + 2  # F31
        assert not session.usable
    assert (caught.value.phase, caught.value.cause) == (phase, cause)
    assert classify(caught.value).kind == Kind.TRANSIENT
    assert not server.mails


@pytest.mark.parametrize(
    "action",
    [
        drop(accept=True),
        reset(accept=True),
        hang(accept=True),
        drip("250-", interval=0.1),
        endless("250-more"),
        raw(b"?\r\n"),
    ],
    ids=["drop", "rst", "hang", "drip", "endless", "words"],
)
def test_a_line_that_breaks_at_the_dot_is_ambiguous(action: Action) -> None:
    """F29: the server may or may not have taken the mail."""
    with SmtpServer() as server:
        server.on("dot", action)
        fault = _fault_of_sending(server)
    assert fault.phase == Phase.DOT
    assert classify(fault).kind == Kind.AMBIGUOUS


@pytest.mark.parametrize("break_off", [drop(), reset()], ids=["drop", "rst"])
def test_a_break_in_the_middle_of_a_large_mail_is_not_ambiguous(break_off: Action) -> None:
    """F28: the socket refused a byte before the dot, so the dot never left."""
    with SmtpServer() as server:
        server.on("body", after_bytes(100_000, break_off))
        fault = _fault_of_sending(server, data=mail(body=b"x" * 70 + b"\r\n" + b"y" * 20_000_000))
    assert (fault.phase, fault.cause) == (Phase.BODY, FaultCause.LOST)
    assert classify(fault).kind == Kind.TRANSIENT


def test_a_server_that_stops_reading_times_out_in_the_text() -> None:
    with SmtpServer() as server:
        server.on("body", pause(threading.Event()))
        fault = _fault_of_sending(server, data=mail(body=b"y" * 20_000_000))
    assert (fault.phase, fault.cause) == (Phase.BODY, FaultCause.TIMEOUT)


def test_any_2yz_after_the_dot_is_success() -> None:
    with SmtpServer() as server:
        server.on("dot", say("251 2.1.5 will forward", accept=True))
        with opened(server) as session:
            assert send(session).code == 251


@pytest.mark.parametrize(
    "action",
    [say("500 what"), say("421 closing"), drop(), hang()],
    ids=["500", "421", "drop", "hang"],
)
def test_a_bad_quit_changes_nothing(action: Action) -> None:
    """F30: what follows the 250 is not part of the result."""
    with SmtpServer() as server:
        server.on("quit", action)
        session = connected(settings(server.port), deadlines=replace(PATIENT, quit=0.3))
        assert send(session).code == 250
        started = time.monotonic()
        session.close()
        assert time.monotonic() - started < 20, "it does not wait for as long as for any other answer"
    assert not session.usable
    assert len(server.mails) == 1


def test_an_idle_connection_the_server_closed_says_so_before_data() -> None:
    """F32: `reused` tells the caller that a new connection costs no attempt."""
    with SmtpServer() as server, opened(server) as session:
        send(session)
        server.hang_up()
        with pytest.raises(SmtpFault) as caught:
            send(session)
        assert session.reused
    assert (caught.value.phase, caught.value.cause) == (Phase.MAIL, FaultCause.LOST)


def test_a_last_word_before_the_idle_close_is_read_as_421() -> None:
    with SmtpServer() as server, opened(server) as session:
        send(session)
        server.hang_up("421 4.4.2 idle")
        with pytest.raises(SmtpFault) as caught:
            send(session)
        assert session.reused
        assert not session.usable
    assert caught.value.phase == Phase.MAIL


def test_too_many_mails_on_a_connection_end_it_with_421() -> None:
    with SmtpServer(Options(max_mails=2)) as server, opened(server) as session:
        send(session, data=mail("1"))
        send(session, data=mail("2"))
        with pytest.raises(SmtpFault) as caught:
            send(session, data=mail("3"))
        assert session.reused
        assert not session.usable
    assert caught.value.phase == Phase.MAIL
    assert caught.value.reply is not None
    assert caught.value.reply.code == 421
    assert len(server.accepted()) == 2


def test_a_fresh_connection_refused_at_its_first_mail_is_not_called_reused() -> None:
    with SmtpServer() as server, opened(server) as session:
        server.on("mail", say("421 4.3.2 shutting down"))
        with pytest.raises(SmtpFault):
            send(session)
        assert not session.reused


@pytest.mark.parametrize(
    ("phase", "action", "cause", "kind"),
    [
        (Phase.BANNER, say("554 5.7.1 go away"), FaultCause.REPLY, Kind.CONNECTION),
        (Phase.BANNER, say("421 4.3.2 busy"), FaultCause.REPLY, Kind.TRANSIENT),
        (Phase.BANNER, hang(), FaultCause.TIMEOUT, Kind.TRANSIENT),
        (Phase.BANNER, drop(), FaultCause.LOST, Kind.TRANSIENT),
        (Phase.BANNER, drip("220-wait", interval=0.1), FaultCause.TIMEOUT, Kind.TRANSIENT),
        (Phase.BANNER, endless("220-wait"), FaultCause.UNPARSABLE, Kind.TRANSIENT),
        (Phase.EHLO, say("421 4.3.2 busy"), FaultCause.REPLY, Kind.TRANSIENT),
        (Phase.EHLO, drop(), FaultCause.LOST, Kind.TRANSIENT),
        (Phase.EHLO, say("550 5.7.1 not you"), FaultCause.REPLY, Kind.CONNECTION),
    ],
)
def test_a_fault_before_the_first_mail_is_no_attempt(
    phase: Phase, action: Action, cause: FaultCause, kind: Kind
) -> None:
    with SmtpServer() as server:
        server.on(phase, action)
        with pytest.raises(SmtpFault) as caught:
            connected(settings(server.port), deadlines=SHORT)
        server.wait_for(lambda: server.open_now == 0)
    verdict = classify(caught.value)
    assert (caught.value.phase, caught.value.cause) == (phase, cause)
    assert (verdict.kind, verdict.counts_attempt) == (kind, False)


def test_a_server_from_before_ehlo_gets_helo() -> None:
    with SmtpServer() as server:
        server.on("ehlo", say("502 5.5.1 unknown"), times=1)
        with opened(server) as session:
            assert session._smtp.esmtp_features == {}
            send(session)
    assert server.verbs()[:2] == ["EHLO", "HELO"]


def test_a_closed_port_is_a_connection_fault() -> None:
    with SmtpServer() as server:
        port = server.port
    with pytest.raises(SmtpFault) as caught:
        connected(settings(port))
    assert caught.value.cause == FaultCause.REFUSED
    assert classify(caught.value).kind == Kind.CONNECTION


def test_the_envelope_leaves_at_once_where_pipelining_is_offered() -> None:
    """The server answers MAIL only when DATA has come: one at a time, this would never end."""
    with SmtpServer() as server:
        server.on("mail", once_seen(b"DATA\r\n"))
        with opened(server) as session:
            send(session)


def test_the_reset_after_a_refusal_leaves_with_the_next_envelope() -> None:
    with SmtpServer() as server:
        server.on("dot", say("451 4.3.0 later"), times=1)
        server.on("rset", once_seen(b"DATA\r\n"))
        with opened(server) as session:
            with pytest.raises(SmtpFault):
                send(session)
            send(session)
    assert len(server.mails) == 1


def test_a_refused_reset_is_a_lost_connection_not_a_refused_mail() -> None:
    with SmtpServer() as server:
        server.on("dot", say("451 4.3.0 later"), times=1)
        server.on("rset", say("502 5.5.1 unknown"))
        with opened(server) as session:
            with pytest.raises(SmtpFault):
                send(session)
            with pytest.raises(SmtpFault) as caught:
                send(session)
            assert session.reused
    assert (caught.value.phase, caught.value.cause) == (Phase.MAIL, FaultCause.LOST)


def test_the_size_is_told_and_a_mail_above_the_limit_never_reaches_the_server() -> None:
    """Compared by us, the connection stays clean."""
    with SmtpServer(Options(size=1000)) as server, opened(server) as session:
        with pytest.raises(SmtpFault) as caught:
            send(session, data=mail(body=b"x" * 5000))
        assert session.usable
        send(session)
    assert caught.value.cause == FaultCause.TOO_LARGE
    assert classify(caught.value).failure_reason == "too_large"
    assert server.verbs().count("MAIL") == 1
    assert server.mails[0].options == (f"SIZE={len(mail())}",)


def test_an_address_outside_ascii_needs_smtputf8_and_the_connection_stays_clean() -> None:
    """B34"""
    with SmtpServer() as server, opened(server) as session:
        with pytest.raises(SmtpFault) as caught:
            send(session, rcpt_to="ü@example.org")
        send(session)
    assert classify(caught.value).failure_reason == "smtputf8_unsupported"
    assert server.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


def test_with_smtputf8_such_an_address_goes_out() -> None:
    with SmtpServer(Options(smtputf8=True)) as server, opened(server) as session:
        send(session, rcpt_to="ü@example.org", data=mail(body="ü\r\n".encode()))
    assert server.mails[0].rcpt_tos == ("ü@example.org",)
    assert server.mails[0].options == ("BODY=8BITMIME", "SMTPUTF8")


@pytest.mark.parametrize(
    "rcpt_to", ["b@x.org\r\nRCPT TO:<e@x.org>", "b@x.org> NOTIFY=SUCCESS", "", "b@x.org\x00"]
)
def test_no_recipient_can_smuggle_a_command(rcpt_to: str) -> None:
    """B29, at the last gate."""
    with SmtpServer() as server, opened(server) as session, pytest.raises(SmtpFault) as caught:
        send(session, rcpt_to=rcpt_to)
    assert classify(caught.value).failure_reason == "invalid_recipient"
    assert server.verbs() == ["EHLO", "QUIT"]


def test_a_sender_cannot_either() -> None:
    with SmtpServer() as server, opened(server) as session, pytest.raises(SmtpFault) as caught:
        session.send(outgoing(mail_from="a@x>\r\nRSET"))
    assert classify(caught.value).failure_reason == "header_injection"


def test_a_slow_reply_to_the_dot_is_told_once_and_then_waited_for() -> None:
    release = threading.Event()
    calls: list[str] = []

    def on_slow() -> None:
        calls.append(threading.current_thread().name)
        release.set()

    deadlines = SHORT
    with SmtpServer() as server:
        server.on("dot", pause(release))
        with opened(server, deadlines=deadlines) as session:
            assert send(session, on_slow=on_slow).code == 250
    assert calls == [threading.current_thread().name]


def test_a_server_that_reads_slowly_holds_nobody_beyond_the_time_of_a_mail() -> None:
    """Each sip is progress, and takes a second by the clock of the session."""
    now = 0.0

    def sip(conversation: Conversation) -> bool:
        nonlocal now
        while conversation.sock.recv(20_000) and now < 1000 and not server.stopping.wait(0.02):
            now += 1
        raise HangUp

    with SmtpServer(Options(receive_buffer=65_536)) as server:
        server.on("body", sip)
        deadlines = replace(PATIENT, message=50)
        session = connected(settings(server.port), deadlines=deadlines, clock=lambda: now)
        with pytest.raises(SmtpFault) as caught:
            send(session, data=mail(body=b"x" * 24_000_000 + b"\r\n"))
    assert (caught.value.phase, caught.value.cause) == (Phase.BODY, FaultCause.TIMEOUT)


@pytest.mark.parametrize("use_tls", [True, False])
def test_a_long_answer_that_comes_late_is_read_whole(*, use_tls: bool) -> None:
    """One TLS record holds more of it than is asked for at once; the rest is nothing that poll would see."""
    late = threading.Event()

    def ramble(conversation: Conversation) -> bool:
        conversation.server.wait_or_stop(late)
        conversation.raw(b"250-" + b"a" * 9000 + b"\r\n250 Ok\r\n")
        return True

    with SmtpServer(Options(starttls=use_tls)) as server:
        server.on("dot", ramble)
        given = settings(server.port, use_tls=use_tls)
        with opened(server, deadlines=replace(PATIENT, dot=4.0, slow=0.4), given=given) as session:
            timer = threading.Timer(0.1, late.set)
            timer.start()
            assert send(session, on_slow=lambda: None).code == 250
            timer.join()


def test_a_quick_reply_to_the_dot_is_not_called_slow() -> None:
    calls: list[int] = []
    with SmtpServer() as server, opened(server, deadlines=PATIENT) as session:
        send(session, on_slow=lambda: calls.append(1))
    assert calls == []


@pytest.mark.parametrize(("phase", "kind"), [(Phase.RCPT, Kind.TRANSIENT), (Phase.DOT, Kind.AMBIGUOUS)])
def test_another_thread_can_break_a_conversation_that_hangs(phase: Phase, kind: Kind) -> None:
    """At the end of the drain, before the dot the mail is surely not sent."""
    caught: list[SmtpFault] = []
    with SmtpServer(Options(pipelining=False)) as server:
        server.on(phase, hang())
        with opened(server) as session:

            def run() -> None:
                try:
                    send(session)
                except SmtpFault as fault:
                    caught.append(fault)

            thread = threading.Thread(target=run)
            thread.start()
            server.wait_for(lambda: "RCPT" in server.verbs())
            if phase == Phase.DOT:
                server.wait_for(lambda: "DATA" in server.verbs())
                while session._smtp.phase != Phase.DOT:
                    thread.join(0.001)
            session.abort()
            thread.join(5)
            assert not session.usable
    assert [classify(fault).kind for fault in caught] == [kind]
    answered = {Phase.RCPT: "RCPT TO", Phase.DOT: "the end of the mail"}[phase]
    told = f"the worker gave up at the end of its drain: 127.0.0.1 had not answered {answered}"
    assert caught[0].detail == told


def test_the_deadline_of_a_whole_mail_bounds_its_parts() -> None:
    now = 0.0

    def outlast_the_mail(_: Conversation) -> None:
        """Answer in the end, lest a session that waits for it hangs."""
        nonlocal now
        now += 31
        server.stopping.wait(10)

    deadlines = replace(PATIENT, message=30)
    assert deadlines.rcpt > 31
    with SmtpServer(Options(pipelining=False)) as server:
        server.on("rcpt", outlast_the_mail)
        session = connected(settings(server.port), deadlines=deadlines, clock=lambda: now)
        with pytest.raises(SmtpFault) as caught:
            send(session)
    assert (caught.value.phase, caught.value.cause) == (Phase.RCPT, FaultCause.TIMEOUT)


def test_a_reply_that_repeats_the_password_is_masked() -> None:
    """B55"""
    with SmtpServer(Options(mechanisms=("PLAIN",), users={"user": "geheim-42"})) as server:
        server.on("rcpt", say("550 5.7.1 what is geheim-42 and AHVzZXIAZ2VoZWltLTQy"))
        with (
            opened(server, given=settings(server.port, username="user", password="geheim-42")) as session,
            pytest.raises(SmtpFault) as caught,
        ):
            send(session)
    assert str(caught.value.reply) == "550 5.7.1 what is *** and ***"
    assert "geheim" not in caught.value.detail


def test_no_thread_is_left_waiting_for_a_server_that_went_away() -> None:
    with SmtpServer() as server:
        session = connected(settings(server.port), deadlines=SHORT)
    with contextlib.suppress(SmtpFault):
        send(session)
    session.close()
    assert not session.usable


def test_a_server_that_closes_behind_a_refused_rcpt_is_not_used_again() -> None:
    with SmtpServer() as server:
        server.on("rcpt", say("550 5.1.1 no such user"))
        server.on("data", say("421 4.3.2 shutting down"))
        with opened(server) as session:
            with pytest.raises(SmtpFault) as caught:
                send(session)
            assert not session.usable
    assert (caught.value.phase, caught.value.reply and caught.value.reply.code) == (Phase.RCPT, 550)


def test_a_server_that_never_stops_talking_does_not_fill_the_memory() -> None:
    """F31, in this process: the server's side is counted too."""
    with SmtpServer() as server:
        server.on("mail", raw(b"250-" + b"x" * 10_000_000))
        with opened(server, deadlines=SHORT) as session:
            tracemalloc.start()
            try:
                with pytest.raises(SmtpFault):
                    send(session)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert peak < 2_000_000


FOREIGN = (
    *(
        smtplib.SMTPServerDisconnected("x"),
        smtplib.SMTPResponseException(250, "x"),
        smtplib.SMTPException("x"),
    ),
    *(
        smtplib.SMTPSenderRefused(250, b"x", "x"),
        smtplib.SMTPRecipientsRefused({}),
        smtplib.SMTPDataError(250, "x"),
    ),
    *(smtplib.SMTPConnectError(1, "x"), smtplib.SMTPHeloError(1, "x"), smtplib.SMTPNotSupportedError("x")),
    smtplib.SMTPAuthenticationError(535, b"x"),
    *(
        ConnectionResetError(104, "x"),
        BrokenPipeError(32, "x"),
        TimeoutError("x"),
        OSError("x"),
        OSError(24, "x"),
    ),
    *(socket.gaierror(-3, "x"), socket.herror(1, "x"), InterruptedError(4, "x"), EOFError("x")),
    *(
        ssl.SSLError(1, "x"),
        ssl.SSLEOFError(8, "x"),
        ssl.SSLZeroReturnError(6, "x"),
        ssl.SSLSyscallError(5, "x"),
    ),
    ssl.SSLCertVerificationError(1, "x"),
    *(
        ValueError("x"),
        UnicodeError("x"),
        TypeError("x"),
        KeyError("x"),
        AttributeError("x"),
        AssertionError("x"),
    ),
    *(RuntimeError("x"), RecursionError("x"), MemoryError("x"), NotImplementedError("x"), StopIteration("x")),
)
TO_THE_TEXT = (Phase.BANNER, Phase.EHLO, Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY)


class _Breaking:
    """A socket that raises whatever it is told at one phase."""

    def __init__(self, sock: socket.socket, smtp: PhasedSMTP, phase: Phase, error: Exception) -> None:
        self._sock = sock
        self._smtp = smtp
        self._phase = phase
        self._error = error

    def send(self, data: bytes) -> int:
        if self._smtp.phase == self._phase == Phase.BODY:
            raise self._error
        return self._sock.send(data)

    def recv(self, size: int) -> bytes:
        if self._smtp.phase == self._phase:
            raise self._error
        return self._sock.recv(size)

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


@contextlib.contextmanager
def _breaking(phase: Phase, error: Exception) -> Iterator[None]:
    attach = PhasedSMTP._attach

    def wrapped(smtp: PhasedSMTP, sock: socket.socket) -> None:
        attach(smtp, sock)
        smtp.sock = _Breaking(sock, smtp, phase, error)  # type: ignore[assignment]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PhasedSMTP, "_attach", wrapped)
        yield


def _connect_and_send(session: Session) -> None:
    session.connect()
    send(session)


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
def test_whatever_is_raised_in_a_conversation_has_one_class(error: Exception) -> None:
    """The table is total over foreign exceptions, too. From the dot on the server may have the mail."""
    for phase in (*TO_THE_TEXT, Phase.DOT):
        with SmtpServer(Options(pipelining=False)) as server, _breaking(phase, error), capture_logs() as told:
            session = Session(settings(server.port), policy=OPEN_POLICY)
            with pytest.raises(SmtpFault) as caught:
                _connect_and_send(session)
            assert not session.usable
        verdict = classify(caught.value)
        assert caught.value.phase == phase
        assert [line["phase"] for line in told] == ([] if isinstance(error, OSError) else [phase])
        assert verdict.kind == (Kind.AMBIGUOUS if phase == Phase.DOT else Kind.TRANSIENT)
