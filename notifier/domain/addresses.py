"""Mail addresses: exactly one plain mailbox, or a sentence that says why not (B28-B36)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import idna

from notifier.domain.errors import InvalidAddress

MAX_LOCAL_OCTETS = 64  # RFC 5321 section 4.5.3.1.1
MAX_ADDRESS_OCTETS = 254  # RFC 5321 section 4.5.3.1.3: a path of 256 with its angle brackets
MAX_DOMAIN_OCTETS = 253

_ASCII_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")  # RFC 5322 section 3.2.3
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mailbox:
    """One mailbox: the local part as written, the domain as lower-case A-labels."""

    local: str
    domain: str

    @property
    def address(self) -> str:
        """As it goes into RCPT TO and the To header."""
        return f"{self.local}@{self.domain}"

    @property
    def key(self) -> str:
        """`recipient_key`: users with the same key share one mail."""
        return self.address


@lru_cache(maxsize=4096)  # a user's address comes with every event
def parse_mailbox(text: str) -> Mailbox:
    """The one mailbox in `text`.

    Refused: display names, comments, quoted local parts, domain literals, lists, spaces and controls, a local
    part that begins with a hyphen (a sendmail command would take it for an option), a domain without a dot,
    an IP address as domain. Raises InvalidAddress with a sentence naming the fault.
    """
    if not text:
        raise InvalidAddress("the address is empty")
    if len(text) > MAX_ADDRESS_OCTETS:
        raise InvalidAddress(
            f"the address has {len(text)} characters; at most {MAX_ADDRESS_OCTETS} are allowed"
        )
    bad = next((char for char in text if unicodedata.category(char)[0] in "CZ"), None)
    if bad is not None:
        raise InvalidAddress(f"the address contains a space or control character (U+{ord(bad):04X})")
    if text.count("@") != 1:
        raise InvalidAddress(
            "the address must contain exactly one @; write one address such as anna@example.org"
        )
    local, domain = text.split("@")
    _check_local(local)
    mailbox = Mailbox(local=local, domain=ascii_domain(domain))
    octets = len(mailbox.address.encode())
    if octets > MAX_ADDRESS_OCTETS:
        raise InvalidAddress(f"the address has {octets} octets; at most {MAX_ADDRESS_OCTETS} are allowed")
    return mailbox


def ascii_domain(domain: str) -> str:
    """A mail domain as lower-case A-labels (RFC 5891), `xn--bcher-kva.example`. Raises InvalidAddress."""
    if not domain:
        raise InvalidAddress("the domain after the @ is missing")
    if domain.startswith("["):
        raise InvalidAddress("an IP address in brackets is not allowed as domain; write a host name")
    if len(domain) > MAX_DOMAIN_OCTETS:
        raise InvalidAddress(
            f"the domain has {len(domain)} characters; at most {MAX_DOMAIN_OCTETS} are allowed"
        )
    try:  # plain ASCII is taken as it is: the DNS knows names that IDNA 2008 does not, such as emoji A-labels
        labels = domain.lower() if domain.isascii() else idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as exc:
        raise InvalidAddress(f"the domain {domain!r} is not a valid host name") from exc
    if "." not in labels:
        raise InvalidAddress(f"the domain {domain!r} has no dot; write it in full, such as example.org")
    if not _DOMAIN.fullmatch(labels):
        raise InvalidAddress(f"the domain {domain!r} is not a valid mail domain")
    return labels


def hidden(address: str) -> str:
    """`a***@x.org`: enough to recognise an address in a log, not enough to use it. Never raises."""
    local, at, domain = address.rpartition("@")
    return f"{local[0]}***@{domain[:MAX_DOMAIN_OCTETS]}" if at and local else "***"


def _check_local(local: str) -> None:
    if not local:
        raise InvalidAddress("the part before the @ is missing")
    if len(local.encode()) > MAX_LOCAL_OCTETS:
        raise InvalidAddress(f"the part before the @ is longer than {MAX_LOCAL_OCTETS} octets")
    if local.startswith("-"):
        raise InvalidAddress("the part before the @ must not begin with a hyphen")
    for atom in local.split("."):
        if not atom:
            raise InvalidAddress("the part before the @ has a dot at its start or end, or two dots in a row")
        ascii_part = "".join(char for char in atom if char.isascii())
        if ascii_part and not _ASCII_ATOM.fullmatch(ascii_part):
            raise InvalidAddress(
                "the part before the @ has a character that is not allowed there (quotes, brackets, commas …)"
            )
