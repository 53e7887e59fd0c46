"""Who a mail speaks for and to: the installation, the customer, the kind of reader."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from notifier.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.domain.vocabulary import Rule

LINK_FIELDS: Mapping[str, frozenset[str]] = {
    "job": frozenset({"base_url", "customer_id", "job_id"}),
    "compliance_result": frozenset(
        {"base_url", "customer_id", "compliance_result_id", "device_id", "policy_id", "job_id"}
    ),
    "device": frozenset({"base_url", "customer_id", "device_id"}),
    "policy": frozenset({"base_url", "customer_id", "policy_id"}),
    "preferences": frozenset({"base_url", "customer_id"}),
    "unsubscribe": frozenset({"base_url", "token"}),
}
_FIELD = re.compile(r"\{(\w*)\}")
_HTTP = re.compile(r"https?://[!-;=?-~]+")


class Customer(NamedTuple):
    """The customer an event belongs to; `locale` and `timezone` as in its row."""

    id: int
    name: str
    locale: str = "en"
    timezone: str = "UTC"


class Reader(NamedTuple):
    """What a body depends on beside the event: it is rendered once per distinct reader."""

    locale: str
    timezone: str
    rule: Rule


@dataclass(frozen=True, kw_only=True)
class Site:
    """The installation: product name, environment, and the `[links]` patterns (docs/configuration.md).

    Raises ConfigurationError for a pattern with a field it cannot have or without an http(s) host.
    """

    product: str
    environment: str
    base_url: str
    links: Mapping[str, str]

    def __post_init__(self) -> None:
        problems = [
            problem for name, pattern in self.links.items() for problem in self._faults(name, pattern)
        ]
        if problems:
            raise ConfigurationError(problems)

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The hosts a mail may link to (B40)."""
        filled = (self._fill(pattern, {}) for pattern in (self.base_url, *self.links.values()) if pattern)
        return frozenset(host for url in filled if (host := urlsplit(url).hostname))

    def link(self, name: str, **ids: int | str | None) -> str | None:
        """Return the address of a page, or None when it is not configured or an id it needs is missing."""
        pattern = self.links.get(name)
        if not pattern:
            return None
        known = {field: str(value) for field, value in ids.items() if value is not None}
        if any(field not in known and field != "base_url" for field in _FIELD.findall(pattern)):
            return None
        return self._fill(pattern, known)

    def is_safe(self, url: str) -> bool:
        """Tell whether an address from foreign data may become a link: http(s) to a host of ours, plainly (B40)."""
        if not _HTTP.fullmatch(url) or "\\" in url:
            return False
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        return parts.username is None and parts.hostname in self.hosts

    def _fill(self, pattern: str, known: Mapping[str, str]) -> str:
        values = {"base_url": self.base_url.rstrip("/"), **known}
        return _FIELD.sub(lambda match: values.get(match[1], "0"), pattern)

    def _faults(self, name: str, pattern: str) -> list[str]:
        allowed = LINK_FIELDS.get(name)
        if allowed is None:
            return [f"links.{name} is not a link; the links are {', '.join(LINK_FIELDS)}"]
        if not pattern:
            return []
        unknown = sorted(set(_FIELD.findall(pattern)) - allowed)
        found = [
            f"links.{name} has the field {{{field}}}; it may use {', '.join(sorted(allowed))}"
            for field in unknown
        ]
        if not _HTTP.fullmatch(self._fill(pattern, {})):
            found.append(f"links.{name} must be a plain http(s) address, not {pattern!r}")
        return found
