"""What a customer's SMTP configuration may say, whichever way it comes in."""

from __future__ import annotations

import ipaddress
import re
import ssl
import unicodedata
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast

import idna

from notifier.domain.addresses import parse_mailbox
from notifier.domain.errors import InvalidAddress, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

MASK: Final = "********"  # what is shown in place of a stored password, and keeps it when written back
MAX_PORT = 65535
MAX_TEXT = 500
MAX_HOST = 255
MAX_PEM = 100_000
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_ASK_AGAIN = ("host", "port", "use_tls", "use_ssl", "ca_certificate", "allow_plaintext_auth")


class Unset(Enum):
    """The field was not mentioned: it keeps its value, or gets its default in a new configuration."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, kw_only=True, slots=True)
class SmtpSettings:
    """A customer's SMTP configuration, apart from its password."""

    host: str
    port: int = 587
    use_tls: bool = True
    use_ssl: bool = False
    username: str | None = None
    from_email: str
    reply_to_email: str | None = None
    enabled: bool = True
    ca_certificate: str | None = field(default=None, repr=False)
    allow_plaintext_auth: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SmtpChange:
    """What somebody wants to set.

    A password that is unset, empty or the mask keeps the stored one; None removes it.
    """

    host: str | Unset = UNSET
    port: int | Unset = UNSET
    use_tls: bool | Unset = UNSET
    use_ssl: bool | Unset = UNSET
    username: str | Unset | None = UNSET
    password: str | Unset | None = field(default=UNSET, repr=False)
    from_email: str | Unset = UNSET
    reply_to_email: str | Unset | None = UNSET
    enabled: bool | Unset = UNSET
    ca_certificate: str | Unset | None = field(default=UNSET, repr=False)
    allow_plaintext_auth: bool | Unset = UNSET

    @property
    def new_password(self) -> str | Unset | None:
        """The password to store, None to remove it, UNSET to keep what is stored."""
        return UNSET if self.password in {"", MASK} else self.password


class PasswordAsked(InvalidInput):
    """The stored password must be given again, because of what is `differing`."""

    def __init__(self, differing: Sequence[str]) -> None:
        cure = "give the password again, so that it cannot be led to another server, or remove the stored one"
        super().__init__({"password": [f"{', '.join(differing)} changed: {cure}"]})
        self.differing = tuple(differing)


def changed(stored: SmtpSettings | None, change: SmtpChange, *, has_password: bool) -> SmtpSettings:
    """Return the settings after the change; stored is None for a new configuration.

    Asking for one kind of TLS gives up the other; asking for both is an error. A stored password must be
    given again (or removed) when it would go to another server, or there less protected: else whoever may
    change the host could collect it. Raises InvalidInput with every fault and its cure.
    """
    problems: dict[str, list[str]] = {}
    values: dict[str, Any] = (
        {} if stored is None else {f.name: getattr(stored, f.name) for f in fields(stored)}
    )
    asked = {f.name: getattr(change, f.name) for f in fields(SmtpSettings)}
    asked = {name: value for name, value in asked.items() if value is not UNSET}
    values |= {name: _clean(name, value, problems) for name, value in asked.items()}
    values |= _tls(asked, problems)
    for name in ("host", "from_email"):
        if not values.get(name) and name not in problems:
            problems[name] = ["is missing; every SMTP configuration needs one"]
    _check_password(change, problems)
    if problems:
        raise InvalidInput(problems)
    settings = SmtpSettings(**values)
    if stored is not None and has_password and change.new_password is UNSET:
        _ask_for_password(stored, settings)
    return settings


def _tls(asked: dict[str, Any], problems: dict[str, list[str]]) -> dict[str, bool]:
    if asked.get("use_tls") and asked.get("use_ssl"):
        one, other = (
            "use_tls is STARTTLS (usually port 587)",
            "use_ssl is TLS from the start (usually port 465)",
        )
        problems["use_ssl"] = [f"choose one: {one}, {other}"]
    if asked.get("use_ssl"):
        return {"use_tls": False}
    return {"use_ssl": False} if asked.get("use_tls") else {}


def _ask_for_password(stored: SmtpSettings, settings: SmtpSettings) -> None:
    differing = [name for name in _ASK_AGAIN if _comparable(stored, name) != _comparable(settings, name)]
    if differing:
        raise PasswordAsked(differing)


def _comparable(settings: SmtpSettings, name: str) -> object:
    value = getattr(settings, name)
    return value.lower() if name == "host" else value


def _check_password(change: SmtpChange, problems: dict[str, list[str]]) -> None:
    password = change.new_password
    if not isinstance(password, str):
        return
    if len(password) > MAX_TEXT:
        problems["password"] = [f"is longer than {MAX_TEXT} characters"]
    elif any(unicodedata.category(char) == "Cc" for char in password):
        problems["password"] = ["contains a control character, such as a line break"]


def _clean(name: str, value: object, problems: dict[str, list[str]]) -> object:
    reader = _READERS.get(name)
    if reader is None:
        return value
    try:
        return reader(value)
    except (InvalidAddress, ValueError) as exc:
        problems[name] = [str(exc)]
        return None


def _read_host(value: object) -> str:
    text = cast("str", value).strip()
    if not text:
        raise ValueError("is missing; every SMTP configuration needs one")
    bare = text.removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise ValueError(f"{text!r} is not a host name") from None
    if len(text) > MAX_HOST or not _HOST.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is not a host name; write it alone, without scheme or port")
    return text


def _read_port(value: object) -> int:
    port = cast("int", value)
    if not 1 <= port <= MAX_PORT:
        raise ValueError(f"must be between 1 and {MAX_PORT}; 587 for STARTTLS, 465 for TLS from the start")
    return port


def _read_username(value: object) -> str | None:
    text = cast("str | None", value) or None
    if text is not None and len(text) > MAX_TEXT:
        raise ValueError(f"is longer than {MAX_TEXT} characters")
    if text is not None and any(unicodedata.category(char) == "Cc" for char in text):
        raise ValueError("contains a control character")
    return text


def _read_sender(value: object) -> str:
    return parse_mailbox(cast("str", value).strip()).address


def _read_reply_to(value: object) -> str | None:
    text = (cast("str | None", value) or "").strip()
    return parse_mailbox(text).address if text else None


def _read_ca(value: object) -> str | None:
    text = (cast("str | None", value) or "").strip()
    if not text:
        return None
    if len(text) > MAX_PEM:
        raise ValueError(f"is longer than {MAX_PEM} characters; give only the certificate authority's own")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError, TypeError) as exc:  # TypeError: not ASCII
        cure = "it must be one or more PEM certificates (-----BEGIN CERTIFICATE-----)"
        raise ValueError(f"cannot be read: {cure}") from exc
    return text


_READERS = {
    "host": _read_host,
    "port": _read_port,
    "username": _read_username,
    "from_email": _read_sender,
    "reply_to_email": _read_reply_to,
    "ca_certificate": _read_ca,
}
