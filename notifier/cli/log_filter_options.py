"""The filters of the event log as options, for the list and for what is done to many mails at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from notifier.cli.arguments import ID, WHEN
from notifier.domain.vocabulary import FAILURE_REASONS, MAIL_TYPES, STATUSES
from notifier.store.log_filters import LogFilter

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from notifier.domain.vocabulary import FailureReason, MailType, Status


class Chosen(TypedDict):
    """What `filter_options` passes to a command."""

    customers: tuple[int, ...]
    user_id: int | None
    event_type: MailType | None
    status: Status | None
    failure_reason: FailureReason | None
    job_id: int | None
    compliance_result_id: int | None
    job_event_id: int | None
    recipient: str | None
    since: datetime | None
    until: datetime | None


_OPTIONS = (
    click.option("--customer", "customers", type=ID, multiple=True, help="Of this customer; repeatable."),
    click.option("--user", "user_id", type=ID, help="To this user."),
    click.option("--event-type", "--type", "event_type", type=click.Choice(MAIL_TYPES), help="Of this type."),
    click.option("--status", type=click.Choice(STATUSES), help="In this status."),
    click.option(
        "--reason", "failure_reason", type=click.Choice(FAILURE_REASONS), help="Failed for this reason."
    ),
    click.option("--job", "job_id", type=ID, help="About this job."),
    click.option(
        "--compliance-result", "compliance_result_id", type=ID, help="About this compliance result."
    ),
    click.option("--job-event", "job_event_id", type=ID, help="Made by this job event (id in the inbox)."),
    click.option("--recipient", metavar="ADDRESS", help="To this address."),
    click.option(
        "--since", type=WHEN, help="Made at or after this time: 2026-11-23T04:31:07Z, or 3h, 2d ago."
    ),
    click.option("--until", type=WHEN, help="Made before this time."),
)


def filter_options(command: Callable[..., object]) -> Callable[..., object]:
    """Give a command every filter of the event log."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def log_filter(**chosen: Unpack[Chosen]) -> LogFilter:
    """Return the filter that these options mean."""
    customers = chosen["customers"]
    return LogFilter(
        customer_ids=customers or None,
        user_id=chosen["user_id"],
        event_type=chosen["event_type"],
        status=chosen["status"],
        failure_reason=chosen["failure_reason"],
        job_id=chosen["job_id"],
        compliance_result_id=chosen["compliance_result_id"],
        job_event_id=chosen["job_event_id"],
        recipient=chosen["recipient"],
        since=chosen["since"],
        until=chosen["until"],
    )
