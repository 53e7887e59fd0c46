"""`notifier events resend` and `cancel`: one mail, several, or all that match a filter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

import click

from notifier.cli import database
from notifier.cli.arguments import ID, confirm, operator, yes_option
from notifier.cli.log_filter_options import Chosen, filter_options, log_filter
from notifier.cli.log_lines import COLUMNS, log_lines
from notifier.cli.output import json_option
from notifier.cli.program import FAILED
from notifier.message_ids import renewed
from notifier.store import event_log, log_changes
from notifier.store.log_filters import LogFilter
from notifier.store.pages import Slice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.engine import Connection, Engine

    from notifier.cli.output import Output
    from notifier.cli.program import Context
    from notifier.domain.vocabulary import Status

BATCH = 200  # mails changed by one transaction
_NOT_A_FILTER = LogFilter()

# What a change did to some mails: those done (with the id of the new row, if any), and why others were left.
_Done = tuple[dict[int, int | None], dict[int, str]]


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


@click.command("resend")
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

    look = log_changes.not_resendable
    return _change(context, wanted, change, look, verb="resend", dry_run=dry_run, yes=yes, as_json=as_json)


@click.command("cancel")
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
        return dict.fromkeys(result.cancelled), result.refused

    look = log_changes.not_cancellable
    return _change(context, wanted, change, look, verb="cancel", dry_run=dry_run, yes=yes, as_json=as_json)


def _wanted(ids: tuple[int, ...], chosen: Chosen, *, default: Status) -> LogFilter:
    """Return which mails are meant. A filter that names no status means those that can be changed."""
    wanted = log_filter(**chosen)
    if bool(ids) == (wanted != _NOT_A_FILTER):
        also = ", not by both" if ids else ""
        raise click.UsageError(
            f"name mails by their ids, or by a filter such as --customer 7 --since 2h{also}"
        )
    if ids:
        return LogFilter(ids=ids)
    return wanted if wanted.status else replace(wanted, status=default)


def _change(
    context: Context,
    wanted: LogFilter,
    change: Callable[[Connection, Sequence[int]], _Done],
    look: Callable[[Connection, Sequence[int]], dict[int, str]],
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
            refused = _tell_dry_run(engine, found, look, out, verb=verb)
            return FAILED if refused and wanted.ids is not None else None
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


def _tell_dry_run(
    engine: Engine,
    ids: Sequence[int],
    look: Callable[[Connection, Sequence[int]], dict[int, str]],
    out: Output,
    *,
    verb: str,
) -> dict[int, str]:
    """Show what would be changed; returns what would be left, and why."""
    with engine.connect() as connection:
        refused = look(connection, ids)
        part = Slice(limit=max(len(ids), 1))
        to_do = LogFilter(ids=tuple(one for one in ids if one not in refused))
        page = event_log.find(connection, to_do, ordering="created_at", part=part)
    out.table(log_lines(page.items, out), COLUMNS, empty="no mails")
    for row_id, why in refused.items():
        out.note(f"{row_id} would be left: {why}")
    out.note(f"would {verb} {page.total}, leave {len(refused)}; nothing was done (--dry-run)")
    return refused


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
