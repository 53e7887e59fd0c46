from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from notifier.domain.errors import SmtpFault
from notifier.domain.outcomes import Kind, classify
from notifier.domain.vocabulary import FaultCause, Phase
from tests.support.smtp_client import PATIENT, SHORT, connected, mail, outgoing, send, settings
from tests.support.smtp_script import pause
from tests.support.smtp_server import Options, SmtpServer
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from notifier.smtp.session import Session


def _open(proxy: TcpProxy, *, patient: bool = False) -> Session:
    return connected(settings(proxy.port), deadlines=PATIENT if patient else SHORT)


def _address(server: SmtpServer) -> tuple[str, int]:
    return "127.0.0.1", server.port


def test_a_cut_in_the_middle_of_a_large_mail_is_transient() -> None:
    """F28"""
    with SmtpServer() as server, TcpProxy(_address(server)) as proxy:
        session = _open(proxy, patient=True)
        proxy.cut_after = 1_000_000
        with pytest.raises(SmtpFault) as caught:
            send(session, data=mail(body=b"x" * 30_000_000))
    assert caught.value.phase == Phase.BODY
    assert classify(caught.value).kind == Kind.TRANSIENT
    assert not server.mails


def test_an_answer_that_is_lost_on_the_way_back_is_ambiguous() -> None:
    """F29: the server has the mail, and only the server knows it."""
    with SmtpServer() as server, TcpProxy(_address(server)) as proxy:
        session = _open(proxy)
        lost = threading.Event()
        server.on("dot", pause(lost))

        def lose_the_answer() -> None:
            proxy.swallow_answers = True
            lost.set()

        with pytest.raises(SmtpFault) as caught:
            session.send(outgoing(), on_dot=lose_the_answer)
    assert (caught.value.phase, caught.value.cause) == (Phase.DOT, FaultCause.TIMEOUT)
    assert classify(caught.value).kind == Kind.AMBIGUOUS


def test_a_half_open_line_is_found_by_the_deadline_of_mail() -> None:
    with SmtpServer() as server, TcpProxy(_address(server)) as proxy:
        session = _open(proxy)
        send(session)
        proxy.go_silent()
        with pytest.raises(SmtpFault) as caught:
            send(session)
        assert session.reused
    assert (caught.value.phase, caught.value.cause) == (Phase.MAIL, FaultCause.TIMEOUT)


@pytest.mark.parametrize("with_reset", [True, False])
def test_a_line_cut_between_two_mails_is_lost_at_mail(*, with_reset: bool) -> None:
    with SmtpServer() as server, TcpProxy(_address(server)) as proxy:
        session = _open(proxy, patient=True)
        send(session)
        proxy.cut(with_reset=with_reset)
        with pytest.raises(SmtpFault) as caught:
            send(session)
    assert (caught.value.phase, caught.value.cause) == (Phase.MAIL, FaultCause.LOST)


def test_a_line_that_is_refused_behind_the_connect_is_no_attempt() -> None:
    with SmtpServer() as server, TcpProxy(_address(server)) as proxy:
        proxy.refusing = True
        with pytest.raises(SmtpFault) as caught:
            _open(proxy, patient=True)
    assert not classify(caught.value).counts_attempt


def test_a_thin_line_that_makes_progress_is_waited_for() -> None:
    """The text has a deadline without progress, not one for the whole."""
    with SmtpServer() as server, TcpProxy(_address(server), bandwidth=8_000_000) as proxy:
        session = connected(settings(proxy.port), deadlines=replace(PATIENT, body=1))
        assert send(session, data=mail(body=b"x" * 12_000_000)).code == 250
        session.close()
    assert len(server.mails) == 1


def test_pipelining_halves_the_round_trips_to_a_far_server() -> None:
    """Envelope and text each cost one round trip instead of four for all."""

    def round_trips(*, pipelining: bool) -> int:
        directions: list[bool] = []

        def look(_connection: int, towards_server: bool, _data: bytes) -> bool:  # noqa: FBT001 - as the proxy calls it
            directions.append(towards_server)
            return True

        with SmtpServer(Options(pipelining=pipelining)) as server, TcpProxy(_address(server)) as proxy:
            session = _open(proxy, patient=True)
            proxy.on_data = look
            for _ in range(2):
                send(session)
            proxy.on_data = None
            session.close()
        return sum(now and not before for before, now in pairwise([False, *directions]))

    assert round_trips(pipelining=True) == 2 * 2
    assert round_trips(pipelining=False) == 2 * 4
