"""The envelope of the next mail leaves with the dot of the one before (RFC 2920 section 3.1), and harms neither."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pytest

from notifier.domain.errors import SmtpFault
from notifier.domain.outcomes import Kind, classify
from notifier.domain.vocabulary import FaultCause, Phase
from notifier.smtp.connection import PhasedSMTP
from notifier.smtp.pool import ONE_BY_ONE_SECONDS, Pool
from tests.support.smtp_client import OPEN_POLICY, SHORT, counts, mail, opened, outgoing, settings
from tests.support.smtp_script import HangUp, hang, once_seen, say
from tests.support.smtp_server import Options, SmtpServer

if TYPE_CHECKING:
    from notifier.domain.mail import Outgoing
    from notifier.smtp.session import Session
    from tests.support.smtp_conversation import Conversation

ONE, TWO, THREE = (
    outgoing(rcpt_to=f"{name}@example.org", data=mail(name)) for name in ("one", "two", "three")
)
NEXT_ENVELOPE = b"RCPT TO:<two@example.org>\r\nDATA\r\n"


def take_and_reset(conversation: Conversation) -> bool:
    """Take the mail and break off: whatever has come meanwhile is answered by RST."""
    conversation.await_bytes(b"DATA\r\n")
    conversation.accept_now(accepted=True)
    conversation.say("250 2.0.0 Ok")
    conversation.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise HangUp


def arrived(server: SmtpServer) -> list[str]:
    return [taken.rcpt_tos[0].partition("@")[0] for taken in server.mails]


def fault_of(session: Session, one: Outgoing, following: Outgoing | None = None) -> SmtpFault:
    with pytest.raises(SmtpFault) as caught:
        session.send(one, following=following)
    return caught.value


@pytest.mark.parametrize("starttls", [False, True])
def test_the_next_envelope_leaves_with_the_dot(*, starttls: bool) -> None:
    """The server answers the dot only when the next DATA has come: else this would never end."""
    with SmtpServer(Options(starttls=starttls)) as server:
        server.on("dot", once_seen(NEXT_ENVELOPE), times=1)
        with opened(server, given=settings(server.port, use_tls=starttls)) as session:
            session.send(ONE, following=TWO)
            session.send(TWO, following=None)
    assert arrived(server) == ["one", "two"]
    assert server.connections == 1
    assert server.mails[1].data == mail("two")


def test_a_server_without_pipelining_gets_one_command_at_a_time() -> None:
    with SmtpServer(Options(pipelining=False)) as server, opened(server) as session:
        session.send(ONE, following=TWO)
        assert server.verbs() == ["EHLO", "MAIL", "RCPT", "DATA"]
        session.send(TWO)
    assert arrived(server) == ["one", "two"]


@pytest.mark.parametrize("phase", ["mail", "rcpt", "data"])
def test_a_refused_envelope_costs_its_own_mail_alone(phase: str) -> None:
    with SmtpServer() as server, opened(server) as session:
        server.on(phase, say("550 5.1.1 no"), after=1, times=1)
        session.send(ONE, following=TWO)
        fault = fault_of(session, TWO, THREE)
        session.send(THREE)
    assert (fault.phase, fault.reply and fault.reply.code) == (Phase(phase), 550)
    assert arrived(server) == ["one", "three"]
    assert server.connections == 1


@pytest.mark.parametrize("text", ["451 4.3.0 later", "554 5.5.0 synchronization error"])
def test_after_a_refused_dot_the_envelope_behind_it_is_not_trusted(text: str) -> None:
    """Who kept the refused transaction would take the next mail's recipient into it."""
    pool = Pool(policy=OPEN_POLICY)
    with SmtpServer() as server:
        given = settings(server.port)
        server.on("dot", say(text), times=1)
        session = pool.take(given)
        assert fault_of(session, ONE, TWO).phase == Phase.DOT
        assert session.ran_aground
        assert not session.usable
        pool.drop(session)
        session = pool.take(given)
        session.send(ONE, following=TWO)
        assert session.between_mails
        session.send(TWO)
        pool.drop(session)
    assert arrived(server) == ["one", "two"]


def break_off_if_more_came(conversation: Conversation) -> None:
    """What a server does that takes an early envelope for an attack."""
    conversation.await_bytes(b"DATA\r\n")
    raise HangUp


def test_a_server_that_breaks_off_at_the_dot_gets_one_mail_at_a_time_for_an_hour() -> None:
    now = [1000.0]
    pool = Pool(policy=OPEN_POLICY, clock=lambda: now[0])
    with SmtpServer() as server:
        given = settings(server.port)
        server.on("dot", break_off_if_more_came, times=1)
        session = pool.take(given)
        fault = fault_of(session, ONE, TWO)
        assert (fault.phase, classify(fault).kind) == (Phase.DOT, Kind.AMBIGUOUS)
        pool.drop(session)
        for seconds, together in ((0.0, False), (ONE_BY_ONE_SECONDS - 1, False), (1.0, True)):
            now[0] += seconds
            assert pool.close_idle() == 0
            session = pool.take(given)
            session.send(ONE, following=TWO)
            assert session.between_mails is not together
            pool.drop(session)


def test_a_session_from_before_the_server_ran_aground_sends_one_by_one_too() -> None:
    pool = Pool(policy=OPEN_POLICY)
    with SmtpServer() as server:
        given = settings(server.port)
        first, second = pool.take(given), pool.take(given)
        pool.give(second)
        server.on("dot", say("451 4.3.0 later"), times=1)
        fault_of(first, ONE, TWO)
        pool.drop(first)
        again = pool.take(given)
        assert again is second
        again.send(ONE, following=TWO)
        assert again.between_mails
        pool.drop(again)


