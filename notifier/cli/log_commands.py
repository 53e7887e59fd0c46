"""`notifier events`: the event log."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Unpack, get_args

import click

from notifier import explanation, wiring
from notifier.cli import bulk_changes, database
from notifier.cli.arguments import ID, paging, tell_rest
from notifier.cli.customers import must_exist
from notifier.cli.log_filter_options import Chosen, filter_options, log_filter
from notifier.cli.log_lines import COLUMNS, log_lines
from notifier.cli.output import json_option
from notifier.cli.server_line import server_line
from notifier.store import event_log
from notifier.store.log_filters import Ordering
from notifier.store.pages import Slice

if TYPE_CHECKING:
    from notifier.cli.program import Context
    from notifier.store.event_log import LogRow


@click.group("events")
def events() -> None:
    """Look at the event log, one row per mail; send mails again, or stop those that wait."""


events.add_command(bulk_changes.resend)
events.add_command(bulk_changes.cancel)


@events.command("list")
@filter_options
@click.option(
    "--order",
    type=click.Choice(get_args(Ordering)),
    default="-created_at",
    show_default=True,
    help="A leading - means the newest first.",
)
@paging
@json_option
@click.pass_obj
def list_mails(
    context: Context, *, order: Ordering, limit: int, offset: int, as_json: bool, **chosen: Unpack[Chosen]
) -> None:
    """List mails with their state."""
    out = context.output(as_json=as_json)
    part = Slice(limit=limit, offset=offset)
    with database.engine(context.settings) as engine, engine.connect() as connection:
        must_exist(connection, chosen["customers"])
        page = event_log.find(connection, log_filter(**chosen), ordering=order, part=part)
    out.table(log_lines(page.items, out), COLUMNS, empty="no mails")
    tell_rest(out, shown=len(page.items), offset=offset, total=page.total)


@events.command("show")
@click.argument("row_id", metavar="ID", type=ID)
@json_option
@click.pass_obj
def show(context: Context, *, row_id: int, as_json: bool) -> None:
    """Show one mail with everything that explains its state."""
    out = context.output(as_json=as_json)
    settings = context.settings
    with database.engine(settings) as engine, engine.connect() as connection:
        detail = event_log.show(connection, row_id)
        server = explanation.server_state(
            connection,
            detail.row.customer_id,
            default=wiring.default_server(settings),
            box=wiring.secret_box(settings),
        )
    event = asdict(detail.job_event) if detail.job_event else None
    if event is not None:
        del event["document"]  # what a job printed is shown by `notifier preview` only, as the reader sees it
    if as_json:
        others = [asdict(row) for row in detail.generations]
        breaker = asdict(detail.breaker) if detail.breaker else None
        more = {"generations": others, "job_event": event, "breaker": breaker, "server": asdict(server)}
        out.json({**asdict(detail.row), **more})
        return
    out.record(asdict(detail.row))
    for row in detail.generations:
        out.line(f"the same mail, generation {row.generation}: {row.id}, {_told(row)}")
    if event is not None:
        out.line(
            f"event {event['event_id']} of {event['source']}: why this user, notifier explain {event['id']};"
            f" the mail, notifier preview {event['id']}"
        )
    out.line(f"mails of this customer now: {server_line(server)}")


def _told(row: LogRow) -> str:
    return f"{row.status} ({row.failure_reason})" if row.failure_reason else row.status
