"""Rows of the event log, and what explains them, as they are answered (docs/api.md)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field

from notifier.api.shapes import Answer, PageOf
from notifier.domain.vocabulary import EventType, FailureReason, MailType, Role, Rule, Status

if TYPE_CHECKING:
    from notifier.explanation import Explanation, ServerState
    from notifier.store.event_log import LogRow

_RENAMED = {
    "customer": "customer_id",
    "user": "user_id",
    "job": "job_id",
    "compliance_result": "compliance_result_id",
    "job_event": "job_event_id",
}


class MailRow(Answer):
    """One mail."""

    id: int
    customer: int
    customer_name: str
    user: int | None
    recipient_email: str
    event_type: MailType
    subject: str
    status: Status
    error_message: str | None
    failure_reason: FailureReason | None
    job: int | None
    compliance_result: int | None
    job_event: int | None
    attempts: int
    ambiguous_count: int
    next_attempt_at: datetime
    expires_at: datetime
    smtp_code: int | None
    smtp_enhanced_code: str | None
    message_id: str
    generation: int
    resent_by: str | None
    trace_id: str | None
    created_at: datetime
    sent_at: datetime | None
    finished_at: datetime | None


class MailPage(PageOf[MailRow]):
    """One page of the event log."""


def shown(row: LogRow) -> MailRow:
    """Return a row as it is answered.

    What a server said to a test mail is not repeated: whoever may set any host could use it to look around a network.
    """
    values: dict[str, Any] = {name: getattr(row, _RENAMED.get(name, name)) for name in MailRow.model_fields}
    if row.event_type == "test" and row.error_message is not None:
        code = f", reply code {row.smtp_code}" if row.smtp_code else ""
        values["error_message"] = f"the test mail failed ({row.failure_reason}{code})"
    return MailRow(**values)


class Server(Answer):
    """The server the mails go through now. `problem`: why nothing can be sent at all."""

    name: str | None = Field(description="host:port of the customer's own; null for the installation's.")
    own: bool
    problem: str | None
    held_until: datetime | None = Field(description="It is not tried before, because of its last fault.")
    held_because: str | None


class Then(Answer):
    """What was decided when the event came."""

    rule: Rule
    selected: bool
    address: str | None


class LoggedMail(Answer):
    """The newest mail of the event to the user."""

    id: int
    status: Status
    failure_reason: FailureReason | None


class UserVerdict(Answer):
    """Would this user get the mail now, and why."""

    user: int
    username: str
    role: Role
    mail: bool
    address: str | None
    rule: Rule
    why: str
    then: Then | None
    logged: LoggedMail | None


class Explained(Answer):
    """Who would get a mail about the event now. `problem`: why the event as a whole would be refused."""

    customer: int
    customer_name: str
    event_type: EventType
    job_type: str
    server: Server
    problem: str | None
    users: list[UserVerdict]


def explained(found: Explanation) -> Explained:
    """Return an explanation as it is answered."""
    return Explained(
        customer=found.customer_id,
        customer_name=found.customer_name,
        event_type=found.event_type,
        job_type=found.job_type,
        server=_server(found.server),
        problem=found.problem,
        users=[
            UserVerdict.model_validate(
                {
                    "user": one.user_id,
                    "username": one.username,
                    "role": one.role,
                    "mail": one.mail,
                    "address": one.address,
                    "rule": one.rule,
                    "why": one.why,
                    "then": one.then,
                    "logged": asdict(one.log_row) if one.log_row else None,
                }
            )
            for one in found.users
        ],
    )


def _server(state: ServerState) -> Server:
    values = asdict(state)
    if not state.own:  # the installation's own server is nobody's business
        values |= {"name": None, "held_because": None}
    return Server(**values)
