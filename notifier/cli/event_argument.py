"""The argument FILE|JOB_EVENT_ID: an event in a file, or one of the inbox."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import click

from notifier.cli import event_files
from notifier.domain.errors import InvalidInput, NotFound
from notifier.domain.event_models import JobEvent
from notifier.domain.events import decode
from notifier.domain.masking import mask_json
from notifier.domain.vocabulary import MAX_ID
from notifier.store import job_events

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from notifier.store.job_events import StoredEvent

argument = click.argument("source", metavar="FILE|JOB_EVENT_ID")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One event. `document` is masked, as it is stored and mailed; `stored` is None for a file."""

    event: JobEvent
    document: dict[str, object]
    stored: StoredEvent | None


def is_id(source: str) -> bool:
    """Whether the argument means an event of the inbox; a file of such a name is written ./123."""
    return source.isascii() and source.isdecimal()


def from_file(source: str, *, max_bytes: int) -> Wanted:
    """Return the one event of a file. Raises InvalidInput, NotFound."""
    found = event_files.events([source], max_bytes=max_bytes)
    if len(found) != 1:
        raise InvalidInput({source: [f"has {len(found)} events; give a file with one"]})
    event = found[0][1]
    return Wanted(event=event, document=cast("dict[str, object]", mask_json(event.document)), stored=None)


def from_inbox(connection: Connection, source: str) -> Wanted:
    """Return an event of the inbox. Raises NotFound, also for one of a type that makes no mails."""
    if int(source[:20]) > MAX_ID:
        msg = f"there is no job event {source} in the inbox"
        raise NotFound(msg)
    stored = job_events.get(connection, int(source))
    body = json.dumps(stored.document).encode()
    # What is masked may be longer than what was published.
    event = decode(body, content_type=None, content_encoding=None, headers={}, max_bytes=len(body))
    if not isinstance(event, JobEvent):
        msg = f"job event {stored.id} has the type {stored.event_type!r}, which makes no mails (outcome ignored)"
        raise NotFound(msg)
    return Wanted(event=event, document=stored.document, stored=stored)
