"""From settings to the values and parts that the commands and the worker share."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from notifier.breaker_reports import BreakerRules
from notifier.broker.topology import Topology
from notifier.claiming import ClaimRules
from notifier.delivery import DeliveryRules
from notifier.domain.errors import ConfigurationError
from notifier.domain.outcomes import RetryPolicy
from notifier.domain.recipients import Rules
from notifier.domain.servers import DEFAULT_SERVER_ID, SmtpServer
from notifier.encryption import SecretBox
from notifier.planning import PlanningRules
from notifier.rendering.site import Site
from notifier.smtp.deadlines import Deadlines
from notifier.smtp.policy import ConnectPolicy, default_local_hostname

if TYPE_CHECKING:
    from pathlib import Path

    from notifier.config import Settings


def topology(settings: Settings) -> Topology:
    """Return the broker objects (docs/contract.md)."""
    broker = settings.rabbitmq
    return Topology(
        exchange=broker.exchange,
        queue=broker.queue,
        binding_keys=tuple(broker.binding_keys),
        dead_letter_exchange=broker.dead_letter_exchange,
        dead_letter_queue=broker.dead_letter_queue,
        declare=broker.declare,
    )


def recipient_rules(settings: Settings) -> Rules:
    """Return who may get what (docs/contract.md)."""
    section = settings.recipients
    return Rules(
        role_defaults=section.role_defaults,
        role_event_types=section.role_event_types,
        allowed_domains=frozenset(section.allowed_domains),
        max_per_event=section.max_per_event,
    )


def planning_rules(settings: Settings) -> PlanningRules:
    """Return what planning the rows of an event needs."""
    default = default_server(settings)
    return PlanningRules(
        recipients=recipient_rules(settings),
        expire_after=settings.delivery.expire_after,
        default_sender=default.from_email if default else None,
        message_id_domain=settings.smtp.message_id_domain,
        fallback_domain=fallback_domain(settings),
    )


def fallback_domain(settings: Settings) -> str:
    """Return the domain of a Message-ID where no sender address is known: the host of the product's pages."""
    host = urlsplit(settings.app.base_url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host if "." in host else "localhost.localdomain"
    return "localhost.localdomain"


def retry_policy(settings: Settings) -> RetryPolicy:
    """Return the retry keys of [delivery]."""
    section = settings.delivery
    return RetryPolicy(
        max_attempts=section.max_attempts,
        backoff_initial=section.backoff_initial,
        backoff_factor=section.backoff_factor,
        backoff_max=section.backoff_max,
        jitter=section.jitter,
        greylist_delay=section.greylist_delay,
        ambiguous_delay=section.ambiguous_delay,
        max_ambiguous=section.max_ambiguous,
        on_ambiguous=section.on_ambiguous,
    )


def claim_rules(settings: Settings, *, worker: str) -> ClaimRules:
    """Return the keys of a claim; worker names this process in the log rows it holds."""
    section = settings.delivery
    return ClaimRules(
        worker=worker,
        lease=section.lease,
        connections=section.connections_per_customer,
        alone=section.on_ambiguous == "fail",
    )


def delivery_rules(settings: Settings) -> DeliveryRules:
    """Return the keys of the delivery loop."""
    section, limits = settings.delivery, deadlines(settings)
    return DeliveryRules(
        lease=section.lease,
        message=limits.message,
        setup=limits.setup,
        retry=retry_policy(settings),
        breaker=BreakerRules(
            initial=section.breaker_initial,
            maximum=section.breaker_max,
            config_initial=section.breaker_config_initial,
            config_maximum=section.breaker_config_max,
            jitter=section.jitter,
        ),
    )


def default_server(settings: Settings) -> SmtpServer | None:
    """Return the operator's own server, or what stands for it under another transport; None when there is none.

    Raises ConfigurationError for a ca_file that cannot be read.
    """
    smtp = settings.smtp
    if smtp.transport == "smtp" and not smtp.host:
        return None
    return SmtpServer(
        server_id=DEFAULT_SERVER_ID,
        version="",
        host=smtp.host or smtp.transport,
        port=smtp.port,
        use_tls=smtp.use_tls,
        use_ssl=smtp.use_ssl,
        username=smtp.username,
        password=smtp.password.get_secret_value() if smtp.password else None,
        from_email=smtp.from_email or f"notifier@{fallback_domain(settings)}",
        reply_to_email=smtp.reply_to_email,
        ca_certificate=_read_ca(smtp.ca_file) if smtp.ca_file else None,
        allow_plaintext_auth=smtp.allow_plaintext_auth,
        trusted=True,
    )


def _read_ca(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as exc:
        cause = exc.strerror if isinstance(exc, OSError) else "it is no PEM text"
        raise ConfigurationError([f"smtp.ca_file: {path} cannot be read ({cause})"]) from exc


def default_server_hash(settings: Settings) -> bytes:
    """Return a hash of the [smtp] section, so that a changed one closes its breaker; no secret can be read from it."""
    section = settings.smtp.model_dump(mode="json", exclude={"password"})
    password = settings.smtp.password.get_secret_value() if settings.smtp.password else ""
    # scrypt, because a plain hash of a short password could be guessed by whoever reads the table.
    slow = hashlib.scrypt(password.encode(), salt=b"notifier smtp section", n=2**14, r=8, p=1, dklen=32)
    return hashlib.sha256(json.dumps(section, sort_keys=True).encode() + slow).digest()


def site(settings: Settings) -> Site:
    """Return what mails say of this installation."""
    return Site(
        product=settings.app.product,
        environment=settings.app.environment,
        base_url=settings.app.base_url,
        links=settings.links.model_dump(),
    )


def secret_box(settings: Settings) -> SecretBox:
    """Return what encrypts and decrypts SMTP passwords."""
    return SecretBox([key.get_secret_value() for key in settings.security.encryption_keys])


def signing_keys(settings: Settings) -> tuple[str, ...]:
    """Return the keys of unsubscribe links, newest first."""
    return tuple(key.get_secret_value() for key in settings.security.signing_keys)


def deadlines(settings: Settings) -> Deadlines:
    """Return the limits of SMTP conversations: one mail takes at most 7/8 of its lease, connecting half of it."""
    lease = settings.delivery.lease
    return Deadlines(message=lease * 7 / 8, setup=min(Deadlines().setup, lease / 2))


def connect_policy(settings: Settings) -> ConnectPolicy:
    """Return where customers' servers may not lie."""
    return ConnectPolicy(
        denied_networks=tuple(settings.delivery.denied_networks), local_hostname=default_local_hostname()
    )
