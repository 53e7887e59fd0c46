"""An event of the inbox as the intake read it: for commands and the API, which look at it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier.domain.errors import NotFound
from notifier.domain.event_models import JobEvent
from notifier.domain.events import decode
from notifier.domain.vocabulary import MAX_ID
from notifier.store import job_events

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from notifier.store.job_events import StoredEvent


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One event. `document` is masked, as it is stored and mailed; `stored` is None for one from elsewhere."""

    event: JobEvent
    document: dict[str, object]
    stored: StoredEvent | None


def read(connection: Connection, job_event_id: int, *, customer_ids: tuple[int, ...] | None = None) -> Wanted:
    """Return an event of the inbox, of these customers if given.

    Raises NotFound, also for one of a type that makes no mails.
    """
    if job_event_id > MAX_ID:
        msg = f"there is no job event {job_event_id} in the inbox"
        raise NotFound(msg)
    stored = job_events.get(connection, job_event_id, customer_ids=customer_ids)
    body = json.dumps(stored.document).encode()
    # What is masked may be longer than what was published.
    event = decode(body, content_type=None, content_encoding=None, headers={}, max_bytes=len(body))
    if not isinstance(event, JobEvent):
        msg = f"job event {stored.id} has the type {stored.event_type!r}, which makes no mails (outcome ignored)"
        raise NotFound(msg)
    return Wanted(event=event, document=stored.document, stored=stored)
