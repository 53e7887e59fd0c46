"""The settings, section by section as in contract section 5: the only list of keys, defaults and meanings.

Every description is a sentence for operators; the reference page and the comments of config.toml follow them.
Times are seconds unless the description says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from notifier import resources
from notifier.config.values import (
    DENIED_BY_DEFAULT,
    NAMED_NETWORKS,
    AmqpUrl,
    BaseUrl,
    BindingKeys,
    DatabaseUrl,
    Domains,
    EncryptionKeys,
    EventTypesByRole,
    Host,
    Name,
    Networks,
    OptionalDomain,
    OptionalMailbox,
    OptionalPath,
    OptionalSecret,
    OptionalText,
    PlainPath,
    Seconds,
    SigningKeys,
    link,
)
from notifier.domain.vocabulary import EVENT_TYPES, EventType, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

DAY = 86400
SHIPPED_TEMPLATES = Path("templates")


class ContradictionError(ValueError):
    """Keys of one section that contradict each other; `found` holds (key, what is wrong and the cure)."""

    def __init__(self, found: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{key}: {text}" for key, text in found))
        self.found = found


class Section(BaseModel):
    """One frozen table of the configuration; keys it does not know are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, hide_input_in_errors=True
    )

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (key, sentence) for every pair of keys that cannot both hold."""
        return iter(())

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        found = tuple(self.contradictions())
        if found:
            raise ContradictionError(found)
        return self


class App(Section):
    """The product the mails speak for."""

    product: Name = Field(
        default="Webnet", description="Name of the product, as readers see it in From, subject and body."
    )
    base_url: BaseUrl = Field(
        default="http://localhost:8000",
        description="Address of the product's web pages; links in mails begin with it.",
    )
    environment: Name = Field(
        default="production",
        description="Name of this installation, for logs, metrics and the Feedback-ID header.",
    )


class RabbitMQ(Section):
    """Where job events come from (contract section 1)."""

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
    """The PostgreSQL database (contract section 3)."""

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


class Delivery(Section):
    """How mails are tried, repeated and paused (reliability D15-D31)."""

    max_attempts: int = Field(
        default=8,
        ge=1,
        le=100,
        description="Attempts per mail; 1: the first fault of any kind ends it (sent once).",
    )
    backoff_initial: Seconds = Field(default=30, description="Wait after the first failed attempt.")
    backoff_factor: float = Field(
        default=2,
        ge=1,
        le=100,
        allow_inf_nan=False,
        description="Each further wait is this many times longer.",
    )
    backoff_max: Seconds = Field(default=3600, description="Longest wait between two attempts.")
    jitter: float = Field(default=0.2, ge=0, lt=1, description="Waits are spread by this share, up and down.")
    expire_after: Seconds = Field(
        default=DAY, description="A mail not sent by then ends failed: an older alarm is noise."
    )
    on_ambiguous: Literal["retry", "fail"] = Field(
        default="retry",
        description="When nobody knows whether the server took a mail: retry risks a second copy, fail a "
        "missing mail.",
    )
    max_ambiguous: int = Field(
        default=2, ge=0, le=100, description="So many ambiguous attempts are repeated per mail."
    )
    ambiguous_delay: Seconds = Field(default=300, description="Shortest wait after an ambiguous attempt.")
    greylist_delay: Seconds = Field(default=300, description="Shortest wait after a greylisting reply.")
    senders: int = Field(default=8, ge=1, le=256, description="Sender threads of this process.")
    connections_per_customer: int = Field(
        default=4, ge=1, le=256, description="Connections to one customer's server, over all replicas."
    )
    lease: Seconds = Field(
        default=480,
        ge=10,
        le=DAY,
        description="A worker owns the mails in hand so long; 7/8 of it is the limit for one mail.",
    )
    breaker_initial: Seconds = Field(default=30, description="First pause of a server that does not answer.")
    breaker_max: Seconds = Field(default=900, description="Longest pause of a server that does not answer.")
    breaker_config_initial: Seconds = Field(
        default=300, description="First pause after a refused login or certificate."
    )
    breaker_config_max: Seconds = Field(
        default=3600, description="Longest pause after a refused login or certificate."
    )
    drain_timeout: Seconds = Field(
        default=25,
        le=3600,
        description="Time to finish the mails in hand after SIGTERM; the supervisor must wait longer.",
    )
    max_message_bytes: int = Field(
        default=1048576, ge=65536, le=100 * 1024 * 1024, description="A larger mail is not sent (too_large)."
    )
    denied_networks: Networks = Field(
        default=tuple(ip_network(text) for name in DENIED_BY_DEFAULT for text in NAMED_NETWORKS[name]),
        description="Networks that servers of customers may not lie in: CIDR, or loopback, link-local, "
        "multicast, unspecified, private. The [smtp] host is not checked.",
        json_schema_extra={"default": list(DENIED_BY_DEFAULT)},
    )

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Refuse ranges that end before they begin, and a drain that outlives the lease."""
        for low, high in (
            ("backoff_initial", "backoff_max"),
            ("breaker_initial", "breaker_max"),
            ("breaker_config_initial", "breaker_config_max"),
        ):
            first, last = getattr(self, low), getattr(self, high)
            if last < first:
                yield high, f"is {last:g}, less than {low} ({first:g}); make it at least as large"
        if self.drain_timeout >= self.lease:
            text = f"is {self.drain_timeout:g}, not less than lease ({self.lease:g}); "
            yield (
                "drain_timeout",
                text + "other workers would take the mails in hand; lower it or raise lease",
            )


