"""`notifier preview`: the mails of an event, looked at and not sent."""

from __future__ import annotations

import re
import tempfile
import webbrowser
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from notifier import event_preview, wiring
from notifier.cli import database, event_argument
from notifier.cli.arguments import ID
from notifier.cli.program import FAILED
from notifier.composing import Composer
from notifier.domain.errors import ConfigurationError, DatabaseUnavailable, NotFound
from notifier.event_preview import Format
from notifier.rendering.renderer import Renderer

if TYPE_CHECKING:
    from notifier.cli.program import Context
    from notifier.config import Settings
    from notifier.event_preview import Preview, Situation
    from notifier.inbox_events import Wanted

FORMATS: tuple[Format, ...] = get_args(Format)
_ENDINGS: dict[Format, str] = {"html": "html", "text": "txt", "eml": "eml", "subject": "subject.txt"}


@click.command("preview")
@event_argument.argument
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="What to show.  [text; with --out all of them]"
)
@click.option(
    "--out", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write files into this folder."
)
@click.option(
    "--customer", "customer_id", type=ID, help="As this customer's mail instead of the event's own."
)
@click.option("--user", "user_id", type=ID, help="As this user gets it.  [the first who would]")
@click.option("--open", "in_browser", is_flag=True, help="Show the HTML in the browser.")
@click.pass_obj
def preview(
    context: Context,
    *,
    source: str,
    form: Format | None,
    folder: Path | None,
    customer_id: int | None,
    user_id: int | None,
    in_browser: bool,
) -> int | None:
    """Make the mail of an event as one reader would get it, and send nothing.

    The event is a file, or the id of an event in the inbox. A file needs no database: without one, or without its
    customer, the names are made up.
    """
    settings = context.settings
    out = context.output(as_json=False)
    wanted, there = _situation(settings, source, customer_id, user_id)
    with closing(Renderer(settings.templates.folder(), wiring.site(settings))) as renderer:
        made = event_preview.preview(
            wanted.event,
            wanted.document,
            there,
            renderer=renderer,
            composer=_composer(settings, renderer),
            now=datetime.now(UTC),
        )
    for remark in made.remarks:
        out.note(remark)
    name = f"event-{source}" if wanted.stored else _file_name(wanted.event.id)
    if folder is not None:
        for path in _write(made, folder, name, (form,) if form else FORMATS):
            out.line(str(path))
    if in_browser:
        shown = folder or Path(tempfile.mkdtemp(prefix="notifier-preview-"))
        (page,) = _write(made, shown, name, ("html",))
        if not webbrowser.open(page.absolute().as_uri()):
            out.note(f"no browser could be started here; open the page yourself: {page}")
            return FAILED
        out.note(f"shown in the browser: {page}")
    elif folder is None:
        click.echo(made.form(form or "text"), nl=False)
    return None


def _situation(
    settings: Settings, source: str, customer_id: int | None, user_id: int | None
) -> tuple[Wanted, Situation]:
    """Return the event, and who sends it to whom. Only what was asked for by id must exist."""
    wanted = None
    if not event_argument.is_id(source):
        wanted = event_argument.from_file(source, max_bytes=settings.rabbitmq.max_event_bytes)
    asked = wanted is None or customer_id is not None or user_id is not None
    default = wiring.default_server(settings)
    try:
        with database.engine(settings) as engine, engine.connect() as connection:
            wanted = wanted or event_argument.from_inbox(connection, source)
            found = event_preview.situation(
                connection,
                wanted.event,
                rules=wiring.recipient_rules(settings),
                default=default,
                customer_id=customer_id,
                user_id=user_id,
            )
    except (DatabaseUnavailable, ConfigurationError, NotFound) as exc:
        if asked or wanted is None:
            raise
        found = event_preview.sample_situation(wanted.event.customer_id, default, why=str(exc))
    return wanted, found


def _composer(settings: Settings, renderer: Renderer) -> Composer:
    return Composer(
        renderer=renderer,
        site=wiring.site(settings),
        signing_keys=wiring.signing_keys(settings),
        max_bytes=settings.delivery.max_message_bytes,
        now=lambda: datetime.now(UTC),
    )


def _file_name(event_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", event_id).strip(".-")[:100] or "event"


def _write(made: Preview, folder: Path, name: str, forms: tuple[Format, ...]) -> list[Path]:
    paths = [folder / f"{name}.{_ENDINGS[form]}" for form in forms]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, form in zip(paths, forms, strict=True):
            path.write_bytes(made.form(form))
    except OSError as exc:
        msg = f"{folder}: cannot be written to ({exc.strerror})"
        raise NotFound(msg) from exc
    return paths
