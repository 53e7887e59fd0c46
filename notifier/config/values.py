"""Field types of the configuration: how a plain TOML value becomes a checked, frozen one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from string import Formatter
from types import MappingProxyType
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr

from notifier.domain.addresses import parse_mailbox
from notifier.domain.errors import InvalidAddress
from notifier.domain.vocabulary import EventType, Role

Network = IPv4Network | IPv6Network

NAMED_NETWORKS = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "unspecified": ("0.0.0.0/8", "::/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
}
DENIED_BY_DEFAULT = ("link-local", "loopback", "multicast", "unspecified")

MIN_SIGNING_KEY = 32  # characters; shorter ones can be guessed
FERNET_KEY_BYTES = 32
MAX_BINDING_KEY = 255  # bytes, an AMQP short string


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _tuple(value: object) -> object:
    # TOML has lists only; a strict tuple field would refuse them.
    return tuple(value) if isinstance(value, list) else value


def networks(value: object) -> object:
    """Expand the names of `NAMED_NETWORKS` and parse CIDR texts; anything else is left to the type check."""
    if not isinstance(value, list | tuple):
        return value
    found: list[Network] = []
    for entry in value:
        if isinstance(entry, IPv4Network | IPv6Network):
            found.append(entry)
            continue
        for text in NAMED_NETWORKS.get(str(entry), (str(entry),)):
            try:
                found.append(ip_network(text))
            except ValueError as error:
                names = ", ".join(NAMED_NETWORKS)
                msg = f"{text!r} is not a network; write one as 10.0.0.0/8 or one of the names {names}"
                raise ValueError(msg) from error
    return tuple(found)


def _url(value: str, *, schemes: tuple[str, ...], example: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        # The library's own text would repeat a password that holds an unescaped slash.
        msg = f"not a URL; write it as {example}, with special characters of the password as %XX"
        raise ValueError(msg) from None
    if parts.scheme in schemes and not value[len(parts.scheme) :].startswith("://"):
        msg = f"the URL lacks the // after {parts.scheme}:; write it as {example}"
        raise ValueError(msg)
    if parts.scheme not in schemes:
        found = parts.scheme if "://" in value else "none"
        starts = " or ".join(f"{name}://" for name in schemes)
        msg = f"the URL must start with {starts}, the scheme found is {found}; write it as {example}"
        raise ValueError(msg)
    return value


def _amqp_url(value: SecretStr) -> SecretStr:
    text = _url(
        value.get_secret_value(), schemes=("amqp", "amqps"), example="amqp://USER:PASSWORD@HOST:5672/%2F"
    )
    if not urlsplit(text).hostname:
        msg = "the URL names no host; write it as amqp://USER:PASSWORD@HOST:5672/%2F"
        raise ValueError(msg)
    return value


def _database_url(value: SecretStr) -> SecretStr:
    """Name the driver: SQLAlchemy 2.1 gives a plain postgresql:// to psycopg 3, and knows no postgres://."""
    text = _url(
        value.get_secret_value(),
        schemes=("postgresql", "postgres", "postgresql+psycopg2"),
        example="postgresql://USER:PASSWORD@HOST:5432/DATABASE",
    )
    return SecretStr("postgresql+psycopg2://" + text.partition("://")[2])


def _base_url(value: str) -> str:
    parts = urlsplit(_url(value, schemes=("http", "https"), example="https://webnet.example.com"))
    if not parts.hostname:
        msg = "the URL names no host; write it as https://webnet.example.com"
        raise ValueError(msg)
    if parts.username or parts.password or parts.query or parts.fragment:
        msg = "the URL may have a path but no user, query or fragment; write it as https://webnet.example.com"
        raise ValueError(msg)
    return value.rstrip("/")


def link(*names: str) -> AfterValidator:
    """Make the check of one [links] pattern: http(s) only, and only the placeholders `names`."""

    def check(value: str) -> str:
        if not value:
            return value
        try:
            parsed = list(Formatter().parse(value))
        except ValueError as error:
            msg = f"not a pattern ({error}); a placeholder is written {{{names[0]}}}"
            raise ValueError(msg) from None
        allowed = ", ".join(f"{{{name}}}" for name in names)
        for _, name, spec, conversion in parsed:
            if name is not None and (name not in names or spec or conversion):
                msg = f"unknown placeholder {{{name}}}; it may use {allowed}"
                raise ValueError(msg)
        if not value.startswith(("{base_url}", "https://", "http://")):
            msg = "must start with {base_url}, https:// or http://"
            raise ValueError(msg)
        return value

    return AfterValidator(check)


def _mailbox(value: str) -> str:
    try:
        return parse_mailbox(value).address
    except InvalidAddress as error:
        msg = f"{error}; write one plain address, as webnet@example.com"
        raise ValueError(msg) from None


def _domain(value: str) -> str:
    """Check a domain as that of an address, and return it in lower-case A-labels, as those are."""
    try:
        return parse_mailbox(f"x@{value}").domain
    except InvalidAddress as error:
        msg = f"{error}; write a domain, as example.com"
        raise ValueError(msg) from None


def _encryption_key(value: SecretStr) -> SecretStr:
    try:
        raw = base64.urlsafe_b64decode(value.get_secret_value().encode("ascii", "replace"))
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != FERNET_KEY_BYTES:
        msg = "is no encryption key (44 characters of base64); make one with: notifier secrets generate-key"
        raise ValueError(msg)
    return value


def _signing_key(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < MIN_SIGNING_KEY:
        msg = f"is shorter than {MIN_SIGNING_KEY} characters; make one with: notifier secrets generate-key"
        raise ValueError(msg)
    return value


def _binding_key(value: str) -> str:
    if len(value.encode()) > MAX_BINDING_KEY:
        msg = f"a binding key has at most {MAX_BINDING_KEY} bytes"
        raise ValueError(msg)
    return value


def _frozen(value: Mapping[Role, frozenset[EventType]]) -> Mapping[Role, frozenset[EventType]]:
    return MappingProxyType(dict(value))


OptionalText = Annotated[str | None, BeforeValidator(_none_if_empty)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_none_if_empty)]
OptionalMailbox = Annotated[Annotated[str, AfterValidator(_mailbox)] | None, BeforeValidator(_none_if_empty)]
OptionalDomain = Annotated[Annotated[str, AfterValidator(_domain)] | None, BeforeValidator(_none_if_empty)]
PlainPath = Annotated[Path, Field(strict=False)]
OptionalPath = Annotated[PlainPath | None, BeforeValidator(_none_if_empty)]
Name = Annotated[str, Field(min_length=1, max_length=127)]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^\S+$")]
AmqpUrl = Annotated[SecretStr, AfterValidator(_amqp_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Seconds = Annotated[float, Field(gt=0, le=30 * 86400, allow_inf_nan=False)]
BindingKeys = Annotated[
    tuple[Annotated[str, AfterValidator(_binding_key)], ...], BeforeValidator(_tuple), Field(min_length=1)
]
Domains = Annotated[tuple[Annotated[str, AfterValidator(_domain)], ...], BeforeValidator(_tuple)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(networks)]
EncryptionKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_encryption_key)], ...], BeforeValidator(_tuple)
]
SigningKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_signing_key)], ...], BeforeValidator(_tuple)
]
EventTypesByRole = Annotated[
    Mapping[Role, Annotated[frozenset[EventType], Field(strict=False)]],
    AfterValidator(_frozen),
    PlainSerializer(lambda value: {role: sorted(types) for role, types in value.items()}),
]
