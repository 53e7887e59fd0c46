"""Short ways to a session with a scripted server, with deadlines of a test's scale."""

from __future__ import annotations

import ipaddress
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from notifier.domain.mail import Outgoing
from notifier.domain.servers import SmtpServer as ServerSettings
from notifier.smtp.deadlines import Deadlines
from notifier.smtp.policy import ConnectPolicy
from notifier.smtp.session import Session
from tests.support.certificates import authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from notifier.domain.outcomes import Reply
    from notifier.smtp.pool import Pool
    from tests.support.smtp_server import SmtpServer

OPEN_POLICY = ConnectPolicy(denied_networks=(), local_hostname="client.example")
DEFAULT_DENIED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",
        "fe80::/10",
        "127.0.0.0/8",
        "::1/128",
        "224.0.0.0/4",
        "ff00::/8",
        "0.0.0.0/8",
    )
)
SHORT = Deadlines(
    connect=2,
    banner=0.3,
    ehlo=0.3,
    starttls=1,
    auth=0.3,
    setup=3,
    mail=0.3,
    rcpt=0.3,
    data=0.3,
    body=0.5,
    dot=0.4,
    message=3,
    quit=0.3,
    slow=0.1,
)
# For cases that wait for no deadline: a busy machine must not turn an answer into a timeout.
PATIENT = Deadlines()


def settings(
    port: int,
    *,
    host: str = "127.0.0.1",
    server_id: int = 1,
    version: str = "1",
    use_tls: bool = False,
    use_ssl: bool = False,
    username: str | None = None,
    password: str | None = None,
    ca_certificate: str | None = None,
    allow_plaintext_auth: bool = False,
    trusted: bool = True,
) -> ServerSettings:
    """Return the settings of a server on this port; the test authority is trusted where TLS is asked for."""
    return ServerSettings(
        server_id=server_id,
        version=version,
        host=host,
        port=port,
        use_tls=use_tls,
        use_ssl=use_ssl,
        username=username,
        password=password,
        from_email="noreply@example.org",
        reply_to_email=None,
        ca_certificate=ca_certificate or (authority().pem if use_tls or use_ssl else None),
        allow_plaintext_auth=allow_plaintext_auth,
        trusted=trusted,
    )


def connected(
    server: ServerSettings,
    *,
    policy: ConnectPolicy = OPEN_POLICY,
    deadlines: Deadlines = PATIENT,
    clock: Callable[[], float] = time.monotonic,
) -> Session:
    """Return a ready session. Raises SmtpFault, with nothing left open."""
    session = Session(server, policy=policy, deadlines=deadlines, clock=clock)
    session.connect()
    return session


def counts(pool: Pool) -> tuple[int, int]:
    """Return how many sessions of a pool are in use and how many are free."""
    return len(pool._taken), sum(map(len, pool._free.values()))


@contextmanager
def opened(
    server: SmtpServer, *, deadlines: Deadlines = PATIENT, given: ServerSettings | None = None
) -> Iterator[Session]:
    """Give a ready session, closed afterwards."""
    session = connected(given or settings(server.port), deadlines=deadlines)
    try:
        yield session
    finally:
        session.close()


def mail(message_id: str = "one", *, body: bytes = b"Hello\r\n") -> bytes:
    """Return a small mail."""
    return f"Message-ID: <{message_id}@example.org>\r\nSubject: Test\r\n\r\n".encode() + body


def send(
    session: Session,
    *,
    rcpt_to: str = "b@example.org",
    data: bytes | None = None,
    on_slow: Callable[[], None] | None = None,
) -> Reply:
    """Send one mail."""
    return session.send(outgoing(rcpt_to=rcpt_to, data=data), on_slow=on_slow)


def outgoing(
    *, mail_from: str = "noreply@example.org", rcpt_to: str = "b@example.org", data: bytes | None = None
) -> Outgoing:
    """Return a mail with its envelope."""
    return Outgoing(mail_from=mail_from, rcpt_to=rcpt_to, pieces=(mail() if data is None else data,))