@pytest.mark.parametrize("code", [500, 503])
def test_a_server_that_lost_its_place_is_not_waited_for_and_no_mail_is_refused(code: int) -> None:
    """It answers what it found of the envelope as if somebody had typed nonsense."""
    pool = Pool(policy=OPEN_POLICY)
    with SmtpServer() as server:
        server.on("mail", say(f"{code} what?"), after=1, times=1)
        server.on("rcpt", hang(), after=1, times=1)
        session = pool.take(settings(server.port))
        session.send(ONE, following=TWO)
        fault = fault_of(session, TWO)
        assert (fault.phase, fault.cause) == (Phase.MAIL, FaultCause.LOST)
        assert (session.reused, session.ran_aground) == (True, True)
        pool.drop(session)
    assert arrived(server) == ["one"]


def test_a_mail_that_the_server_cannot_take_is_not_announced() -> None:
    with SmtpServer(Options(size=1000)) as server, opened(server) as session:
        large = outgoing(data=mail(body=b"x" * 5000))
        session.send(ONE, following=large)
        assert fault_of(session, large, TWO).cause == FaultCause.TOO_LARGE
        session.send(TWO)
    assert arrived(server) == ["one", "two"]
    assert server.verbs().count("MAIL") == 2


def test_a_server_that_breaks_off_behind_its_250_costs_no_copy_and_is_not_tried_so_again() -> None:
    pool = Pool(policy=OPEN_POLICY)
    with SmtpServer() as server:
        given = settings(server.port)
        server.on("dot", take_and_reset, times=1)
        session = pool.take(given)
        assert session.send(ONE, following=TWO).code == 250
        fault = fault_of(session, TWO, THREE)
        assert (fault.phase, fault.cause, session.reused) == (Phase.MAIL, FaultCause.LOST, True)
        assert classify(fault).kind != Kind.AMBIGUOUS
        pool.drop(session)
        session = pool.take(given, fresh=True)
        session.send(TWO, following=THREE)
        assert session.between_mails
        session.send(THREE)
        pool.give(session)
        pool.close_all()
    assert arrived(server) == ["one", "two", "three"]


def test_a_server_that_never_answers_such_an_envelope_is_not_tried_so_again() -> None:
    pool = Pool(policy=OPEN_POLICY, deadlines=SHORT)
    with SmtpServer() as server:
        given = settings(server.port)
        server.on("mail", hang(), after=1, times=1)
        session = pool.take(given)
        session.send(ONE, following=TWO)
        assert fault_of(session, TWO).cause == FaultCause.TIMEOUT
        pool.drop(session)
        session = pool.take(given)
        session.send(TWO, following=THREE)
        assert session.between_mails
        pool.drop(session)


def test_a_server_that_says_good_bye_after_so_many_mails_is_still_a_good_one() -> None:
    pool = Pool(policy=OPEN_POLICY)
    with SmtpServer(Options(max_mails=1)) as server:
        given = settings(server.port)
        session = pool.take(given)
        session.send(ONE, following=TWO)
        fault = fault_of(session, TWO)
        assert (fault.phase, fault.reply and fault.reply.code) == (Phase.MAIL, 421)
        pool.drop(session)
        session = pool.take(given)
        session.send(TWO, following=THREE)
        assert not session.between_mails
        pool.drop(session)


def test_a_session_with_an_envelope_out_is_closed_and_the_server_gets_no_mail() -> None:
    pool = Pool(policy=OPEN_POLICY)
    with SmtpServer() as server:
        session = pool.take(settings(server.port))
        session.send(ONE, following=TWO)
        assert session.usable
        pool.give(session)
        assert counts(pool) == (0, 0)
        server.wait_for(lambda: server.open_now == 0)
    assert arrived(server) == ["one"]
    assert "QUIT" not in server.verbs()


def test_another_mail_than_the_announced_one_is_not_sent_under_its_envelope() -> None:
    with SmtpServer() as server, opened(server) as session:
        session.send(ONE, following=TWO)
        assert fault_of(session, THREE).cause == FaultCause.LOST
    assert arrived(server) == ["one"]


class _Line:
    """A socket that takes so many bytes and then breaks."""

    def __init__(self, room: int) -> None:
        self._room = room

    def send(self, data: bytes) -> int:
        if not self._room:
            raise ConnectionResetError
        taken = min(len(data), self._room)
        self._room -= taken
        return taken

    def close(self) -> None:
        """Nothing to do."""


@pytest.mark.parametrize(("room", "phase"), [(9, Phase.BODY), (10, Phase.DOT), (14, Phase.DOT)])
def test_a_line_that_breaks_in_the_commands_behind_the_dot_leaves_a_mail_that_may_have_arrived(
    monkeypatch: pytest.MonkeyPatch, room: int, phase: Phase
) -> None:
    smtp = PhasedSMTP(host="mail.example", local_hostname="client.example", secrets=(), clock=lambda: 0.0)
    monkeypatch.setattr(smtp, "sock", _Line(room))
    smtp.begin(Phase.BODY, 60.0)
    with pytest.raises(SmtpFault) as caught:
        smtp.write_mail(b"text\r\n\r\n.\n", b"MAIL FROM:<>\r\n", stall=60.0)
    assert caught.value.phase == phase
