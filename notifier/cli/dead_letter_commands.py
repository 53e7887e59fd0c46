"""`notifier dead-letters`: what could not be accepted, why, and what to do with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from notifier import wiring
from notifier.broker.dead_letters import DeadLetters, open_dead_letters
from notifier.broker.letters import Handled, Selection
from notifier.cli import database
from notifier.cli.arguments import confirm, yes_option
from notifier.cli.output import json_option
from notifier.cli.program import FAILED
from notifier.domain.errors import ConfigurationError, DatabaseUnavailable
from notifier.domain.masking import mask_json_source
from notifier.store import rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from notifier.broker.letters import DeadLetter
    from notifier.cli.output import Output
    from notifier.cli.program import Context
    from notifier.store.rejected import Rejected

_COLUMNS = ("position", "id", "reason", "received_at", "bytes")
_SHOWN_BYTES = 4096
_MOST_LETTERS = click.IntRange(1, 10_000_000)

_Walk = Callable[[DeadLetters, Selection, Callable[[int, int], None]], Handled]


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at broker messages that could not be accepted; replay or discard them.

    A letter is named by its id (the first column but one of the list) or, with --position, by its place in the queue.
    """


def _choosing(command: Callable[..., object]) -> Callable[..., object]:
    for option in (
        click.option("--all", "everything", is_flag=True, help="All letters."),
        click.option(
            "--position",
            "positions",
            type=_MOST_LETTERS,
            multiple=True,
            help="The letter at this place; repeatable.",
        ),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = option(command)
    return command


def _selection(ids: Sequence[str], positions: Sequence[int], *, everything: bool) -> Selection:
    if everything == bool(ids or positions):
        raise click.UsageError("name letters by id or --position, or all of them with --all")
    return Selection(everything=everything, ids=frozenset(ids), positions=frozenset(positions))


@dead_letters.command("list")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Show the oldest so many."
)
@json_option
@click.pass_obj
def list_letters(context: Context, *, limit: int, as_json: bool) -> None:
    """List the oldest dead letters with the reason of their rejection. The queue stays as it is."""
    out = context.output(as_json=as_json)
    with _opened(context) as letters:
        total = letters.depth()
        found = letters.peek(limit)
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
def show(
    context: Context, *, ids: tuple[str, ...], positions: tuple[int, ...], everything: bool, as_json: bool
) -> int | None:
    """Show letters whole: why they were rejected, where they came from, how their body begins (secrets masked)."""
    out = context.output(as_json=as_json)
    selection = _selection(ids, positions, everything=everything)
    with _opened(context) as letters:
        found = letters.show(selection)
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
    missing = [one for one in ids if one not in {letter.id for letter in found}]
    missing += [f"at position {one}" for one in positions if one not in {letter.position for letter in found}]
    _tell_missing(out, missing)
    return FAILED if missing else None


@dead_letters.command("replay")
@_choosing
@yes_option
@json_option
@click.pass_obj
def replay(
    context: Context,
    *,
    ids: tuple[str, ...],
    positions: tuple[int, ...],
    everything: bool,
    yes: bool,
    as_json: bool,
) -> int | None:
    """Give letters back to the worker's queue. An event that was accepted meanwhile makes no second mail."""
    selection = _selection(ids, positions, everything=everything)
    return _handle(
        context,
        selection,
        lambda letters, chosen, progress: letters.replay(chosen, progress=progress),
        verb="replayed",
        question="Replay all dead letters?" if everything else None,
        yes=yes,
        as_json=as_json,
    )


@dead_letters.command("discard")
@_choosing
@yes_option
@json_option
@click.pass_obj
def discard(
    context: Context,
    *,
    ids: tuple[str, ...],
    positions: tuple[int, ...],
    everything: bool,
    yes: bool,
    as_json: bool,
) -> int | None:
    """Delete letters for good. Their rows in rejected_events stay until notifier maintain."""
    selection = _selection(ids, positions, everything=everything)
    return _handle(
        context,
        selection,
        lambda letters, chosen, progress: letters.discard(chosen, progress=progress),
        verb="discarded",
        question="Delete all dead letters for good?" if everything else None,
        yes=yes,
        as_json=as_json,
    )


def _handle(
    context: Context,
    selection: Selection,
    walk: _Walk,
    *,
    verb: str,
    question: str | None,
    yes: bool,
    as_json: bool,
) -> int | None:
    out = context.output(as_json=as_json)
    if question is not None:
        confirm(question, yes=yes)
    with _opened(context) as letters, out.progress("dead letters", total=letters.depth()) as step:
        handled = walk(letters, selection, lambda _done, _total: step(1))
    _tell_missing(out, handled.missing)
    if as_json:
        out.json({verb: handled.count, "missing": list(handled.missing)})
    out.line(f"{handled.count} {verb}")
    return FAILED if handled.missing else None


def _tell_missing(out: Output, names: Iterable[str]) -> None:
    for name in names:
        hint = f" (its place in the list is --position {name})" if name.isdecimal() else ""
        out.note(f"there is no dead letter {name}; notifier dead-letters list shows what there is{hint}")


def _opened(context: Context) -> AbstractContextManager[DeadLetters]:
    broker = context.settings.rabbitmq
    return open_dead_letters(broker.url.get_secret_value(), wiring.topology(context.settings))


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
        "position": letter.position,
        "id": letter.id,
        # Without a row the broker itself gave it up, for one of the reasons it knows (such as delivery_limit).
        "reason": row.reason if row else letter.death.reason,
        "received_at": row.received_at if row else letter.death.at,
        "bytes": len(letter.message.body),
        "event_id": row.event_id if row else None,
        "detail": row.detail if row else None,
        "body_sha256": letter.body_sha256,
    }


def _details(letter: DeadLetter, row: Rejected | None) -> dict[str, object]:
    message, death = letter.message, letter.death
    head = mask_json_source(message.body[:_SHOWN_BYTES].decode("utf-8", "replace"))
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
