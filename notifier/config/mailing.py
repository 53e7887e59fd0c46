"""The settings of the mails: who gets one, what it says, how it is tried, repeated and paused."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field

from notifier import resources
from notifier.config.section import Section
from notifier.config.values import (
    DENIED_BY_DEFAULT,
    NAMED_NETWORKS,
    BaseUrl,
    Domains,
    EncryptionKeys,
    EventTypesByRole,
    Name,
    Networks,
    PlainPath,
    Seconds,
    SigningKeys,
    link,
)
from notifier.domain.vocabulary import EVENT_TYPES, EventType, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAY = 86400
SHIPPED_TEMPLATES = Path("templates")


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


class Delivery(Section):
    """How mails are tried, repeated and paused."""

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
        description="Nobody else takes a mail that a worker may have sent so long; one mail may take 7/8 of it.",
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
    """Who gets a mail (docs/contract.md)."""

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


class Security(Section):
    """Keys, newest first; from the environment or a secret file rather than from here."""

    encryption_keys: EncryptionKeys = Field(
        default=(), description="Keys for SMTP passwords at rest; the first encrypts, all decrypt."
    )
    signing_keys: SigningKeys = Field(
        default=(),
        description="Keys for unsubscribe links; the first signs. Keep a retired key listed for 90 days.",
    )
