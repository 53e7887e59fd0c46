"""`notifier maintain`: deletes what is older than retention.days."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from notifier.cli import database
from notifier.cli.output import json_option
from notifier.store import retention

if TYPE_CHECKING:
    from notifier.cli.program import Context


@click.command("maintain")
@click.option("--days", type=click.IntRange(1, 36500), help="Keep so many days instead of retention.days.")
@json_option
@click.pass_obj
def maintain(context: Context, *, days: int | None, as_json: bool) -> None:
    """Delete events, mails, rejections and tokens that are older than retention.days.

    Run it daily, as the role that owns the tables. Workers may be running; what is pending is kept.
    """
    settings = context.overridden({"retention.days": days}).settings
    out = context.output(as_json=as_json)
    done = 0

    with (
        database.engine(settings, limits=False, login=database.OWNER) as engine,
        out.progress(f"deleting what is older than {settings.retention.days} days", total=None) as step,
    ):

        def progress(so_far: retention.Deleted) -> None:
            nonlocal done
            total = sum(asdict(so_far).values())
            step(total - done)
            done = total

        deleted = retention.purge(engine, days=settings.retention.days, progress=progress)
    out.record({"older_than_days": settings.retention.days, **asdict(deleted)})
