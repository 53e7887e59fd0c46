"""The SMTP server a customer's mails go through, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_SERVER_ID = 0  # the [smtp] section of the configuration; smtp_configs ids start at 1


@dataclass(frozen=True, kw_only=True, slots=True)
class SmtpServer:
    """How to reach one server.

    `use_ssl` is implicit TLS, `use_tls` is required STARTTLS, neither is plaintext; never both.
    `version` changes whenever a setting does, so that pooled connections of old settings are not reused.
    `trusted` marks the operator's own [smtp] host, which denied networks do not apply to.
    """

    server_id: int
    version: str
    host: str
    port: int
    use_tls: bool
    use_ssl: bool
    username: str | None
    password: str | None = field(repr=False)
    from_email: str
    reply_to_email: str | None
    ca_certificate: str | None = field(repr=False, default=None)
    allow_plaintext_auth: bool = False
    trusted: bool = False
