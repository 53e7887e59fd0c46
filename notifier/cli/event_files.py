"""Job events in files: one JSON object, or one per line; `-` is the standard input."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from notifier.domain.errors import InvalidEvent, InvalidInput, NotFound
from notifier.domain.events import JobEvent, decode
from notifier.domain.vocabulary import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

STDIN = "-"


@dataclass(frozen=True, kw_only=True, slots=True)
class EventText:
    """The bytes of one event as they stand in a file; `where` is the file, with the line if it has several."""

    where: str
    body: bytes


def texts(names: Iterable[str]) -> Iterator[EventText]:
    """Yield the events of these files, in order. Raises NotFound for a file that cannot be read."""
    for name in names:
        content = _read(name)
        shown = "standard input" if name == STDIN else name
        lines = content.splitlines()
        if not _is_json_lines(lines):
            yield EventText(where=shown, body=content)
            continue
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield EventText(where=f"{shown}:{number}", body=line)


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    except OSError as exc:
        msg = f"{name}: cannot be read ({exc.strerror})"
        raise NotFound(msg) from exc


def _is_json_lines(lines: Sequence[bytes]) -> bool:
    """Whether there are several lines of which the first alone is a whole JSON object."""
    filled = [line for line in lines if line.strip()]
    if len(filled) <= 1:
        return False
    try:
        return isinstance(json.loads(filled[0]), dict)
    except (ValueError, RecursionError):
        return False


def events(names: Iterable[str], *, max_bytes: int) -> list[tuple[EventText, JobEvent]]:
    """Return every event of these files. Raises InvalidInput naming each one that a worker would refuse."""
    found: list[tuple[EventText, JobEvent]] = []
    problems: dict[str, list[str]] = {}
    for text in texts(names):
        try:
            found.append((text, _event(text.body, max_bytes=max_bytes)))
        except InvalidEvent as fault:
            problems[text.where] = [str(fault)]
    if problems:
        raise InvalidInput(problems)
    return found


def _event(body: bytes, *, max_bytes: int) -> JobEvent:
    event = decode(body, content_type=None, content_encoding=None, headers={}, max_bytes=max_bytes)
    if isinstance(event, JobEvent):
        return event
    choices = ", ".join(EVENT_TYPES)
    raise InvalidEvent("schema", f"type: {event.type!r} is no event type of ours; choose one of {choices}")
