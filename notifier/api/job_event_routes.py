"""`/job-events/`: what an event's mail looks like, and who gets it and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query, Response

from notifier import event_preview, explanation, inbox_events
from notifier.api.access import AuthenticatedRoute, Caller, CallerOf
from notifier.api.event_shapes import Explained, explained
from notifier.api.parts import Parts, PartsOf
from notifier.api.problems import Refusal
from notifier.api.shapes import CONFLICT, FORBIDDEN, NOT_FOUND, IdFilter, IdInPath
from notifier.domain.errors import NotFound, SmtpFault
from notifier.store import people

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from notifier.inbox_events import Wanted

router = APIRouter(prefix="/job-events", route_class=AuthenticatedRoute, tags=["Job events"])

# A mail is foreign content: no script, no form, no request to anywhere, whoever opens it in a browser.
_SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
_MAIL = {
    200: {
        "description": "The mail.",
        "content": {
            "text/html": {"schema": {"type": "string"}},
            "text/plain": {"schema": {"type": "string"}},
        },
    }
}


class _Mail(Response):
    media_type = None  # one of two; the endpoint says which


@router.get("/{id}/preview/", response_class=_Mail, responses=_MAIL | FORBIDDEN | NOT_FOUND | CONFLICT)
def preview_job_event(
    row_id: IdInPath,
    caller: CallerOf,
    parts: PartsOf,
    form: Annotated[Literal["html", "text"], Query(alias="format")] = "html",
    user: Annotated[IdFilter, Query(description="As this user gets it; admins only.")] = None,
) -> Response:
    """Show the mail of an event as the user gets it (an admin: as the first who would), and send nothing.

    The unsubscribe link in it looks as in the mail and does nothing.
    """
    with parts.begin(caller.scope) as connection:
        wanted = _event(connection, caller, parts, row_id)
        there = event_preview.situation(
            connection,
            wanted.event,
            rules=parts.rules,
            default=parts.default,
            customer_id=None,
            user_id=_user(connection, caller, wanted, user),
        )
    try:
        made = event_preview.preview(
            wanted.event,
            wanted.document,
            there,
            renderer=parts.renderer,
            composer=parts.composer,
            now=parts.now(),
        )
    except SmtpFault as fault:
        raise Refusal(409, f"the mail cannot be made: {fault}") from fault
    media_type = "text/html; charset=utf-8" if form == "html" else "text/plain; charset=utf-8"
    return Response(made.form(form), media_type=media_type, headers={"Content-Security-Policy": _SANDBOX})


@router.get("/{id}/explain/", responses=FORBIDDEN | NOT_FOUND)
def explain_job_event(
    row_id: IdInPath,
    caller: CallerOf,
    parts: PartsOf,
    user: Annotated[IdFilter, Query(description="Only this user; others than oneself: admins only.")] = None,
) -> Explained:
    """Say who would get a mail about the event now, and why; without the role admin, of oneself alone."""
    with parts.begin(caller.scope) as connection:
        wanted = _event(connection, caller, parts, row_id)
        found = explanation.explain(
            connection,
            explanation.Subject(
                customer_id=wanted.event.customer_id,
                event_type=wanted.event.type,
                job_type=wanted.event.job_type,
                stored=wanted.stored,
            ),
            rules=parts.rules,
            default=parts.default,
            box=parts.box,
            user_id=_user(connection, caller, wanted, user),
        )
    return explained(found)


def _event(connection: Connection, caller: Caller, parts: Parts, row_id: int) -> Wanted:
    wanted = inbox_events.read(connection, row_id, customer_ids=caller.customer_ids)
    if wanted.event.type not in parts.rules.types_for(caller.role):
        raise Refusal(403, f"the role {caller.role} may not receive {wanted.event.type}")
    return wanted


def _user(connection: Connection, caller: Caller, wanted: Wanted, user: int | None) -> int | None:
    """Return whom it is about. Raises NotFound for a user of other customers, Refusal for another than oneself."""
    if not caller.is_admin:
        if user not in {None, caller.user_id}:
            raise Refusal(403, f"only admins may ask about others; your own id is {caller.user_id}")
        return caller.user_id
    if user is not None and not people.has_access(
        connection, customer_id=wanted.event.customer_id, user_id=user
    ):
        msg = f"no user {user} of customer {wanted.event.customer_id}"
        raise NotFound(msg)
    return user
