"""A mail inbox on the loopback address: takes every mail, except where its script says otherwise."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from notifier.sandbox import processes
from notifier.sandbox.inbox_web import InboxWeb
from notifier.sandbox.processes import LOOPBACK
from notifier.sandbox.stored_mail import StoredMail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiosmtpd.smtp import SMTP, Envelope, Session

REFUSED = "550 5.1.1 <{address}>: no such mailbox"
UNAUTHENTICATED = "530 5.7.0 please log in first"
GREYLISTED = "451 4.7.1 <{address}>: greylisted, please try again later"
_ACCEPTED = "250 2.1.5 recipient accepted"
_MAX_BYTES = 16 * 1024 * 1024


class Inbox:
    """An SMTP server that keeps what it takes, and a web page to look at it.

    `refuse` are mailboxes that answer RCPT TO with 550. `greylist` are mailboxes that answer 451 so many
    times before they take a mail. Addresses compare without case. `login` is the user and password that AUTH
    must bring before any recipient is taken; None asks for no AUTH. Port 0 takes a free one. The last
    `capacity` mails are kept in memory, and nowhere else.
    """

    def __init__(
        self,
        *,
        smtp_port: int = 0,
        web_port: int = 0,
        refuse: frozenset[str] = frozenset(),
        greylist: Mapping[str, int] | None = None,
        login: tuple[str, str] | None = None,
        capacity: int = 10_000,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._refuse = frozenset(address.lower() for address in refuse)
        self._greylist = {address.lower(): times for address, times in (greylist or {}).items()}
        self._login = login
        logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd warns of its own AUTH, every time
        self._clock = clock
        self._mails: deque[StoredMail] = deque(maxlen=capacity)
        self._attempts: Counter[str] = Counter()
        self._received = 0
        self._lock = threading.Lock()
        self.smtp_host = LOOPBACK
        self.smtp_port = smtp_port or processes.free_ports(1)[0]
        self._smtp = Controller(
            self,
            hostname=LOOPBACK,
            port=self.smtp_port,
            enable_SMTPUTF8=True,
            data_size_limit=_MAX_BYTES,
            server_hostname="inbox.localhost",
            ident="inbox",
            authenticator=self._authenticate,
            auth_require_tls=login is None,  # without a login AUTH is not even offered: there is no TLS here
        )
        self._web = InboxWeb(self.mails, port=web_port, smtp_address=f"{LOOPBACK}:{self.smtp_port}")
        try:
            self._smtp.start()
        except BaseException:
            self._web.close()
            raise

    @property
    def url(self) -> str:
        """The address of the web page."""
        return self._web.url

    def mails(self) -> tuple[StoredMail, ...]:
        """All kept mails, oldest first."""
        with self._lock:
            return tuple(self._mails)

    def to(self, address: str) -> tuple[StoredMail, ...]:
        """The mails whose envelope names this recipient, oldest first; case does not matter."""
        wanted = address.lower()
        return tuple(mail for mail in self.mails() if wanted in (rcpt.lower() for rcpt in mail.rcpt_tos))

    def attempts(self, address: str) -> int:
        """How often RCPT TO named this mailbox, refusals included."""
        with self._lock:
            return self._attempts[address.lower()]

    def close(self) -> None:
        """Close both servers; the mails stay readable here."""
        self._smtp.stop()
        self._web.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: object
    ) -> AuthResult:
        """Compare what AUTH PLAIN or LOGIN brought with the login; aiosmtpd calls this."""
        right = (
            self._login is not None
            and isinstance(given, LoginPassword)
            and (given.login, given.password) == tuple(text.encode() for text in self._login)
        )
        return AuthResult(success=right, handled=False)

    # The two names below are aiosmtpd's hooks; it calls them on its own thread.

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer one RCPT TO as the script says."""
        if self._login is not None and not session.authenticated:
            return UNAUTHENTICATED
        mailbox = address.lower()
        with self._lock:
            self._attempts[mailbox] += 1
            attempt = self._attempts[mailbox]
        if mailbox in self._refuse:
            return REFUSED.format(address=address)
        if attempt <= self._greylist.get(mailbox, 0):
            return GREYLISTED.format(address=address)
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return _ACCEPTED

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep the mail and answer 250."""
        with self._lock:
            self._received += 1
            mail = StoredMail(
                number=self._received,
                received_at=self._clock(),
                mail_from=envelope.mail_from or "",
                rcpt_tos=tuple(envelope.rcpt_tos),
                source=bytes(envelope.original_content or b""),
            )
            self._mails.append(mail)
        return f"250 2.0.0 kept as {mail.number}"
