"""`notifier dead-letters`: what could not be accepted, why, and what to do with it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from notifier import wiring
from notifier.broker.dead_letters import open_dead_letters
from notifier.broker.letters import Selection
from notifier.cli import database
from notifier.cli.arguments import confirm, yes_option
from notifier.cli.output import cell, json_option
from notifier.cli.program import FAILED
from notifier.domain.errors import ConfigurationError, DatabaseUnavailable
from notifier.domain.masking import mask_json_source
from notifier.store import rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from notifier.broker.dead_letters import DeadLetters
    from notifier.broker.letters import DeadLetter, Handled
    from notifier.cli.output import Output
    from notifier.cli.program import Context
    from notifier.store.rejected import Rejected

_COLUMNS = ("id", "reason", "received_at", "bytes")
_ASKED_ABOUT = 20  # letters that a question shows at most


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at broker messages that could not be accepted; replay or discard them.

    A letter is named by its id (the first column of the list) or its body_sha256; an id that several letters share
    means all of them. Each command takes the whole queue in hand and gives back what it leaves: meanwhile another such
    command sees fewer letters.
    """


def _choosing(command: Callable[..., object]) -> Callable[..., object]:
    for option in (
        click.option("--all", "everything", is_flag=True, help="All letters."),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = option(command)
    return command


def _selection(ids: Sequence[str], *, everything: bool) -> Selection:
    if everything == bool(ids):
        raise click.UsageError("name letters by id, or all of them with --all")
    return Selection(everything=everything, ids=frozenset(ids))


@dead_letters.command("list")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Show the oldest so many."
)
@json_option
@click.pass_obj
def list_letters(context: Context, *, limit: int, as_json: bool) -> None:
    """List the oldest dead letters with the reason of their rejection. They stay in the queue."""
    out = context.output(as_json=as_json)
    with _walking(context, out) as (letters, progress):
        found, total = letters.peek(limit, progress=progress)
    reasons = _reasons(context, found, out)
    out.table(
        [_summary(one, reasons.get(one.body_sha256)) for one in found], _COLUMNS, empty="no dead letters"
    )
    if len(found) < total:
        out.note(f"the oldest {len(found)} of {total}; see more with --limit")


@dead_letters.command("show")
@_choosing
@json_option
@click.pass_obj
def show(context: Context, *, ids: tuple[str, ...], everything: bool, as_json: bool) -> int | None:
    """Show letters whole: why they were rejected, where they came from, how their body begins (secrets masked)."""
    out = context.output(as_json=as_json)
    selection = _selection(ids, everything=everything)
    found = _found(context, selection, out)
    reasons = _reasons(context, found, out)
    details = [_details(one, reasons.get(one.body_sha256)) for one in found]
    if as_json:
        out.json(details)
    for number, detail in enumerate([] if as_json else details):
        if number:
            out.line("")
        out.record(detail)
    if everything and not found:
        out.line("no dead letters")
    missing = sorted(selection.ids.difference(*(one.names for one in found)))
    _tell_missing(out, missing)
    return FAILED if missing else None


@dead_letters.command("replay")
@_choosing
@yes_option
@json_option
@click.pass_obj
def replay(
    context: Context, *, ids: tuple[str, ...], everything: bool, yes: bool, as_json: bool
) -> int | None:
    """Give letters back to the worker's queue. An event that was accepted meanwhile makes no second mail.

    It asks before it replays all.
    """
    selection = _selection(ids, everything=everything)
    out = context.output(as_json=as_json)
    if everything:
        confirm("Replay all dead letters?", yes=yes)
    with _walking(context, out) as (letters, progress):
        handled = letters.replay(selection, progress=progress)
    return _tell_handled(out, handled, verb="replayed")


