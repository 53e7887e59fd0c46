"""What carries a mail away: a pooled SMTP connection, or the transport that replaces the default server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from notifier.domain.servers import DEFAULT_SERVER_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.composing import Composed
    from notifier.domain.outcomes import Reply
    from notifier.domain.servers import SmtpServer
    from notifier.smtp.pool import Pool
    from notifier.smtp.transports import Transport


class Carrier(Protocol):
    """Carries the mails of one batch, one after another; belongs to one thread."""

    @property
    def usable(self) -> bool:
        """Whether it may carry another mail."""

    @property
    def reused(self) -> bool:
        """Whether a server may have hung up on it since its last mail."""

    @property
    def ran_aground(self) -> bool:
        """Whether its last mail may have failed because the carrier had begun with the next one."""

    def send(
        self,
        composed: Composed,
        *,
        following: Composed | None,
        within: float,
        on_dot: Callable[[], None],
        on_slow: Callable[[], None],
    ) -> Reply:
        """Send one mail within so many seconds; return the final 2yz reply, raise SmtpFault for everything else.

        following is the one that will be sent next, if any: the carrier may begin with it.
        """

    def replace(self) -> None:
        """Take a new connection instead of this one. Raises SmtpFault."""

    def give_back(self) -> None:
        """End the batch; never raises."""


class SmtpCarrier:
    """A connection from the pool."""

    def __init__(self, pool: Pool, server: SmtpServer) -> None:
        self._pool = pool
        self._server = server
        self._session = pool.take(server)

    @property
    def usable(self) -> bool:
        """Whether it may carry another mail."""
        return self._session.usable

    @property
    def reused(self) -> bool:
        """Whether a server may have hung up on it since its last mail."""
        return self._session.reused

    @property
    def ran_aground(self) -> bool:
        """Whether its last mail may have failed because the next one's envelope came with it."""
        return self._session.ran_aground

    def send(
        self,
        composed: Composed,
        *,
        following: Composed | None,
        within: float,
        on_dot: Callable[[], None],
        on_slow: Callable[[], None],
    ) -> Reply:
        """Send one mail over it."""
        return self._session.send(
            composed, following=following, within=within, on_dot=on_dot, on_slow=on_slow
        )

    def replace(self) -> None:
        """Take a new connection."""
        self._pool.drop(self._session)
        self._session = self._pool.take(self._server, fresh=True)

    def give_back(self) -> None:
        """Return it to the pool, which closes it when it is broken."""
        self._pool.give(self._session)


class TransportCarrier:
    """The console, file or dummy transport of the [smtp] section."""

    usable = True
    reused = False
    ran_aground = False

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(
        self,
        composed: Composed,
        *,
        following: Composed | None,
        within: float,
        on_dot: Callable[[], None],
        on_slow: Callable[[], None],
    ) -> Reply:
        """Put one mail where the transport puts it."""
        del following, within, on_dot, on_slow  # nothing is waited for
        return self._transport.send(
            mail_from=composed.mail_from, rcpt_to=composed.rcpt_to, data=composed.data
        )

    def replace(self) -> None:
        """There is nothing to replace: it is never `reused`."""

    def give_back(self) -> None:
        """There is nothing to give back."""


class Carriers:
    """Hands out carriers; thread-safe. transport, if given, stands in for the default server."""

    def __init__(self, *, pool: Pool, transport: Transport | None) -> None:
        self._pool = pool
        self._transport = transport

    @property
    def cut(self) -> bool:
        """Whether every connection was broken because the process must end."""
        return self._pool.aborted

    def ready(self, server: SmtpServer) -> bool:
        """Whether `take` has a carrier at hand, without connecting."""
        stands_in = server.server_id == DEFAULT_SERVER_ID and self._transport is not None
        return stands_in or self._pool.has_free(server)

    def take(self, server: SmtpServer) -> Carrier:
        """Return a carrier to this server, connected and logged in. Raises SmtpFault."""
        if server.server_id == DEFAULT_SERVER_ID and self._transport is not None:
            return TransportCarrier(self._transport)
        return SmtpCarrier(self._pool, server)
