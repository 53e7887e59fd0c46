"""`notifier secrets`: encryption keys."""

from __future__ import annotations

import click


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
