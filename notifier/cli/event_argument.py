"""The argument FILE|JOB_EVENT_ID: an event in a file, or one of the inbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from notifier import inbox_events
from notifier.cli import event_files
from notifier.domain.errors import InvalidInput, NotFound
from notifier.domain.masking import mask_json
from notifier.inbox_events import Wanted

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

argument = click.argument("source", metavar="FILE|JOB_EVENT_ID")


def is_id(source: str) -> bool:
    """Whether the argument means an event of the inbox; a file of such a name is written ./123."""
    return source.isascii() and source.isdecimal()


def from_file(source: str, *, max_bytes: int) -> Wanted:
    """Return the one event of a file. Raises InvalidInput, NotFound."""
    try:
        found = event_files.events([source], max_bytes=max_bytes)
    except NotFound as exc:
        msg = f"{exc}; name a file with one event, or an event of the inbox by its number (job_events.id)"
        raise NotFound(msg) from exc
    if len(found) != 1:
        raise InvalidInput({source: [f"has {len(found)} events; give a file with one"]})
    event = found[0][1]
    return Wanted(event=event, document=cast("dict[str, object]", mask_json(event.document)), stored=None)


def from_inbox(connection: Connection, source: str) -> Wanted:
    """Return an event of the inbox. Raises NotFound, also for one of a type that makes no mails."""
    return inbox_events.read(connection, int(source[:20]))