_VIEWER = frozenset[EventType](
    {"job_success", "job_partial", "scheduled_backup_complete", "compliance_violation"}
)
_EVERYTHING = frozenset[EventType](EVENT_TYPES)
_ROLE_DEFAULTS: Mapping[Role, frozenset[EventType]] = {
    "viewer": frozenset(),
    "operator": frozenset(),
    "admin": frozenset[EventType]({"job_failed"}),
}
_ROLE_EVENT_TYPES: Mapping[Role, frozenset[EventType]] = {
    "viewer": _VIEWER,
    "operator": _EVERYTHING,
    "admin": _EVERYTHING,
}


def _over(defaults: Mapping[Role, frozenset[EventType]]) -> Callable[[object], object]:
    """Roles that are not named keep their default."""
    return lambda value: {**defaults, **value} if isinstance(value, Mapping) else value


class Recipients(Section):
    """Who gets a mail (contract section 4)."""

    role_defaults: Annotated[EventTypesByRole, BeforeValidator(_over(_ROLE_DEFAULTS))] = Field(
        default_factory=lambda: dict(_ROLE_DEFAULTS),
        description="Event types that users of a role get without a preference of their own.",
    )
    role_event_types: Annotated[EventTypesByRole, BeforeValidator(_over(_ROLE_EVENT_TYPES))] = Field(
        default_factory=lambda: dict(_ROLE_EVENT_TYPES),
        description="Event types that a role may receive at all, whatever a preference says.",
    )
    allowed_domains: Domains = Field(
        default=(),
        description="Domains that recipients' addresses may have; empty: any. Subdomains count separately.",
    )
    max_per_event: int = Field(
        default=5000,
        ge=1,
        le=100_000,
        description="An event with more recipients goes to the dead-letter queue.",
    )

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Refuse a default that the role may not receive."""
        for role, types in self.role_defaults.items():
            outside = sorted(types - self.role_event_types[role])
            if outside:
                cure = f"add it to recipients.role_event_types.{role} or take it out here"
                yield (
                    f"role_defaults.{role}",
                    f"{', '.join(outside)} may not be received by this role; {cure}",
                )


class Retention(Section):
    """What `notifier maintain` deletes."""

    days: int = Field(
        default=90, ge=1, le=36500, description="Events and log rows are kept for so many days."
    )


class Api(Section):
    """The REST API (`notifier api`)."""

    host: Host = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8081, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    requests_per_minute: int = Field(
        default=300, ge=1, le=1_000_000, description="Requests one token may make in a minute."
    )
    failed_logins_per_minute: int = Field(
        default=10, ge=1, le=1_000_000, description="Failed authentications one address may make in a minute."
    )


class Templates(Section):
    """The mail templates."""

    directory: PlainPath = Field(
        default=SHIPPED_TEMPLATES,
        description="Folder with the mail templates, relative to this file; the shipped ones where there is "
        "no such folder under the default name.",
    )

    def folder(self) -> Path:
        """Return the folder to load from: the shipped templates unless another one was named."""
        return resources.path("templates") if self.directory == SHIPPED_TEMPLATES else self.directory


class Links(Section):
    """Patterns of the links in mails; an empty pattern leaves that link out."""

    job: Annotated[str, link("base_url", "job_id", "customer_id")] = Field(
        default="{base_url}/jobs/{job_id}", description="Page of a job; the log button leads there."
    )
    compliance_result: Annotated[
        str, link("base_url", "device_id", "compliance_result_id", "policy_id", "customer_id")
    ] = Field(
        default="{base_url}/compliance/results?device={device_id}", description="Page of a compliance result."
    )
    device: Annotated[str, link("base_url", "device_id", "customer_id")] = Field(
        default="{base_url}/devices/{device_id}", description="Page of a device."
    )
    policy: Annotated[str, link("base_url", "policy_id", "customer_id")] = Field(
        default="{base_url}/compliance/policies/{policy_id}", description="Page of a compliance policy."
    )
    preferences: Annotated[str, link("base_url", "customer_id")] = Field(
        default="{base_url}/notifications/preferences",
        description="Page where readers change their preferences.",
    )
    unsubscribe: Annotated[str, link("base_url", "token")] = Field(
        default="",
        description="Unsubscribe address of the REST API, with {token}; empty: mails carry no such link.",
    )

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Refuse an unsubscribe link that would be the same for everybody."""
        if self.unsubscribe and "{token}" not in self.unsubscribe:
            yield "unsubscribe", "lacks {token}; write it as https://notifications.example.com/u/{token}"


