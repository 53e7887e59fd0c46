"""The settings of what the worker talks to and listens on: broker, database, mail server, HTTP ports, log."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr

from notifier.config.section import Section
from notifier.config.values import (
    NAMED_NETWORKS,
    AmqpUrl,
    BindingKeys,
    DatabaseUrl,
    Host,
    Name,
    Networks,
    OptionalDomain,
    OptionalMailbox,
    OptionalPath,
    OptionalSecret,
    OptionalText,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class RabbitMQ(Section):
    """Where job events come from (docs/contract.md)."""

    url: AmqpUrl = Field(
        default=SecretStr("amqp://guest:guest@127.0.0.1:5672/%2F"),
        description="AMQP address with user, password and virtual host; amqps:// for TLS.",
    )
    exchange: Name = Field(default="job.events", description="Topic exchange of the publishers.")
    queue: Name = Field(default="notifier.job-events.v1", description="The worker's quorum queue.")
    binding_keys: BindingKeys = Field(default=("#",), description="Routing keys by which the queue is bound.")
    dead_letter_exchange: Name = Field(
        default="notifier.dlx", description="Exchange for messages that cannot be accepted."
    )
    dead_letter_queue: Name = Field(
        default="notifier.dead-letter.v1", description="Queue that keeps messages that cannot be accepted."
    )
    declare: bool = Field(
        default=True,
        description="Create missing exchanges, queues and bindings; false only checks that they exist.",
    )
    prefetch: int = Field(
        default=50, ge=1, le=65535, description="Broker messages taken at once, per consumer."
    )
    heartbeat: int = Field(default=30, ge=1, le=3600, description="AMQP heartbeat in seconds.")
    max_event_bytes: int = Field(
        default=262144,
        ge=1024,
        le=16 * 1024 * 1024,
        description="A larger job event goes to the dead-letter queue unread.",
    )

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Refuse names that would make one broker object play two parts."""
        if self.queue == self.dead_letter_queue:
            yield "dead_letter_queue", f"is the same as queue ({self.queue}); give it a name of its own"
        if self.exchange == self.dead_letter_exchange:
            yield (
                "dead_letter_exchange",
                f"is the same as exchange ({self.exchange}); give it a name of its own",
            )


class Database(Section):
    """The PostgreSQL database (docs/contract.md)."""

    url: DatabaseUrl = Field(
        default=SecretStr("postgresql://notifier@127.0.0.1/notifier"),
        description="PostgreSQL address; libpq options such as ?sslmode=verify-full may follow.",
    )


class Smtp(Section):
    """The default mail server, for customers without one of their own."""

    transport: Literal["smtp", "console", "file", "dummy"] = Field(
        default="smtp",
        description="smtp sends; console prints, file writes .eml files and dummy drops mails of customers "
        "without a server of their own.",
    )
    file_path: OptionalPath = Field(default=None, description="Folder for the .eml files of transport file.")
    host: OptionalText = Field(
        default=None,
        max_length=253,
        description="Default server; empty: customers without their own server get no mail.",
    )
    port: int = Field(default=587, ge=1, le=65535, description="Port of the default server.")
    use_tls: bool = Field(default=True, description="STARTTLS, required; never together with use_ssl.")
    use_ssl: bool = Field(
        default=False, description="TLS from the first byte (port 465); never together with use_tls."
    )
    username: OptionalText = Field(default=None, description="User for AUTH; empty: no AUTH.")
    password: OptionalSecret = Field(
        default=None,
        description="Password for AUTH; better in the environment or in a secret file than here.",
    )
    from_email: OptionalMailbox = Field(default=None, description="Sender address; needed with host.")
    reply_to_email: OptionalMailbox = Field(
        default=None, description="Address for replies; empty: the sender address."
    )
    ca_file: OptionalPath = Field(
        default=None, description="PEM file of a private certificate authority to trust as well."
    )
    allow_plaintext_auth: bool = Field(
        default=False, description="Allow AUTH without TLS to a server that is not on this machine."
    )
    message_id_domain: OptionalDomain = Field(
        default=None, description="Domain of every Message-ID; empty: the domain of the sender address."
    )

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Refuse half a server and two kinds of TLS."""
        if self.use_tls and self.use_ssl:
            yield (
                "use_ssl",
                "use_tls and use_ssl cannot both be true; set use_tls = false for TLS from the first byte",
            )
        if self.transport == "file" and self.file_path is None:
            yield "file_path", 'is needed with transport = "file"; name a folder (or set EMAIL_FILE_PATH)'
        if self.host and self.from_email is None:
            yield (
                "from_email",
                "is needed with host; set it (or DEFAULT_FROM_EMAIL) to the address mails come from",
            )
        if self.username and self.password is None:
            yield (
                "password",
                "is needed with username; set NOTIFIER_SMTP__PASSWORD or its _FILE, or clear username",
            )
        if self.password is not None and not self.username:
            yield "username", "is needed with password; set it, or clear password"


class Api(Section):
    """The REST API (`notifier api`); its limits count per process."""

    host: Host = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8081, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    requests_per_minute: int = Field(
        default=300, ge=1, le=1_000_000, description="Requests one token may make in a minute."
    )
    failed_logins_per_minute: int = Field(
        default=10, ge=1, le=1_000_000, description="Failed authentications one address may make in a minute."
    )
    max_request_bytes: int = Field(
        default=1048576,
        ge=16384,
        le=100 * 1024 * 1024,
        description="A larger request body is refused; an import of many preferences may need more.",
    )
    trusted_proxies: Networks = Field(
        default=tuple(ip_network(text) for text in NAMED_NETWORKS["loopback"]),
        description="Networks of the reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
        json_schema_extra={"default": ["loopback"]},
    )


class Health(Section):
    """The worker's read-only health and metrics pages (docs/operations.md)."""

    host: Host = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 in a container.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")


class Logging(Section):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto is JSON unless stderr is a terminal."
    )
