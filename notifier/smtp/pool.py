"""Connections kept open between mails: a handshake and a login cost more than the mail itself."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from notifier.domain.errors import SmtpFault
from notifier.domain.vocabulary import FaultCause
from notifier.smtp.session import DEADLINES, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.domain.servers import SmtpServer
    from notifier.smtp.deadlines import Deadlines
    from notifier.smtp.policy import ConnectPolicy

Key = tuple[int, str]  # server id and version of its settings
ONE_BY_ONE_SECONDS = 3600.0


class Pool:
    """Idle sessions by server. Thread-safe; a session taken belongs to its taker until it is given back.

    How many are open at once is the claim's business, not the pool's. `idle` and `max_age` are seconds.
    `on_certificate` is told the server's id and the Unix time at which the certificate ends that it showed.
    """

    def __init__(
        self,
        *,
        policy: ConnectPolicy,
        deadlines: Deadlines = DEADLINES,
        clock: Callable[[], float] = time.monotonic,
        idle: float = 30.0,
        max_messages: int = 100,
        max_age: float = 300.0,
        on_certificate: Callable[[int, float], None] = lambda _server, _ends: None,
    ) -> None:
        self._policy = policy
        self._deadlines = deadlines
        self._clock = clock
        self._idle = idle
        self._max_messages = max_messages
        self._max_age = max_age
        self._on_certificate = on_certificate
        self._lock = threading.Lock()
        self._free: dict[Key, list[Session]] = {}
        self._taken: set[Session] = set()
        self._one_by_one: dict[Key, float] = {}  # servers that get one mail at a time, and until when
        self._aborted = False

    def take(self, server: SmtpServer, *, fresh: bool = False) -> Session:
        """Return a ready session, the one used last if any is free, else a new one. Raises SmtpFault.

        `fresh` asks for a new one: the replacement of a reused session that the server had closed.
        """
        key = (server.server_id, server.version)
        session = (None if fresh else self._reusable(key)) or self._new(server)
        if self._clock() < self._one_by_one.get(key, float("-inf")):
            session.one_by_one()
        return session

    def _new(self, server: SmtpServer) -> Session:
        try:
            return self._connected(server)
        except SmtpFault as fault:
            if fault.cause != FaultCause.NOT_STARTED:
                raise
            self.close_all()  # this process has no file descriptor left; idle sessions hold some
            return self._connected(server)

    def _connected(self, server: SmtpServer) -> Session:
        session = Session(server, policy=self._policy, deadlines=self._deadlines, clock=self._clock)
        with self._lock:
            self._taken.add(session)
            if self._aborted:
                session.abort()
        try:
            session.connect()
        except BaseException:
            with self._lock:
                self._taken.discard(session)
            raise
        if (facts := session.tls) is not None and (ends := facts.ends) is not None:
            self._on_certificate(server.server_id, ends)
        return session

    def _reusable(self, key: Key) -> Session | None:
        worn: list[Session] = []
        found = None
        with self._lock:
            free = self._free.get(key, [])
            while free and found is None:
                session = free.pop()
                if self._fresh_enough(session):
                    found = session
                    found.reused = True
                    self._taken.add(found)
                else:
                    worn.append(session)
        _close(worn)
        return found

    def has_free(self, server: SmtpServer) -> bool:
        """Tell whether a session to this server lies ready."""
        with self._lock:
            return any(map(self._fresh_enough, self._free.get((server.server_id, server.version), ())))

    def give(self, session: Session) -> None:
        """Put a session back for the next mail, or close it when it is broken or has served enough."""
        key = (session.server.server_id, session.server.version)
        with self._lock:
            self._taken.discard(session)
            self._learn(session)
            keep = not self._aborted and session.between_mails and self._fresh_enough(session)
            if keep:
                self._free.setdefault(key, []).append(session)
        if not keep:
            session.close()

    def drop(self, session: Session) -> None:
        """Close a session that must not be used again."""
        with self._lock:
            self._taken.discard(session)
            self._learn(session)
        session.close()

    def _learn(self, session: Session) -> None:
        """What a server did not stand is not tried with it again for a while."""
        if session.ran_aground:
            key = (session.server.server_id, session.server.version)
            self._one_by_one[key] = self._clock() + ONE_BY_ONE_SECONDS

    def close_idle(self) -> int:
        """Close what has been free for too long; return how many. Call it now and then."""
        with self._lock:
            worn = [s for free in self._free.values() for s in free if not self._fresh_enough(s)]
            now = self._clock()
            self._one_by_one = {key: until for key, until in self._one_by_one.items() if now < until}
            kept = {key: [s for s in free if s not in worn] for key, free in self._free.items()}
            self._free = {key: free for key, free in kept.items() if free}
        _close(worn)
        return len(worn)

    def close_all(self) -> None:
        """Close every free session, politely."""
        with self._lock:
            free = [session for sessions in self._free.values() for session in sessions]
            self._free = {}
        _close(free)

    def abort_all(self) -> None:
        """Break every session in use, also those still connecting, and refuse further ones."""
        with self._lock:
            self._aborted = True
            for session in self._taken:
                session.abort()

    @property
    def aborted(self) -> bool:
        """Whether `abort_all` was called."""
        return self._aborted

    def _fresh_enough(self, session: Session) -> bool:
        now = self._clock()
        return (
            session.usable
            and session.sent < self._max_messages
            and now - session.opened_at < self._max_age
            and now - session.used_at < self._idle
        )


def _close(sessions: list[Session]) -> None:
    for session in sessions:
        session.close()
