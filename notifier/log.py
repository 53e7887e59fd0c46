"""The log: one pipeline for our events and those of the libraries, with secrets and addresses taken out.

Our modules log through `structlog.get_logger()`: constant snake_case event names, facts as keys. How much
of an address may show, and what counts as a secret, is decided here and nowhere else (reliability 9, "Logs").
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TextIO
from urllib.parse import quote

import structlog

from notifier.domain.addresses import hidden

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]

MASK = "***"
MIN_SECRET = 4  # characters; masking shorter ones would tear every line apart
MAX_DEPTH = 8
_OURS = ("timestamp", "level")  # written by this module, first in every line
_FEW = 32  # known texts up to which trying each beats looking up every position

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
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


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

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> EventDict:
        """Return a redacted copy of `event`, its fixed keys first."""
        del logger
        keep_addresses = (event.get("level") or method) == "debug"
        clean: dict[str, Any] = {key: event[key] for key in _OURS if key in event}
        if "event" in event:
            clean["event"] = self._entry("event", event["event"], keep_addresses=keep_addresses)
        for key, value in event.items():
            if key in clean:
                continue
            if value is not None and _is_secret_key(key):
                clean[key] = MASK
            elif type(value) is str:  # most of what is told, without a further call
                clean[key] = self.text(value, keep_addresses=keep_addresses or key in _SHOWN_IN_FULL)
            elif value is None or type(value) is int:
                clean[key] = value
            else:
                clean[key] = self._value(
                    value, keep_addresses=keep_addresses or key in _SHOWN_IN_FULL, depth=0
                )
        return clean

    def text(self, text: str, *, keep_addresses: bool = False) -> str:
        """Return `text` without secrets, and with addresses shortened unless they are to be kept."""
        if self._may_show_a_secret(text):
            # The longest first, so that no secret leaves the rest of a longer one behind.
            for secret in sorted(
                [secret for secret in list(self._secrets) if secret in text], key=len, reverse=True
            ):
                text = text.replace(secret, MASK)
        # Most texts have nothing of what the costlier searches look for.
        if "://" in text:
            text = _URL_PASSWORD.sub(rf"\1{MASK}@", text)
        if "=" in text or ":" in text:
            text = _NAMED_SECRET.sub(rf"\1{MASK}", text)
        if _BLANK.search(text):
            text = _BEARER.sub(rf"\1 {MASK}", text)
        if self._may_show_a_secret(text):
            text = _BASE64.sub(self._base64, text)
        return text if keep_addresses or "@" not in text else _ADDRESS.sub(_hidden, text)

    def _may_show_a_secret(self, text: str) -> bool:
        """Tell whether the costlier search for known secrets is worth it; a worker may know thousands."""
        if len(self._signs) <= _FEW:
            return any(sign in text for sign in self._signs)
        beginnings = self._beginnings
        return any(text[at : at + MIN_SECRET] in beginnings for at in range(len(text) - MIN_SECRET + 1))

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


def _printable(_logger: object, _method: str, event: MutableMapping[str, Any]) -> EventDict:
    """Escape what could steer a terminal; JSON escapes by itself."""
    return {
        key: _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", value)
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


class _LibraryHandler(logging.StreamHandler[TextIO]):
    """The handler for the standard library's logging; a class of ours, so that `configure` finds it."""


def configure(
    level: Level,
    format: Format,  # noqa: A002 - named as the key of the configuration
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> Redactor:
    """Send all logging to `stream` (default stderr): JSON lines, or for people when `format` says so.

    Libraries (pika, SQLAlchemy, warnings) go the same way, from level warning on. Returns the redactor, which
    can learn secrets that are known only later.
    """
    stream = sys.stderr if stream is None else stream
    redactor = Redactor(secrets)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    output: list[Processor] = [redactor, *_renderers(format, stream)]
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *output],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = _LibraryHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *output],
        )
    )
    root = logging.getLogger()
    for old in [entry for entry in root.handlers if isinstance(entry, _LibraryHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, number))
    # pika tells every failed connect with a long traceback; the consumer says the same in one line.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)
    return redactor


_encode = json.JSONEncoder(ensure_ascii=False).encode  # made once; json.dumps makes one per line


def _json(event: EventDict, **_: object) -> str:
    """Return one line; after the redactor everything in it is plain JSON."""
    return _encode(event)


def _renderers(format: Format, stream: TextIO) -> list[Processor]:  # noqa: A002 - named as the key of the configuration
    terminal = stream.isatty()
    if format == "json" or (format == "auto" and not terminal):
        return [structlog.processors.JSONRenderer(serializer=_json)]
    return [_printable, structlog.dev.ConsoleRenderer(colors=terminal)]
