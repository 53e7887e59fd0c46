"""`notifier tokens`: bearer tokens of the REST API."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from notifier import bearer_tokens
from notifier.cli import database
from notifier.cli.arguments import ID, paging, tell_rest
from notifier.cli.output import json_option
from notifier.store import api_tokens, people
from notifier.store.pages import Slice

if TYPE_CHECKING:
    from notifier.cli.program import Context

MAX_DAYS = 36500
_COLUMNS = ("id", "username", "name", "created_at", "expires_at", "last_used_at", "revoked_at")


@click.group("tokens")
def tokens() -> None:
    """Tokens of the REST API. Each has the rights of its user."""


@tokens.command("create")
@click.option("--user", "username", required=True, metavar="USERNAME", help="Whose rights it has.")
@click.option("--name", default="token", show_default=True, help="What it is for.")
@click.option(
    "--days", type=click.IntRange(1, MAX_DAYS), default=365, show_default=True, help="Valid for so long."
)
@click.option("--never-expires", is_flag=True, help="Valid until it is revoked.")
@json_option
@click.pass_obj
def create(
    context: Context, *, username: str, name: str, days: int, never_expires: bool, as_json: bool
) -> None:
    """Make a token and print it once, on the last line; only a hash of it is kept."""
    if not 1 <= len(name) <= 200:  # noqa: PLR2004 - the column's limit
        raise click.UsageError("--name must have 1 to 200 characters")
    out = context.output(as_json=as_json)
    expires_at = None if never_expires else datetime.now(UTC) + timedelta(days=days)
    token = bearer_tokens.new_token()
    with database.engine(context.settings) as engine, engine.begin() as connection:
        user = people.by_name(connection, username)
        made = api_tokens.add(
            connection,
            user_id=user.id,
            name=name,
            token_hash=bearer_tokens.token_hash(token),
            expires_at=expires_at,
        )
    if as_json:
        out.json({**asdict(made), "token": token})
        return
    until = f"until {made.expires_at:%Y-%m-%d}" if made.expires_at else "until it is revoked"
    out.line(f"token {made.id} has the rights of {user.username} ({user.role}), {until}")
    if not user.is_active:
        out.note(f"{user.username} is not active: the token is refused until that changes")
    click.echo(token)


@tokens.command("list")
@click.option("--user", "username", metavar="USERNAME", help="Of this user.")
@paging
@json_option
@click.pass_obj
def list_tokens(context: Context, *, username: str | None, limit: int, offset: int, as_json: bool) -> None:
    """List tokens, the newest first."""
    out = context.output(as_json=as_json)
    with database.engine(context.settings) as engine, engine.connect() as connection:
        user_id = people.by_name(connection, username).id if username else None
        page = api_tokens.find(connection, user_id=user_id, part=Slice(limit=limit, offset=offset))
    out.table([asdict(one) for one in page.items], _COLUMNS, empty="no tokens")
    tell_rest(out, shown=len(page.items), offset=offset, total=page.total)


@tokens.command("revoke")
@click.argument("ids", nargs=-1, required=True, type=ID, metavar="ID...")
@json_option
@click.pass_obj
def revoke(context: Context, *, ids: tuple[int, ...], as_json: bool) -> None:
    """Withdraw tokens for good, all named or none."""
    out = context.output(as_json=as_json)
    with database.engine(context.settings) as engine, engine.begin() as connection:
        revoked = [api_tokens.revoke(connection, one) for one in ids]
    if as_json:
        out.json([asdict(one) for one in revoked])
    for one in revoked:
        out.line(f"token {one.id} of {one.username} is revoked")