class Health(Section):
    """The worker's read-only health and metrics pages (contract section 7)."""

    host: Host = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 in a container.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")


class Security(Section):
    """Keys, newest first; from the environment or a secret file rather than from here."""

    encryption_keys: EncryptionKeys = Field(
        default=(), description="Keys for SMTP passwords at rest; the first encrypts, all decrypt."
    )
    signing_keys: SigningKeys = Field(
        default=(),
        description="Keys for unsubscribe links; the first signs. Keep a retired key listed for 90 days.",
    )


class Logging(Section):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto is JSON unless stderr is a terminal."
    )


class Settings(Section):
    """The whole configuration, one frozen value (contract section 5)."""

    app: App = Field(default_factory=App)
    rabbitmq: RabbitMQ = Field(default_factory=RabbitMQ)
    database: Database = Field(default_factory=Database)
    smtp: Smtp = Field(default_factory=Smtp)
    delivery: Delivery = Field(default_factory=Delivery)
    recipients: Recipients = Field(default_factory=Recipients)
    retention: Retention = Field(default_factory=Retention)
    api: Api = Field(default_factory=Api)
    templates: Templates = Field(default_factory=Templates)
    links: Links = Field(default_factory=Links)
    health: Health = Field(default_factory=Health)
    security: Security = Field(default_factory=Security)
    logging: Logging = Field(default_factory=Logging)

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Refuse unsubscribe links that nobody could sign."""
        if self.links.unsubscribe and not self.security.signing_keys:
            yield (
                "security.signing_keys",
                "is needed with links.unsubscribe; set NOTIFIER_SECURITY__SIGNING_KEYS",
            )

    def secrets(self) -> tuple[str, ...]:
        """Return every secret value that must never appear in a log, passwords inside URLs included."""
        found = [
            key.get_secret_value() for key in (*self.security.encryption_keys, *self.security.signing_keys)
        ]
        if self.smtp.password is not None:
            found.append(self.smtp.password.get_secret_value())
        for url in (self.rabbitmq.url, self.database.url):
            password = urlsplit(url.get_secret_value()).password
            if password:
                found += [password, unquote(password)]
        return tuple(dict.fromkeys(found))
