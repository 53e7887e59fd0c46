"""Takes secrets and addresses out of what is logged.

How much of an address may show, and what counts as a secret, is decided here and nowhere else
(docs/security.md, Secrets).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from notifier.domain.addresses import hidden

MASK = "***"
MIN_SECRET = 4  # characters; masking shorter ones would tear every line apart
MAX_DEPTH = 8
_OURS = ("timestamp", "level")  # written by the log itself, first in every line
_FEW = 32  # known texts up to which trying each beats looking up every position
_SHORT, _MANY = 80, 1024  # characters of a text worth remembering, and how many such texts are

_SECRET_KEY = re.compile(
    r"pass(?!ive|ed|es\b)|pwd|secret|token|authorization|credential|(^|_)keys?$|api_?key", re.IGNORECASE
)
_HARMLESS_KEYS = frozenset({"routing_key", "binding_key", "binding_keys", "recipient_key"})
_SHOWN_IN_FULL = frozenset({"message_id"})  # has the form of an address, but names a mail
_URL_PASSWORD = re.compile(r"(\w://[^\s:/@]*:)[^\s\"'<>]*@")
_NAMED_SECRET = re.compile(
    r"(?i)\b((?:\w*password|passwd|pwd|passphrase|secret|token|authorization|api_?key)[\"']?\s*[=:]\s*[\"']?)"
    r"(?:(?:bearer|basic)\s+)?[^\s\"',;&]+"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{6,}={0,2}")
_LOCAL = r"[^\s@<>\"'(),;:\[\]/*]"
_ADDRESS = re.compile(rf"(?<!{_LOCAL})(?<!//){_LOCAL}+@[^\s@<>\"'(),;:\[\]/*]+\.[^\s@<>\"'(),;:\[\]/*.]+")
_BLANK = re.compile(r"\s")


@lru_cache(maxsize=1024)
def _is_secret_key(key: str) -> bool:
    return key not in _HARMLESS_KEYS and _SECRET_KEY.search(key) is not None


def _hidden(address: re.Match[str]) -> str:
    return hidden(address.group())


def _within_base64(secret: str) -> set[str]:
    """Return what base64 of any text with this secret inside contains, whatever stands before it (RFC 4648)."""
    raw = secret.encode()
    found = set()
    for before in range(3):  # octets before it, modulo the three that make four letters
        letters = base64.b64encode(b"\0" * before + raw).decode()
        whole = letters[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        found |= {whole, whole.replace("+", "-").replace("/", "_")}
    return found


class Redactor:
    """The structlog processor that takes secrets and addresses out of every value, nested ones included.

    Masked are: values of keys named like a secret; the known secrets anywhere, also URL-quoted or in base64
    (AUTH PLAIN sends base64 of NUL user NUL password); URL passwords; `password=…` and bearer tokens.
    Addresses are shortened by `hidden` except in debug events.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Only ever added to, each in one step: other threads read meanwhile.
        self._secrets: set[str] = set()
        self._signs: list[str] = []
        self._beginnings: set[str] = set()
        self._seen: dict[str, str] = {}  # texts that showed no secret, and how they are told
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        """Mask `secret` from now on, too: for passwords decrypted later. Callable from any thread."""
        if len(secret) < MIN_SECRET or secret in self._secrets:
            return
        forms = {secret, quote(secret, safe="")}
        signs = forms | _within_base64(secret)
        self._secrets.update(forms)
        self._beginnings.update([sign[:MIN_SECRET] for sign in signs])
        self._signs.extend(signs)
        # A new one and not emptied: a thread that is just searching by the old signs puts its finding into the old one.
        self._seen = {}

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        """Return a redacted copy of `event`, its fixed keys first."""
        del logger
        keep_addresses = (event.get("level") or method) == "debug"
        clean: dict[str, Any] = {key: event[key] for key in _OURS if key in event}
        if "event" in event:
            name = event["event"]
            known = self._seen.get(name) if type(name) is str and not keep_addresses else None
            clean["event"] = (
                self._value(name, keep_addresses=keep_addresses, depth=0) if known is None else known
            )
        for key, value in event.items():
            if key in clean:
                continue
            if value is None:
                clean[key] = None
            elif _is_secret_key(key):
                clean[key] = MASK
            elif type(value) is int:
                clean[key] = value
            elif type(value) is str:  # most of what is told, without a further call
                in_full = keep_addresses or key in _SHOWN_IN_FULL
                known = None if in_full else self._seen.get(value)
                clean[key] = self.text(value, keep_addresses=in_full) if known is None else known
            else:
                clean[key] = self._value(
                    value, keep_addresses=keep_addresses or key in _SHOWN_IN_FULL, depth=0
                )
        return clean

    def text(self, text: str, *, keep_addresses: bool = False) -> str:
        """Return `text` without secrets, and with addresses shortened unless they are to be kept."""
        seen = self._seen  # before the search: see `learn`
        masked = self._masked(text)
        if keep_addresses:
            return masked
        told = _ADDRESS.sub(_hidden, masked) if "@" in masked else masked
        if len(text) <= _SHORT and masked == text:
            if len(seen) >= _MANY:
                seen.clear()
            seen[text] = told
        return told

    def _masked(self, text: str) -> str:
        suspicious = self._may_show_a_secret(text)
        if suspicious:
            # The longest first, so that no secret leaves the rest of a longer one behind.
            for secret in sorted(
                [secret for secret in list(self._secrets) if secret in text], key=len, reverse=True
            ):
                text = text.replace(secret, MASK)
        # Most texts have nothing of what the costlier searches look for.
        before = text
        if "://" in text:
            text = _URL_PASSWORD.sub(rf"\1{MASK}@", text)
        if "=" in text or ":" in text:
            text = _NAMED_SECRET.sub(rf"\1{MASK}", text)
        if _BLANK.search(text):
            text = _BEARER.sub(rf"\1 {MASK}", text)
        if (suspicious or text != before) and self._may_show_a_secret(text):
            text = _BASE64.sub(self._base64, text)
        return text

    def _may_show_a_secret(self, text: str) -> bool:
        """Tell whether the costlier search for known secrets is worth it; a worker may know thousands."""
        if len(self._signs) <= _FEW:
            for sign in self._signs:  # noqa: SIM110 - any() with a generator takes three times as long
                if sign in text:
                    return True
            return False
        return not self._beginnings.isdisjoint(
            [text[at : at + MIN_SECRET] for at in range(len(text) - MIN_SECRET + 1)]
        )

    def _entry(self, key: str, value: object, *, keep_addresses: bool, depth: int = 0) -> object:
        if value is not None and _is_secret_key(key):
            return MASK
        return self._value(value, keep_addresses=keep_addresses or key in _SHOWN_IN_FULL, depth=depth)

    def _value(self, value: object, *, keep_addresses: bool, depth: int) -> object:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str):
            return self.text(value, keep_addresses=keep_addresses)
        if depth < MAX_DEPTH and isinstance(value, Mapping):
            return {
                str(key): self._entry(str(key), entry, keep_addresses=keep_addresses, depth=depth + 1)
                for key, entry in value.items()
            }
        if depth < MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
            return [self._value(entry, keep_addresses=keep_addresses, depth=depth + 1) for entry in value]
        plain = f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
        return self.text(plain, keep_addresses=keep_addresses)

    def _base64(self, match: re.Match[str]) -> str:
        text = match.group()
        padded = text.rstrip("=").replace("-", "+").replace("_", "/")
        padded += "=" * (-len(padded) % 4)
        try:
            raw = base64.b64decode(padded)
        except binascii.Error:
            return text
        return MASK if any(secret.encode() in raw for secret in list(self._secrets)) else text
