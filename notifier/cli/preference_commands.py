"""`notifier preferences`: who wants which mails."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from notifier import preference_import, wiring
from notifier.cli import database, preference_files
from notifier.cli.arguments import ID, paging, tell_rest
from notifier.cli.customers import must_exist
from notifier.cli.output import json_option
from notifier.cli.program import WrongArguments
from notifier.domain.errors import InvalidInput, NotFound
from notifier.domain.preferences import PreferenceRequest
from notifier.domain.vocabulary import EVENT_TYPES
from notifier.store import preferences as store
from notifier.store.pages import Slice
from notifier.store.preferences import PreferenceFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.cli.preference_files import Format
    from notifier.cli.program import Context
    from notifier.domain.vocabulary import EventType

_COLUMNS = ("id", "customer_id", "username", "event_type", "enabled", "email_address", "job_types")


class Chosen(TypedDict):
    """What the filters pass to a command."""

    customers: tuple[int, ...]
    user_id: int | None
    event_type: EventType | None
    enabled: bool | None


def _filters(command: Callable[..., object]) -> Callable[..., object]:
    for option in (
        click.option("--enabled/--disabled", "enabled", default=None, help="Switched on, or off."),
        click.option(
            "--event-type", "--type", "event_type", type=click.Choice(EVENT_TYPES), help="Of this type."
        ),
        click.option("--user", "user_id", type=ID, help="Of this user."),
        click.option("--customer", "customers", type=ID, multiple=True, help="Of this customer; repeatable."),
    ):
        command = option(command)
    return command


def _filter(**chosen: Unpack[Chosen]) -> PreferenceFilter:
    return PreferenceFilter(
        customer_ids=chosen["customers"] or None,
        user_id=chosen["user_id"],
        event_type=chosen["event_type"],
        enabled=chosen["enabled"],
    )


@click.group("preferences")
def preferences() -> None:
    """Who wants which mails. Without a preference the default of the user's role applies."""


@preferences.command("list")
@_filters
@paging
@json_option
@click.pass_obj
def list_preferences(
    context: Context, *, limit: int, offset: int, as_json: bool, **chosen: Unpack[Chosen]
) -> None:
    """List preferences by customer, user and event type."""
    out = context.output(as_json=as_json)
    part = Slice(limit=limit, offset=offset)
    with database.engine(context.settings) as engine, engine.connect() as connection:
        must_exist(connection, chosen["customers"])
        page = store.find(connection, _filter(**chosen), part=part)
    out.table([asdict(one) for one in page.items], _COLUMNS, empty="no preferences")
    tell_rest(out, shown=len(page.items), offset=offset, total=page.total)


