"""The log: one pipeline for our events and those of the libraries, with secrets and addresses taken out.

Our modules log through `structlog.get_logger()`: constant snake_case event names, facts as keys. How much
of an address may show, and what counts as a secret, is decided here and nowhere else (reliability 9, "Logs").
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
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
_FIRST = ("timestamp", "level", "event")

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
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Redactor:
    """The structlog processor that takes secrets and addresses out of every value, nested ones included.

    Masked are: values of keys named like a secret; the known secrets anywhere, also URL-quoted or in base64
    (AUTH PLAIN sends base64 of NUL user NUL password); URL passwords; `password=…` and bearer tokens.
    Addresses are shortened by `hidden` except in debug events.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: tuple[str, ...] = ()
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        """Mask `secret` from now on, too: for passwords decrypted later. Callable from any thread."""
        if len(secret) >= MIN_SECRET:
            forms = {secret, quote(secret, safe=""), *self._secrets}
            # The longest first, so that no secret leaves the rest of a longer one behind.
            self._secrets = tuple(sorted(forms, key=len, reverse=True))

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> EventDict:
        """Return a redacted copy of `event`, its fixed keys first."""
        del logger
        keep_addresses = (event.get("level") or method) == "debug"
        clean = {key: self._entry(key, value, keep_addresses=keep_addresses) for key, value in event.items()}
        ordered: dict[str, Any] = {key: clean.pop(key) for key in _FIRST if key in clean}
        return ordered | clean

    def text(self, text: str, *, keep_addresses: bool = False) -> str:
        """Return `text` without secrets, and with addresses shortened unless they are to be kept."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        text = _URL_PASSWORD.sub(rf"\1{MASK}@", text)
        text = _NAMED_SECRET.sub(rf"\1{MASK}", text)
        text = _BEARER.sub(rf"\1 {MASK}", text)
        if self._secrets:
            text = _BASE64.sub(self._base64, text)
        return text if keep_addresses else _ADDRESS.sub(lambda match: hidden(match.group()), text)

    def _entry(self, key: str, value: object, *, keep_addresses: bool, depth: int = 0) -> object:
        if value is not None and key not in _HARMLESS_KEYS and _SECRET_KEY.search(key):
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
        return MASK if any(secret.encode() in raw for secret in self._secrets) else text


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


def _renderers(format: Format, stream: TextIO) -> list[Processor]:  # noqa: A002 - named as the key of the configuration
    terminal = stream.isatty()
    if format == "json" or (format == "auto" and not terminal):
        return [structlog.processors.JSONRenderer(ensure_ascii=False)]
    return [_printable, structlog.dev.ConsoleRenderer(colors=terminal)]
