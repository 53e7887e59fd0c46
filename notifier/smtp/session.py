"""One connection to one SMTP server: opened step by step, then one mail after another."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from notifier.domain.errors import SmtpFault
from notifier.domain.replies import Reply, secret_forms
from notifier.domain.vocabulary import FaultCause, Phase
from notifier.smtp import tls
from notifier.smtp.authentication import login
from notifier.smtp.connection import PhasedSMTP
from notifier.smtp.deadlines import Deadlines
from notifier.smtp.policy import is_loopback, resolve
from notifier.smtp.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.domain.mail import Outgoing
    from notifier.domain.servers import SmtpServer
    from notifier.smtp.policy import ConnectPolicy, Target

DEADLINES = Deadlines()
_READY, _OK = 220, 250
_PERMANENT = 500

Step = tuple[str, "Callable[[], None]"]


class Session:
    """A connection that belongs to one thread at a time; only `abort` may be called from another.

    `reused` is true once it has carried a mail or came back from a pool: if it then fails before DATA, the
    server merely hung up on an idle client, and a new connection costs the mail no attempt.
    `opened_at` and `used_at` are times of the clock given.
    """

    def __init__(
        self,
        server: SmtpServer,
        *,
        policy: ConnectPolicy,
        deadlines: Deadlines = DEADLINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self.reused = False
        self.sent = 0
        self.opened_at = self.used_at = clock()
        self._policy = policy
        self._deadlines = deadlines
        self._clock = clock
        self._targets: tuple[Target, ...] = ()
        self._smtp = PhasedSMTP(
            host=server.host,
            local_hostname=policy.local_hostname,
            secrets=secret_forms(username=server.username, password=server.password),
            clock=clock,
        )
        self._transaction = Transaction(self._smtp, deadlines)

    # -- opening ---------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Do every step of `steps`. Raises SmtpFault, with nothing left open."""
        try:
            for _, step in self.steps():
                step()
        except SmtpFault:
            self._smtp.close()
            raise
        except Exception as error:  # noqa: BLE001 - has a place in the result table like any other
            self._smtp.give_up(error)

    def steps(self) -> tuple[Step, ...]:
        """Return the named steps to a ready connection in their order; their time starts now."""
        self._smtp.bound(self._deadlines.setup)
        to_tcp: tuple[Step, ...] = (("dns", self._resolve), ("tcp", self._dial))
        greeting: Step = ("greeting", self._greet)
        auth: Step = ("auth", self._login)
        if self.server.use_ssl:
            return (*to_tcp, ("tls", self._handshake), greeting, auth)
        if self.server.use_tls:
            return (*to_tcp, greeting, ("tls", self._starttls), auth)
        return (*to_tcp, greeting, auth)

    def _resolve(self) -> None:
        server = self.server
        self._targets = resolve(server.host, server.port, self._policy, trusted=server.trusted)

    def _dial(self) -> None:
        *others, last = self._targets
        for target in others:
            with suppress(SmtpFault):
                self._dial_one(target)
                return
        self._dial_one(last)

    def _dial_one(self, target: Target) -> None:
        self._smtp.begin(Phase.CONNECT, self._deadlines.connect)
        self._smtp.dial(target)

    def _handshake(self) -> None:
        context = tls.context(self.server.ca_certificate)
        self._smtp.secure(context, server_hostname=self.server.host)

    def _greet(self) -> None:
        self._smtp.begin(Phase.BANNER, self._deadlines.banner)
        self._expect(_READY, self._smtp.getreply())
        self._hello()

    def _hello(self) -> None:
        self._smtp.begin(Phase.EHLO, self._deadlines.ehlo)
        answer = self._smtp.ehlo()
        if answer[0] >= _PERMANENT:
            answer = self._smtp.helo()  # RFC 5321 4.1.4: a server from before extensions
        self._expect(_OK, answer)

    def _starttls(self) -> None:
        """Nothing is opportunistic: who hides STARTTLS, the server or one in between, gets nothing."""
        self._smtp.begin(Phase.STARTTLS, self._deadlines.starttls)
        if not self._smtp.has_extn("starttls"):
            self._smtp.fail(FaultCause.STARTTLS_MISSING, "does not offer the encryption that is required")
        self._expect(_READY, self._smtp.docmd("STARTTLS"))
        self._handshake()
        self._hello()  # what was said in clear counts no more (RFC 3207 4.2)

    def _login(self) -> None:
        server = self.server
        if not server.username:
            return
        self._smtp.begin(Phase.AUTH, self._deadlines.auth)
        encrypted = server.use_ssl or server.use_tls
        if not (encrypted or server.allow_plaintext_auth or is_loopback(self._smtp.peer_ip)):
            self._smtp.fail(
                FaultCause.PLAINTEXT_AUTH, "would get the password over an unencrypted connection"
            )
        login(self._smtp, username=server.username, password=server.password or "", encrypted=encrypted)

    def _expect(self, wanted: int, answer: tuple[int, bytes]) -> None:
        if answer[0] != wanted:
            self._smtp.refuse(*answer)

    # -- facts -----------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether it may carry another mail."""
        return self._smtp.alive

    @property
    def between_mails(self) -> bool:
        """Whether it may be kept for another batch: no envelope is out whose text is not."""
        return self._transaction.between_mails

    @property
    def ran_aground(self) -> bool:
        """Whether the server may not have stood an envelope together with the dot of the mail before."""
        return self._transaction.ran_aground

    def one_by_one(self) -> None:
        """From now on send no envelope together with the dot of the mail before."""
        self._transaction.may_run_ahead = False

    @property
    def peer_ip(self) -> str:
        """The address connected to; empty before."""
        return self._smtp.peer_ip

    @property
    def addresses(self) -> tuple[str, ...]:
        """The checked addresses of the host, once resolved."""
        return tuple(target.ip for target in self._targets)

    @property
    def tls(self) -> tls.TlsFacts | None:
        """What TLS agreed on; None on a plain connection."""
        return tls.facts(self._smtp.sock)

    # -- mails -----------------------------------------------------------------------------------------------

    def send(
        self,
        mail: Outgoing,
        *,
        following: Outgoing | None = None,
        within: float | None = None,
        on_dot: Callable[[], None] | None = None,
        on_slow: Callable[[], None] | None = None,
    ) -> Reply:
        """Send one mail; return the final 2yz reply. Raises SmtpFault for everything else.

        `within` is the seconds it may take, if fewer than the deadline of a mail.
        `following` is the mail that will be sent next over this connection, if one will. `on_dot` is called when
        the whole mail was given to the socket and no reply read yet, `on_slow` at most once when that reply is
        outstanding for over a second; both in this thread, and neither may raise. After a refusal the
        connection stays `usable`; after any other fault it is closed.
        """
        try:
            seconds = self._deadlines.message if within is None else min(within, self._deadlines.message)
            reply = self._transaction.run(
                mail, following=following, seconds=seconds, on_dot=on_dot, on_slow=on_slow
            )
            self.sent += 1
            self.reused = True
        except SmtpFault as fault:
            self.reused = self.reused or (self.usable and fault.phase != Phase.PREPARE)
            raise
        except Exception as error:  # noqa: BLE001 - released like a mail that never left, it might arrive twice
            self._smtp.give_up(error)
        finally:
            self.used_at = self._clock()
        return reply

    # -- the end ---------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Break the connection from another thread: its owner sees it lost, in whatever phase it is."""
        self._smtp.abort()

    def close(self) -> None:
        """Say QUIT, wait for its answer for a few seconds at most, close. Never raises."""
        if self._smtp.alive and self.between_mails:  # else QUIT would be a line of the promised mail
            self._smtp.bound(self._deadlines.quit)
            self._smtp.begin(Phase.QUIT, self._deadlines.quit)
            with suppress(SmtpFault):
                self._smtp.docmd("QUIT")
        self._smtp.close()
