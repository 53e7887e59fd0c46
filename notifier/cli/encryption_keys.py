"""`notifier secrets`: encryption keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from notifier.cli.output import json_option
from notifier.cli.program import FAILED
from notifier.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from notifier.cli.program import Context


@click.group()
def secrets() -> None:
    """Make and rotate encryption keys."""


@secrets.command("generate-key")
def generate_key() -> None:
    """Print a new key for security.encryption_keys or security.signing_keys.

    Needs no configuration. Put the key first in the list and keep the older ones behind it.
    """
    from notifier import encryption  # noqa: PLC0415 - the library takes its time to load

    click.echo(encryption.generate_key())


@secrets.command("rotate")
@json_option
@click.pass_obj
def rotate(context: Context, *, as_json: bool) -> int | None:
    """Encrypt every stored SMTP password anew with the newest key.

    Put the new key first in security.encryption_keys, restart the workers, then run this; afterwards the older keys
    can be taken out. May be stopped and run again.
    """
    from notifier import wiring  # noqa: PLC0415 - generate-key needs none of it
    from notifier.cli import database  # noqa: PLC0415
    from notifier.store import smtp_configs  # noqa: PLC0415

    settings = context.settings
    if not settings.security.encryption_keys:
        cure = "set NOTIFIER_SECURITY__ENCRYPTION_KEYS, newest key first"
        raise ConfigurationError([f"security.encryption_keys: is empty, so there is no key to use; {cure}"])
    out = context.output(as_json=as_json)
    done = 0
    with (
        database.engine(settings, limits=False) as engine,
        engine.begin() as connection,
        out.progress("passwords", total=None) as step,
    ):

        def progress(so_far: int, _total: int) -> None:
            nonlocal done
            step(so_far - done)
            done = so_far

        result = smtp_configs.rotate(connection, wiring.secret_box(settings), progress=progress)
    for customer_id, why in result.unreadable.items():
        out.note(f"customer {customer_id}: {why}")
    if as_json:
        out.json({"rotated": result.rotated, "unreadable": sorted(result.unreadable)})
    out.line(f"{done} passwords, {result.rotated} encrypted anew, {len(result.unreadable)} unreadable")
    return FAILED if result.unreadable else None
