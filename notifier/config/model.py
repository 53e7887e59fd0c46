"""The settings, section by section as in docs/configuration.md: the only list of keys, defaults and meanings.

Every description is a sentence for operators; the reference page and the comments of config.toml follow them.
Times are seconds unless the description says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pydantic import Field

from notifier.config.mailing import App, Delivery, Links, Recipients, Retention, Security, Templates
from notifier.config.section import Section
from notifier.config.services import Api, Database, Health, Logging, RabbitMQ, Smtp

if TYPE_CHECKING:
    from collections.abc import Iterator


class Settings(Section):
    """The whole configuration, one frozen value (docs/configuration.md)."""

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
