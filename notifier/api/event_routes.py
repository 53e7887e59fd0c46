"""`/events/`: the event log, one row per mail."""

from __future__ import annotations

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends

from notifier.api.access import AdminOf, AuthenticatedRoute, CallerOf
from notifier.api.event_shapes import MailPage, MailRow, shown
from notifier.api.parts import PartsOf
from notifier.api.problems import Refusal
from notifier.api.shapes import CONFLICT, FORBIDDEN, NO_PAGE, NOT_FOUND, IdFilter, IdInPath, Paging
from notifier.domain.vocabulary import MailType, Status
from notifier.message_ids import renewed
from notifier.store import event_log, log_changes
from notifier.store.log_filters import LogFilter, Ordering

router = APIRouter(prefix="/events", route_class=AuthenticatedRoute, tags=["Notification events"])
log = structlog.get_logger(__name__)


@router.get("/", responses=NO_PAGE)
def list_events(
    caller: CallerOf,
    parts: PartsOf,
    paging: Annotated[Paging, Depends()],
    customer: IdFilter = None,
    event_type: MailType | None = None,
    status: Status | None = None,
    job: IdFilter = None,
    compliance_result: IdFilter = None,
    ordering: Ordering = "-created_at",
) -> MailPage:
    """List mails with their state."""
    wanted = LogFilter(
        customer_ids=caller.among(customer),
        event_type=event_type,
        status=status,
        job_id=job,
        compliance_result_id=compliance_result,
    )
    with parts.begin(caller.scope) as connection:
        found = event_log.find(connection, wanted, ordering=ordering, part=paging.part)
    return MailPage(**paging.fields(found), results=[shown(one) for one in found.items])


@router.get("/{id}/", responses=NOT_FOUND)
def retrieve_event(row_id: IdInPath, caller: CallerOf, parts: PartsOf) -> MailRow:
    """Show a mail."""
    with parts.begin(caller.scope) as connection:
        return shown(event_log.get(connection, row_id, customer_ids=caller.customer_ids))


@router.post("/{id}/resend/", status_code=201, responses=FORBIDDEN | NOT_FOUND | CONFLICT)
def resend_event(row_id: IdInPath, caller: AdminOf, parts: PartsOf) -> MailRow:
    """Send a mail again that ended sent or failed: a new row, one generation later, which says by whom."""
    with parts.begin(caller.scope) as connection:
        event_log.get(connection, row_id, customer_ids=caller.customer_ids)
        result = log_changes.resend(
            connection,
            [row_id],
            resent_by=caller.username,
            expire_after=parts.settings.delivery.expire_after,
            message_id_for=renewed,
        )
        if row_id in result.refused:
            raise Refusal(409, f"mail {row_id} is not sent again: {result.refused[row_id]}")
        new = event_log.get(connection, result.created[row_id], customer_ids=caller.customer_ids)
    log.info(
        "mail_resent", mail_id=row_id, new_mail_id=new.id, customer_id=new.customer_id, by=caller.username
    )
    return shown(new)
