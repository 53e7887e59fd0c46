"""Kinds of arguments that several commands take: ids, times, pages, and who is asking."""

from __future__ import annotations

import os
import pwd
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from notifier.domain.vocabulary import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.cli.output import Output

MAX_PAGE = 10_000
_RELATIVE = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class Id(click.IntRange):
    """An id of the database."""

    name = "id"


ID = Id(1, MAX_ID)


def parse_when(text: str, now: datetime) -> datetime:
    """Return the time meant: RFC 3339 with an offset, a day (midnight UTC), or so long ago (`2d`, `3h`).

    Raises ValueError with a sentence that shows how to write it.
    """
    written = text.strip()
    relative = _RELATIVE.fullmatch(written)
    try:
        if relative:
            return now - timedelta(**{_UNITS[relative[2]]: int(relative[1])})
        moment = datetime.fromisoformat(written)
    except (ValueError, OverflowError):
        moment = None
    if moment is not None and moment.tzinfo is None and _DATE.fullmatch(written):
        moment = moment.replace(tzinfo=UTC)
    if moment is None or moment.tzinfo is None:
        msg = f"{text!r} is not a time; write 2026-11-23T04:31:07Z, 2026-11-23, or 30m, 3h, 2d, 1w for so long ago"
        raise ValueError(msg)
    return moment


class When(click.ParamType[datetime]):
    """A time on the command line."""

    name = "TIME"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> datetime:
        """Read a time as `parse_when` does."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_when(str(value), datetime.now(UTC))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


WHEN = When()


def paging(command: Callable[..., object]) -> Callable[..., object]:
    """Give a list `--limit` and `--offset`."""
    for option in (
        click.option("--offset", type=click.IntRange(0, MAX_ID), default=0, help="Leave out so many first."),
        click.option(
            "--limit", type=click.IntRange(1, MAX_PAGE), default=50, show_default=True, help="Show so many."
        ),
    ):
        command = option(command)
    return command


def tell_rest(out: Output, *, shown: int, offset: int, total: int) -> None:
    """Say on stderr what there is beside this page, and how to see it."""
    if not shown and total:
        out.note(f"there are {total} in all; --offset {offset} leaves out every one")
    elif offset + shown < total:
        out.note(f"{offset + 1}-{offset + shown} of {total}; go on with --offset {offset + shown}")


def yes_option(command: Callable[..., object]) -> Callable[..., object]:
    """Give a command `--yes`."""
    return click.option("--yes", is_flag=True, help="Do not ask.")(command)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something big or final; without a terminal `--yes` is needed. Raises click.Abort for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here; add --yes.")
    click.confirm(question, abort=True, err=True)


def operator() -> str:
    """Return the name of the person at the keyboard, as the system knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under a number without a name
        return f"uid {os.getuid()}"
