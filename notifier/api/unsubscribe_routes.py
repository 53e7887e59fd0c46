"""`/u/{token}`: one-click unsubscribe (RFC 8058). POST acts without login or redirect; GET only offers a button."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from notifier.api.access import refuse_failing
from notifier.api.html_pages import page
from notifier.api.parts import Parts, PartsOf
from notifier.api.problems import too_many
from notifier.api.rate_limits import address_key
from notifier.api.shapes import COMMON, TOO_LARGE
from notifier.domain import unsubscribe
from notifier.store import unsubscribing
from notifier.store.scope import Scope

if TYPE_CHECKING:
    from notifier.domain.unsubscribe import Claim
    from notifier.domain.vocabulary import EventType

Responses = dict[int | str, dict[str, Any]]

_KINDS: dict[EventType, str] = {
    "job_success": "successful jobs",
    "job_failed": "failed jobs",
    "job_partial": "partly successful jobs",
    "compliance_violation": "compliance violations",
    "scheduled_backup_complete": "completed scheduled backups",
}
_UNKNOWN: Responses = {
    404: {"description": "No such link.", "content": {"text/html": {"schema": {"type": "string"}}}}
}
_RESPONSES: Responses = {429: COMMON[429], 503: COMMON[503], **_UNKNOWN}

router = APIRouter(tags=["Unsubscribe"], default_response_class=HTMLResponse)
log = structlog.get_logger(__name__)


@router.get("/u/{token}", responses=_RESPONSES)
def show_unsubscribe(token: str, request: Request, parts: PartsOf) -> HTMLResponse:
    """Show a page with a button. Changes nothing: programs that look into mails open every link."""
    claim = _claim(token, request, parts)
    if claim is None:
        return _unknown()
    with parts.begin(_scope(claim)) as connection:
        customer = unsubscribing.customer_name(connection, claim)
    button = '<form method="post"><button type="submit">Stop these mails</button></form>'
    return page("Unsubscribe", f"<p>{_about(claim, customer, parts)}</p>{button}")


@router.post("/u/{token}", responses=_RESPONSES | TOO_LARGE)
def unsubscribe_now(token: str, request: Request, parts: PartsOf) -> HTMLResponse:
    """Switch the event type off for the address the mail went to. May be repeated; the body is not read."""
    claim = _claim(token, request, parts)
    if claim is None:
        return _unknown()
    with parts.begin(_scope(claim)) as connection:
        customer = unsubscribing.customer_name(connection, claim)
        done = unsubscribing.unsubscribe(connection, claim)
    log.info(
        "unsubscribed",
        customer_id=claim.customer_id,
        event_type=claim.event_type,
        user_ids=done.user_ids,
        cancelled=done.cancelled,
    )
    more = "Other mails are not affected; your preferences in the product switch these on again."
    about = _about(claim, customer, parts)
    return page("Unsubscribed", f"<p>Done. {about} will not reach you any more.</p><p>{more}</p>")


def _claim(token: str, request: Request, parts: Parts) -> Claim | None:
    address = address_key(request.client.host if request.client else "")
    claim = unsubscribe.verify(parts.signing_keys, token)
    if claim is None:
        refuse_failing(parts, address)
        parts.failures.take(address)
        return None
    wait = parts.per_token.spend(token)
    if wait:
        raise too_many(wait, "this link is used too often; what it does is done")
    return claim


def _scope(claim: Claim) -> Scope:
    return Scope(customer_ids=(claim.customer_id,))


def _about(claim: Claim, customer: str | None, parts: Parts) -> str:
    whose = "" if customer is None else f" of {customer}"
    return escape(f"Mails of {parts.settings.app.product} about {_KINDS[claim.event_type]}{whose}")


def _unknown() -> HTMLResponse:
    text = "This link is incomplete or too old. Copy it from the mail as a whole, or change your preferences."
    return page("Unknown link", f"<p>{text}</p>", status=404)
