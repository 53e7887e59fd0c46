"""`/preferences/`: who wants which mails. Admins manage all of their customers, others their own alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Body, Depends

from notifier import preference_import
from notifier.api.access import AuthenticatedRoute, Caller, CallerOf
from notifier.api.parts import PartsOf
from notifier.api.preference_shapes import (
    Preference,
    PreferencePage,
    PreferencePatch,
    PreferenceWrite,
    Saved,
    read_line,
    shown,
)
from notifier.api.shapes import NO_PAGE, NOT_FOUND, WRITE, IdFilter, IdInPath, Paging
from notifier.domain.errors import NotFound
from notifier.domain.vocabulary import EventType
from notifier.store import preferences as store
from notifier.store.pages import Slice
from notifier.store.preferences import PreferenceFilter

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from notifier.store.preferences import StoredPreference

router = APIRouter(prefix="/preferences", route_class=AuthenticatedRoute, tags=["Notification preferences"])
log = structlog.get_logger(__name__)

MAX_LINES = 10_000  # of one bulk write: reading and answering them keeps everybody else waiting
_MOST_OWN = 100_000

_Lines = Annotated[
    list[dict[str, Any]],
    Body(
        max_length=MAX_LINES,
        description="Preferences as in a single write; line 1 is the first.",
        json_schema_extra={"items": {"$ref": "#/components/schemas/PreferenceWrite"}},
    ),
]


@router.get("/", responses=NO_PAGE)
def list_preferences(
    caller: CallerOf,
    parts: PartsOf,
    paging: Annotated[Paging, Depends()],
    customer: IdFilter = None,
    user: IdFilter = None,
    event_type: EventType | None = None,
    enabled: Literal["true", "false"] | None = None,
) -> PreferencePage:
    """List preferences by customer, user and event type; without the role admin, one's own."""
    if caller.only_user is not None and user not in {None, caller.only_user}:
        return PreferencePage(count=0, next=None, previous=None, results=[])
    wanted = PreferenceFilter(
        customer_ids=caller.among(customer),
        user_id=caller.only_user or user,
        event_type=event_type,
        enabled=None if enabled is None else enabled == "true",
    )
    with parts.begin(caller.scope) as connection:
        found = store.find(connection, wanted, part=paging.part)
    return PreferencePage(**paging.fields(found), results=[shown(one) for one in found.items])


@router.get("/my_preferences/")
def list_my_preferences(caller: CallerOf, parts: PartsOf) -> list[Preference]:
    """List one's own preferences, all of them."""
    wanted = PreferenceFilter(customer_ids=caller.customer_ids, user_id=caller.user_id)
    with parts.begin(caller.scope) as connection:
        found = store.find(connection, wanted, part=Slice(limit=_MOST_OWN))
    return [shown(one) for one in found.items]


@router.post("/", status_code=201, responses=WRITE)
def create_preference(caller: CallerOf, parts: PartsOf, wanted: PreferenceWrite) -> Preference:
    """Make a preference, within what the user's role may receive."""
    with parts.begin(caller.scope) as connection:
        saved = store.add(connection, wanted.request(), rules=parts.rules, writer=caller.writer)
    return shown(saved)


@router.post("/bulk/", responses=WRITE)
def write_preferences(caller: CallerOf, parts: PartsOf, lines: _Lines) -> Saved:
    """Write many preferences, all or none; one that exists is replaced. Errors name the line."""
    with parts.begin(caller.scope) as connection:
        saved = preference_import.save_all(
            connection,
            dict(enumerate(lines, start=1)),
            rules=parts.rules,
            writer=caller.writer,
            read=read_line,
        )
    log.info("preferences_imported", count=saved, by=caller.username)
    return Saved(saved=saved)


@router.get("/{id}/", responses=NOT_FOUND)
def retrieve_preference(row_id: IdInPath, caller: CallerOf, parts: PartsOf) -> Preference:
    """Show a preference."""
    with parts.begin(caller.scope) as connection:
        return shown(_stored(connection, caller, row_id))


@router.put("/{id}/", responses=NOT_FOUND | WRITE)
def replace_preference(
    row_id: IdInPath, caller: CallerOf, parts: PartsOf, wanted: PreferenceWrite
) -> Preference:
    """Replace a preference."""
    with parts.begin(caller.scope) as connection:
        _stored(connection, caller, row_id, to_change=True)
        saved = store.replace(connection, row_id, wanted.request(), rules=parts.rules, writer=caller.writer)
    return shown(saved)


@router.patch("/{id}/", responses=NOT_FOUND | WRITE)
def change_preference(
    row_id: IdInPath, caller: CallerOf, parts: PartsOf, wanted: PreferencePatch
) -> Preference:
    """Change some of a preference."""
    with parts.begin(caller.scope) as connection:
        stored = _stored(connection, caller, row_id, to_change=True)
        saved = store.replace(
            connection, row_id, wanted.over(stored), rules=parts.rules, writer=caller.writer
        )
    return shown(saved)


@router.delete("/{id}/", status_code=204, responses=NOT_FOUND)
def delete_preference(row_id: IdInPath, caller: CallerOf, parts: PartsOf) -> None:
    """Delete a preference: the default of the user's role applies again."""
    with parts.begin(caller.scope) as connection:
        _stored(connection, caller, row_id, to_change=True)
        store.delete(connection, row_id)


def _stored(
    connection: Connection, caller: Caller, row_id: int, *, to_change: bool = False
) -> StoredPreference:
    stored = store.get(connection, row_id, customer_ids=caller.customer_ids, to_change=to_change)
    if caller.only_user is not None and stored.user_id != caller.only_user:
        msg = f"no preference {row_id}"
        raise NotFound(msg)
    return stored