@preferences.command("set")
@click.option("--customer", "customer_id", type=ID, required=True, help="The customer.")
@click.option("--user", "user_id", type=ID, required=True, help="The user.")
@click.option(
    "--event-type",
    "--type",
    "event_type",
    type=click.Choice(EVENT_TYPES),
    required=True,
    help="The event type.",
)
@click.option(
    "--enabled/--disabled", "enabled", default=True, help="Mails of this type, or none.  [default: enabled]"
)
@click.option("--email", "email_address", metavar="ADDRESS", help="Address to use instead of the user's own.")
@click.option("--job-type", "job_types", multiple=True, help="Only about jobs of this type; repeatable.")
@json_option
@click.pass_obj
def set_preference(
    context: Context,
    *,
    customer_id: int,
    user_id: int,
    event_type: EventType,
    enabled: bool,
    email_address: str | None,
    job_types: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write one preference, whole: what is not given gets its default, also where there was one before."""
    request = PreferenceRequest(
        customer_id=customer_id,
        user_id=user_id,
        event_type=event_type,
        enabled=enabled,
        email_address=email_address,
        job_types=job_types,
    )
    settings = context.settings
    try:
        with database.engine(settings) as engine, engine.begin() as connection:
            saved = store.save(connection, request, rules=wiring.recipient_rules(settings))
    except InvalidInput as exc:
        raise WrongArguments(exc.problems) from exc
    context.output(as_json=as_json).record(asdict(saved))


@preferences.command("delete")
@click.argument("ids", nargs=-1, type=ID, metavar="[ID]...")
@click.option("--customer", "customer_id", type=ID, help="With --user and --event-type instead of an id.")
@click.option("--user", "user_id", type=ID, help="The user.")
@click.option("--event-type", "--type", "event_type", type=click.Choice(EVENT_TYPES), help="The event type.")
@json_option
@click.pass_obj
def delete(
    context: Context,
    *,
    ids: tuple[int, ...],
    customer_id: int | None,
    user_id: int | None,
    event_type: EventType | None,
    as_json: bool,
) -> None:
    """Delete preferences, all named or none: the default of the user's role applies again."""
    out = context.output(as_json=as_json)
    named = customer_id is not None and user_id is not None and event_type is not None
    if bool(ids) == named or (ids and (customer_id or user_id or event_type)):
        raise click.UsageError("give ids, or all three of --customer, --user and --event-type")
    with database.engine(context.settings) as engine, engine.begin() as connection:
        if customer_id is not None and user_id is not None and event_type is not None:
            found = store.id_of(connection, customer_id=customer_id, user_id=user_id, event_type=event_type)
            if found is None:
                msg = f"user {user_id} has no preference for {event_type} of customer {customer_id}"
                raise NotFound(msg)
            ids = (found,)
        for preference_id in ids:
            store.delete(connection, preference_id)
    if as_json:
        out.json({"deleted": list(ids)})
    out.line(f"deleted {', '.join(str(one) for one in ids)}")


@preferences.command("import")
@click.argument("file", metavar="FILE|-")
@click.option("--dry-run", is_flag=True, help="Check every line, write nothing.")
@json_option
@click.pass_obj
def import_preferences(context: Context, *, file: str, dry_run: bool, as_json: bool) -> None:
    """Write the preferences of a file: CSV with a header line, a JSON array, or JSON Lines.

    All of them or none: one faulty line and nothing is written. A preference that exists is replaced. The columns are
    customer_id, user_id, event_type, enabled, email_address and job_types (in CSV separated by ;).
    """
    settings = context.settings
    out = context.output(as_json=as_json)
    lines = preference_files.read(preference_files.read_text(file))
    done = 0
    with (
        database.engine(settings) as engine,
        engine.connect() as connection,
        out.progress("preferences", total=len(lines.rows)) as step,
    ):

        def progress(so_far: int) -> None:
            nonlocal done
            step(so_far - done)
            done = so_far

        rules = wiring.recipient_rules(settings)
        saved = preference_import.save_all(
            connection, lines.rows, unreadable=lines.faults, rules=rules, progress=progress
        )
        if dry_run:
            connection.rollback()
        else:
            connection.commit()
    if as_json:
        out.json({"saved": 0 if dry_run else saved, "checked": saved})
    out.line(
        f"{saved} lines are right; nothing was written (--dry-run)"
        if dry_run
        else f"{saved} preferences saved"
    )


@preferences.command("export")
@_filters
@click.option("--format", "form", type=click.Choice(("csv", "json")), default="csv", show_default=True)
@click.option("--out", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.pass_obj
def export(context: Context, *, form: Format, target: Path | None, **chosen: Unpack[Chosen]) -> None:
    """Print preferences in a form that the import takes."""
    out = context.output(as_json=False)
    with database.engine(context.settings, limits=False) as engine, engine.connect() as connection:
        rows = store.every(connection, _filter(**chosen))
        if target is None:
            preference_files.write(rows, sys.stdout, form)
            return
        try:
            with target.open("w", encoding="utf-8", newline="") as file:
                count = preference_files.write(rows, file, form)
        except OSError as exc:
            msg = f"{target}: cannot be written ({exc.strerror})"
            raise NotFound(msg) from exc
    out.note(f"{count} preferences written to {target}")
