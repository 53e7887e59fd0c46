"""`notifier events`: the event log."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Unpack, get_args

import click

from notifier.cli import database
from notifier.cli.arguments import ID, confirm, operator, paging, tell_rest, yes_option
from notifier.cli.log_filter_options import Chosen, filter_options, log_filter
from notifier.cli.output import json_option
from notifier.cli.program import FAILED
from notifier.message_ids import renewed
from notifier.store import event_log, log_changes
from notifier.store.log_filters import LogFilter, Ordering
from notifier.store.pages import Slice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.engine import Connection, Engine

    from notifier.cli.output import Output
    from notifier.cli.program import Context
    from notifier.domain.vocabulary import Status
    from notifier.store.event_log import Breaker, LogRow

BATCH = 200  # mails changed by one transaction
_COLUMNS = ("id", "created_at", "customer", "event_type", "recipient", "status", "reason")
_NOT_A_FILTER = LogFilter()

# What a change did to some mails: those done (with the id of the new row, if any), and why others were left.
_Done = tuple[dict[int, int | None], dict[int, str]]


@click.group("events")
def events() -> None:
    """Look at the event log, one row per mail; send mails again, or stop those that wait."""


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
        page = event_log.find(connection, log_filter(**chosen), ordering=order, part=part)
    out.table(_lines(page.items, out), _COLUMNS, empty="no mails")
    tell_rest(out, shown=len(page.items), offset=offset, total=page.total)


def _lines(rows: Sequence[LogRow], out: Output) -> list[dict[str, object]]:
    """Return rows as they are for machines, and with short names for the columns of a terminal."""
    if out.as_json:
        return [asdict(row) for row in rows]
    return [
        {
            "id": row.id,
            "created_at": row.created_at,
            "customer": row.customer_id,
            "event_type": row.event_type,
            "recipient": row.recipient_email,
            "status": row.status,
            "reason": row.failure_reason,
        }
        for row in rows
    ]


@events.command("show")
@click.argument("row_id", metavar="ID", type=ID)
@json_option
@click.pass_obj
def show(context: Context, *, row_id: int, as_json: bool) -> None:
    """Show one mail with everything that explains its state."""
    out = context.output(as_json=as_json)
    with database.engine(context.settings) as engine, engine.connect() as connection:
        detail = event_log.show(connection, row_id)
    event = asdict(detail.job_event) if detail.job_event else None
    if event is not None:
        del event["document"]  # what a job printed is shown by `notifier preview` only, as the reader sees it
    if as_json:
        others = [asdict(row) for row in detail.generations]
        breaker = asdict(detail.breaker) if detail.breaker else None
        out.json({**asdict(detail.row), "generations": others, "job_event": event, "breaker": breaker})
        return
    out.record(asdict(detail.row))
    for row in detail.generations:
        out.line(f"the same mail, generation {row.generation}: {row.id}, {_told(row)}")
    if event is not None:
        out.line(
            f"event {event['event_id']} of {event['source']}: why this user, notifier explain {event['id']};"
            f" the mail, notifier preview {event['id']}"
        )
    if detail.breaker is not None:
        out.line(_server_now(detail.breaker))


def _told(row: LogRow) -> str:
    return f"{row.status} ({row.failure_reason})" if row.failure_reason else row.status


def _server_now(breaker: Breaker) -> str:
    if breaker.open_until is None:
        return "the customer's mail server is in use"
    return (
        f"nothing is sent through the customer's mail server until {breaker.open_until}: {breaker.last_error}"
    )


def _bulk(command: Callable[..., object]) -> Callable[..., object]:
    """The options of what can be done to one mail, several, or all that match a filter."""
    for option in (
        json_option,
        click.option(
            "--by", metavar="NAME", help="Who asks for it, for the record; default: your login name."
        ),
        yes_option,
        click.option("--dry-run", is_flag=True, help="Say which mails it would be, and do nothing."),
        filter_options,
        click.argument("ids", nargs=-1, type=ID, metavar="[ID]..."),
    ):
        command = option(command)
    return command


@events.command("resend")
@_bulk
@click.pass_obj
def resend(
    context: Context,
    *,
    ids: tuple[int, ...],
    dry_run: bool,
    yes: bool,
    by: str | None,
    as_json: bool,
    **chosen: Unpack[Chosen],
) -> int | None:
    """Send mails again: the named ones, or all failed ones that match a filter.

    Each becomes a new row, one generation later; the old row stays as it is. With --status sent also mails that were
    delivered are sent once more.
    """
    wanted = _wanted(ids, chosen, default="failed")
    expire_after = context.settings.delivery.expire_after
    who = by or operator()

    def change(connection: Connection, some: Sequence[int]) -> _Done:
        result = log_changes.resend(
            connection, some, resent_by=who, expire_after=expire_after, message_id_for=renewed
        )
        return dict(result.created), result.refused

    return _change(context, wanted, change, verb="resend", dry_run=dry_run, yes=yes, as_json=as_json)


@events.command("cancel")
@_bulk
@click.pass_obj
def cancel(
    context: Context,
    *,
    ids: tuple[int, ...],
    dry_run: bool,
    yes: bool,
    by: str | None,
    as_json: bool,
    **chosen: Unpack[Chosen],
) -> int | None:
    """Stop mails that wait: the named ones, or all pending ones that match a filter.

    They end failed, reason cancelled. A mail that a worker has in hand at this moment is left, and reported.
    """
    wanted = _wanted(ids, chosen, default="pending")
    who = by or operator()

    def change(connection: Connection, some: Sequence[int]) -> _Done:
        result = log_changes.cancel(connection, some, cancelled_by=who)
        held = dict.fromkeys(result.in_flight, "a worker is sending it at this moment")
        return dict.fromkeys(result.cancelled), result.refused | held

    return _change(context, wanted, change, verb="cancel", dry_run=dry_run, yes=yes, as_json=as_json)


def _wanted(ids: tuple[int, ...], chosen: Chosen, *, default: Status) -> LogFilter:
    """Return which mails are meant. A filter that names no status means those that can be changed."""
    wanted = log_filter(**chosen)
    if bool(ids) == (wanted != _NOT_A_FILTER):
        raise click.UsageError("name mails by their ids, or by a filter such as --customer 7 --since 2h")
    if ids:
        return LogFilter(ids=ids)
    return wanted if wanted.status else replace(wanted, status=default)


def _change(
    context: Context,
    wanted: LogFilter,
    change: Callable[[Connection, Sequence[int]], _Done],
    *,
    verb: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int | None:
    out = context.output(as_json=as_json)
    with database.engine(context.settings) as engine:
        if wanted.ids is not None:
            found = list(dict.fromkeys(wanted.ids))
        else:
            with engine.connect() as connection:
                found = event_log.matching_ids(connection, wanted)
        if dry_run:
            _tell_dry_run(engine, found, out, verb=verb)
            return None
        if wanted.ids is None and found:
            confirm(f"{verb} {len(found)} mails?".capitalize(), yes=yes)
        done, refused = _in_batches(engine, found, change, out, verb=verb)
    _tell(out, done, refused, verb=verb)
    return FAILED if refused and wanted.ids is not None else None


def _in_batches(
    engine: Engine,
    ids: Sequence[int],
    change: Callable[[Connection, Sequence[int]], _Done],
    out: Output,
    *,
    verb: str,
) -> _Done:
    done: dict[int, int | None] = {}
    refused: dict[int, str] = {}
    with out.progress(verb, total=len(ids)) as step:
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            with engine.begin() as connection:
                some_done, some_refused = change(connection, some)
            done |= some_done
            refused |= some_refused
            step(len(some))
    return done, refused


def _tell_dry_run(engine: Engine, ids: Sequence[int], out: Output, *, verb: str) -> None:
    with engine.connect() as connection:
        part = Slice(limit=max(len(ids), 1))
        page = event_log.find(connection, LogFilter(ids=tuple(ids)), ordering="created_at", part=part)
    out.table(_lines(page.items, out), _COLUMNS, empty="no mails")
    out.note(f"would {verb} {page.total} mails; nothing was done (--dry-run)")


def _tell(out: Output, done: dict[int, int | None], refused: dict[int, str], *, verb: str) -> None:
    if out.as_json:
        changed = [{"id": old, "new_id": new} if new else {"id": old} for old, new in done.items()]
        out.json({"done": changed, "left": [{"id": i, "why": why} for i, why in refused.items()]})
        return
    for old, new in done.items():
        if new is not None:
            out.line(f"{old} is sent again as {new}")
    for row_id, why in refused.items():
        out.note(f"{row_id} was left: {why}")
    out.line(f"{verb}: {len(done)} done, {len(refused)} left")
