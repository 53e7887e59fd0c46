from __future__ import annotations

import threading
import time

import pytest

from notifier.domain.errors import SmtpFault
from notifier.smtp.pool import Pool
from tests.support.smtp_client import OPEN_POLICY, counts, mail, send, settings
from tests.support.smtp_script import hang
from tests.support.smtp_server import Options, SmtpServer


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_given_back_is_taken_again() -> None:
    pool = Pool(policy=OPEN_POLICY)
    with SmtpServer() as server:
        given = settings(server.port)
        first = pool.take(given)
        assert not first.reused
        pool.give(first)
        assert counts(pool) == (0, 1)
        second = pool.take(given)
        assert second is first
        assert second.reused
        assert counts(pool) == (1, 0)
        pool.drop(second)
        assert counts(pool) == (0, 0)
    assert server.connections == 1


@pytest.mark.parametrize(("server_id", "version"), [(2, "1"), (1, "2")])
def test_a_session_of_other_settings_is_never_taken(server_id: int, version: str) -> None:
    pool = Pool(policy=OPEN_POLICY)
    with SmtpServer() as server:
        pool.give(pool.take(settings(server.port)))
        pool.drop(pool.take(settings(server.port, server_id=server_id, version=version)))
        pool.close_all()
    assert server.connections == 2


@pytest.mark.parametrize(("idle", "max_age"), [(30.0, 1e9), (1e9, 300.0)])
def test_a_session_too_long_idle_or_too_old_is_closed_with_quit(idle: float, max_age: float) -> None:
    clock = Clock()
    pool = Pool(policy=OPEN_POLICY, clock=clock, idle=idle, max_age=max_age)
    with SmtpServer() as server:
        pool.give(pool.take(settings(server.port)))
        assert pool.close_idle() == 0
        clock.now += min(idle, max_age)
        assert pool.close_idle() == 1
        server.wait_for(lambda: server.open_now == 0)
        pool.give(pool.take(settings(server.port)))
        clock.now += min(idle, max_age)
        pool.drop(pool.take(settings(server.port)))
    assert server.connections == 3
    assert server.verbs().count("QUIT") == 3


def test_a_session_serves_a_limited_number_of_mails() -> None:
    pool = Pool(policy=OPEN_POLICY, max_messages=2)
    with SmtpServer() as server:
        given = settings(server.port)
        for number in range(5):
            session = pool.take(given)
            send(session, data=mail(str(number)))
            pool.give(session)
        pool.close_all()
    assert server.connections == 3


def test_a_broken_session_is_not_kept() -> None:
    pool = Pool(policy=OPEN_POLICY)
    with SmtpServer() as server:
        session = pool.take(settings(server.port))
        session.abort()
        pool.give(session)
    assert counts(pool) == (0, 0)


def test_a_fresh_session_can_be_asked_for() -> None:
    pool = Pool(policy=OPEN_POLICY)
    with SmtpServer() as server:
        pool.give(pool.take(settings(server.port)))
        pool.drop(pool.take(settings(server.port), fresh=True))
        assert counts(pool) == (0, 1)
        pool.close_all()


def test_a_connection_that_fails_is_not_counted_as_taken() -> None:
    pool = Pool(policy=OPEN_POLICY)
    with SmtpServer() as server:
        port = server.port
    with pytest.raises(SmtpFault):
        pool.take(settings(port))
    assert counts(pool) == (0, 0)


def test_the_end_of_a_drain_breaks_sessions_in_use_and_those_still_connecting() -> None:
    pool = Pool(policy=OPEN_POLICY)
    faults: list[SmtpFault] = []

    def connect() -> None:
        try:
            pool.take(settings(server.port))
        except SmtpFault as fault:
            faults.append(fault)

    with SmtpServer(Options(pipelining=False)) as server:
        server.on("ehlo", hang(), after=1)
        in_use = pool.take(settings(server.port))
        thread = threading.Thread(target=connect)
        thread.start()
        server.wait_for(lambda: server.verbs().count("EHLO") == 2)
        pool.abort_all()
        thread.join(5)
        assert not thread.is_alive()
        assert not in_use.usable
        with pytest.raises(SmtpFault):
            pool.take(settings(server.port))
        pool.drop(in_use)
    assert len(faults) == 1
    assert counts(pool) == (0, 0)


def test_idle_sessions_are_closed_at_the_end() -> None:
    pool = Pool(policy=OPEN_POLICY)
    with SmtpServer() as server:
        sessions = [pool.take(settings(server.port)) for _ in range(3)]
        for session in sessions:
            pool.give(session)
        pool.close_all()
        server.wait_for(lambda: server.open_now == 0)
    assert server.verbs().count("QUIT") == 3
    assert server.most_open == 3


def test_each_new_tls_connection_tells_when_the_certificate_ends() -> None:
    told: list[tuple[int, float]] = []
    pool = Pool(policy=OPEN_POLICY, on_certificate=lambda server, ends: told.append((server, ends)))
    with SmtpServer(Options(starttls=True)) as secure, SmtpServer() as plain:
        pool.drop(pool.take(settings(plain.port)))
        session = pool.take(settings(secure.port, server_id=7, use_tls=True))
        facts = session.tls
        pool.drop(session)
    assert facts is not None
    assert told == [(7, facts.ends)]
    assert 29 * 86400 < told[0][1] - time.time() < 30 * 86400
