"""The log: one pipeline for our events and those of the libraries, with secrets and addresses taken out.

Our modules log through `structlog.get_logger()`: constant snake_case event names, facts as keys. What may show of them
`domain.redaction` decides.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TextIO

import structlog

from notifier.domain.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping

    from structlog.typing import EventDict, Processor

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _stamped(logger: object, method: str, event: MutableMapping[str, Any]) -> EventDict:
    """Add level and time, in UTC."""
    event = structlog.stdlib.add_log_level(logger, method, event)
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    event["timestamp"] = f"{_second(seconds)}.{microseconds:06d}Z"
    return event


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_stack = structlog.processors.StackInfoRenderer(additional_ignores=[__name__])
_exception = structlog.processors.format_exc_info


def _explained(logger: object, method: str, event: MutableMapping[str, Any]) -> EventDict:
    """Put a stack or a traceback into words, where one was asked for."""
    if "stack_info" in event:
        event = _stack(logger, method, event)
    return _exception(logger, method, event) if "exc_info" in event else event


def _printable(_logger: object, _method: str, event: MutableMapping[str, Any]) -> EventDict:
    """Escape what could steer a terminal; JSON escapes by itself."""
    return {
        key: _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", value)
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


_kept = threading.local()


class _Lines(structlog.WriteLogger):
    """Writes lines. Inside `together` a thread's own leave as one write, but warnings at once, with those before.

    Lines that cannot be written, on a full disk or into a broken pipe, are lost: whoever logs has a mail or a message
    in hand, whose fate matters more and is in the database.
    """

    def put(self, text: str) -> None:
        """Write this now, if that is possible."""
        with suppress(OSError):
            super().msg(text)

    def msg(self, message: str) -> None:
        """Write a line, now or together with others."""
        lines: list[str] | None = getattr(_kept, "lines", None)
        if lines is None:
            self.put(message)
        else:
            _kept.logger = self
            lines.append(message)

    def at_once(self, message: str) -> None:
        """Write a line now."""
        self.msg(message)
        write_kept()

    log = debug = info = msg
    warn = warning = fatal = failure = err = error = critical = exception = at_once


@contextmanager
def together() -> Iterator[None]:
    """Have the lines that this thread writes meanwhile leave as one write, at the end: each write costs a wait."""
    if getattr(_kept, "lines", None) is not None:  # within another one, which writes them
        yield
        return
    _kept.lines = []
    try:
        yield
    finally:
        write_kept()
        _kept.lines = None


def write_kept() -> None:
    """Write what `together` has kept so far; whoever is about to wait for long calls it."""
    lines: list[str] | None = getattr(_kept, "lines", None)
    if lines:
        _kept.lines = []
        _kept.logger.put("\n".join(lines))


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
        _stamped,
        _explained,
    ]
    output: list[Processor] = [redactor, *_renderers(format, stream)]
    line = _Lines(stream)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *output],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: line,
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


# Made once; json.dumps makes one per line. The redactor's copy has an end, so nobody need look for a cycle.
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode


def _json(event: EventDict, **_: object) -> str:
    """Return one line; after the redactor everything in it is plain JSON."""
    return _encode(event)


def _renderers(format: Format, stream: TextIO) -> list[Processor]:  # noqa: A002 - named as the key of the configuration
    terminal = stream.isatty()
    if format == "json" or (format == "auto" and not terminal):
        return [structlog.processors.JSONRenderer(serializer=_json)]
    return [_printable, structlog.dev.ConsoleRenderer(colors=terminal)]
