"""Which server a batch goes through: the customer's own, else the [smtp] section, else none."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from notifier.domain.errors import SecretUnreadable, SmtpFault
from notifier.domain.servers import DEFAULT_SERVER_ID, SmtpServer
from notifier.domain.vocabulary import FaultCause, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.encryption import SecretBox
    from notifier.store.claims import Batch
    from notifier.store.smtp_configs import StoredServer

_KEPT = 10_000  # servers; each is a few hundred bytes

_Known = SmtpServer | SmtpFault


class Routes:
    """Finds servers and keeps them until their row changes; thread-safe.

    default is the operator's own server, None without one. learn_secret is told every decrypted password.
    """

    def __init__(
        self, *, default: SmtpServer | None, box: SecretBox, learn_secret: Callable[[str], None]
    ) -> None:
        self._default = default
        self._box = box
        self._learn_secret = learn_secret
        self._lock = threading.Lock()
        self._known: dict[int, tuple[str, _Known]] = {}

    def server(self, batch: Batch, read: Callable[[int], StoredServer | None]) -> SmtpServer:
        """Return the server of a batch; read(server_id) is asked only when its row changed since the last time.

        Raises SmtpFault in phase prepare: no_smtp_config, smtp_disabled or secret_unreadable.
        """
        if batch.server_id == DEFAULT_SERVER_ID or batch.config_version is None:
            return self._default_server()
        with self._lock:
            version, known = self._known.get(batch.server_id, ("", None))
        if known is None or version != batch.config_version:
            known = self._load(batch.server_id, read)
            with self._lock:
                if len(self._known) >= _KEPT:
                    self._known.clear()
                self._known[batch.server_id] = (batch.config_version, known)
        if isinstance(known, SmtpFault):
            raise _again(known)
        return known

    def _default_server(self) -> SmtpServer:
        if self._default is None:
            raise no_server()
        return self._default

    def _load(self, server_id: int, read: Callable[[int], StoredServer | None]) -> _Known:
        stored = read(server_id)
        if stored is None:
            return _no_server("the customer's SMTP configuration was deleted")
        try:
            return usable_server(stored, box=self._box, learn_secret=self._learn_secret)
        except SmtpFault as fault:
            return fault


def usable_server(
    stored: StoredServer, *, box: SecretBox, learn_secret: Callable[[str], None] = lambda _: None
) -> SmtpServer:
    """Return a customer's server with its password decrypted.

    Raises SmtpFault in phase prepare: smtp_disabled or secret_unreadable.
    """
    if not stored.enabled:
        detail = "the customer's SMTP configuration is disabled; enable it to send mails"
        raise SmtpFault(phase=Phase.PREPARE, cause=FaultCause.SMTP_DISABLED, detail=detail)
    password = None
    if stored.password:
        try:
            password = box.decrypt(customer_id=stored.customer_id, host=stored.host, token=stored.password)
        except SecretUnreadable as exc:
            cause = FaultCause.SECRET_UNREADABLE
            raise SmtpFault(phase=Phase.PREPARE, cause=cause, detail=str(exc)) from exc
        learn_secret(password)
    return server_of(stored, password=password)


def server_of(stored: StoredServer, *, password: str | None) -> SmtpServer:
    """Return a customer's server as it is spoken to; without a password, as it is looked at."""
    return SmtpServer(
        server_id=stored.server_id,
        version=stored.version,
        host=stored.host,
        port=stored.port,
        use_tls=stored.use_tls,
        use_ssl=stored.use_ssl,
        username=stored.username or None,
        password=password,
        from_email=stored.from_email,
        reply_to_email=stored.reply_to_email,
        ca_certificate=stored.ca_certificate,
        allow_plaintext_auth=stored.allow_plaintext_auth,
    )


def no_server() -> SmtpFault:
    """Return the fault of a customer without any server."""
    return _no_server("the customer has no SMTP configuration and the [smtp] section names no host")


def _no_server(detail: str) -> SmtpFault:
    return SmtpFault(phase=Phase.PREPARE, cause=FaultCause.NO_SMTP_CONFIG, detail=detail)


def _again(fault: SmtpFault) -> SmtpFault:
    """Return a copy: a raised exception collects a traceback, and this one is kept."""
    return SmtpFault(phase=fault.phase, cause=fault.cause, detail=fault.detail, reply=fault.reply)