@dead_letters.command("discard")
@_choosing
@yes_option
@json_option
@click.pass_obj
def discard(
    context: Context, *, ids: tuple[str, ...], everything: bool, yes: bool, as_json: bool
) -> int | None:
    """Show letters, ask, and delete them for good. Their rows in rejected_events stay until notifier maintain."""
    selection = _selection(ids, everything=everything)
    out = context.output(as_json=as_json)
    if everything:
        confirm("Delete all dead letters for good?", yes=yes)
    elif not yes:
        selection = _agreed(context, selection, out)
    with _walking(context, out) as (letters, progress):
        handled = letters.discard(selection, progress=progress)
    return _tell_handled(out, handled, verb="discarded")


def _agreed(context: Context, selection: Selection, out: Output) -> Selection:
    """Show the letters that would be deleted and ask; limit the selection to them, whatever comes in meanwhile."""
    found = _found(context, selection, out)
    reasons = _reasons(context, found, out)
    for letter in found[:_ASKED_ABOUT]:
        row = _summary(letter, reasons.get(letter.body_sha256))
        out.note("  ".join(f"{name} {cell(row[name])}" for name in _COLUMNS))
    if len(found) > _ASKED_ABOUT:
        out.note(f"and {len(found) - _ASKED_ABOUT} more")
    if found:
        confirm(
            f"Delete {'this dead letter' if len(found) == 1 else f'these {len(found)} dead letters'} for good?",
            yes=False,
        )
    return replace(selection, among=frozenset(one.identity for one in found))


def _tell_handled(out: Output, handled: Handled, *, verb: str) -> int | None:
    _tell_missing(out, handled.missing)
    if out.as_json:
        out.json({verb: handled.count, "missing": list(handled.missing)})
    out.line(f"{handled.count} {verb}")
    return FAILED if handled.missing else None


def _tell_missing(out: Output, names: Iterable[str]) -> None:
    for name in names:
        out.note(f"there is no dead letter {name}; notifier dead-letters list shows what there is")


def _found(context: Context, selection: Selection, out: Output) -> list[DeadLetter]:
    with _walking(context, out) as (letters, progress):
        return letters.show(selection, progress=progress)


@contextmanager
def _walking(context: Context, out: Output) -> Iterator[tuple[DeadLetters, Callable[[int, int], None]]]:
    """Yield the queue and what to tell of each step through it."""
    url = context.settings.rabbitmq.url.get_secret_value()
    with (
        open_dead_letters(url, wiring.topology(context.settings)) as letters,
        out.progress("dead letters", total=letters.depth()) as step,
    ):
        yield letters, lambda _done, _total: step(1)


def _reasons(context: Context, letters: Sequence[DeadLetter], out: Output) -> dict[str, Rejected]:
    """Return the rejection of each body, by its SHA-256 in hex; letters are worth seeing without a database, too."""
    if not letters:
        return {}
    try:
        with database.engine(context.settings) as engine, engine.connect() as connection:
            found = rejected.by_body(connection, (bytes.fromhex(one.body_sha256) for one in letters))
    except (DatabaseUnavailable, ConfigurationError) as exc:
        out.note(f"the reasons are not known: {exc}")
        return {}
    return {sha256.hex(): row for sha256, row in found.items()}


def _summary(letter: DeadLetter, row: Rejected | None) -> dict[str, object]:
    return {
        "id": letter.id,
        # Without a row the broker itself gave it up, for one of the reasons it knows (such as delivery_limit).
        "reason": row.reason if row else letter.death.reason,
        "received_at": row.received_at if row else letter.death.at,
        "bytes": letter.size,
        "event_id": row.event_id if row else None,
        "detail": row.detail if row else None,
        "body_sha256": letter.body_sha256,
    }


def _details(letter: DeadLetter, row: Rejected | None) -> dict[str, object]:
    message, death = letter.message, letter.death
    head = mask_json_source(message.body.decode("utf-8", "replace"))
    return {
        **_summary(letter, row),
        "rejected_event": row.id if row else None,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "app_id": message.app_id,
        "published_to": death.exchange,
        "routing_key": death.routing_key,
        "died_in": death.queue,
        "died_at": death.at,
        "body_head": head,
    }
