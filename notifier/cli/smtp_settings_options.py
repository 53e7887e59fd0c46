"""What `notifier smtp set` is told, and how it becomes a change. A password never comes as an argument."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar

import click

from notifier.domain.smtp_settings import MASK, UNSET, SmtpChange, Unset

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Given(TypedDict):
    """What `smtp set` was told; None where a flag was not given."""

    host: str | None
    port: int | None
    use_tls: bool | None
    use_ssl: bool | None
    username: str | None
    password_stdin: bool
    ask_password: bool
    no_password: bool
    from_email: str | None
    reply_to_email: str | None
    enabled: bool | None
    ca_file: Path | None
    no_ca: bool
    allow_plaintext_auth: bool | None


_SETTINGS = (
    click.option("--host", help="Host name or address of the server."),
    click.option(
        "--port", type=click.IntRange(1, 65535), help="587 for STARTTLS, 465 for implicit TLS.  [587]"
    ),
    click.option("--use-tls/--no-use-tls", default=None, help="STARTTLS, required.  [on]"),
    click.option("--use-ssl/--no-use-ssl", default=None, help="TLS from the first byte.  [off]"),
    click.option("--username", help="Login; an empty text removes it."),
    click.option("--password-stdin", is_flag=True, help="Read the password from the standard input."),
    click.option("--ask-password", is_flag=True, help="Ask for the password on the terminal."),
    click.option("--no-password", is_flag=True, help="Remove the stored password."),
    click.option("--from-email", help="Sender address of this customer's mails."),
    click.option("--reply-to-email", help="Address for replies; an empty text removes it."),
    click.option(
        "--enabled/--no-enabled", default=None, help="Disabled: this customer gets no mail at all.  [on]"
    ),
    click.option(
        "--ca-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="PEM file of a private certificate authority to trust as well.",
    ),
    click.option("--no-ca", is_flag=True, help="Forget the private certificate authority."),
    click.option(
        "--allow-plaintext-auth/--no-allow-plaintext-auth",
        default=None,
        help="Let the password travel without TLS; for closed networks only.  [off]",
    ),
)


def settings_options(command: Callable[..., object]) -> Callable[..., object]:
    """Give a command an option per setting."""
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


def smtp_change(given: Given) -> SmtpChange:
    """Return the change that is meant. Raises click.UsageError for flags that contradict each other."""
    if given["use_tls"] and given["use_ssl"]:
        raise click.UsageError("choose one of --use-tls (STARTTLS) and --use-ssl (TLS from the first byte)")
    if given["ca_file"] and given["no_ca"]:
        raise click.UsageError("choose one of --ca-file and --no-ca")
    ca_certificate: str | Unset | None = UNSET
    if given["ca_file"]:
        ca_certificate = given["ca_file"].read_text(encoding="utf-8", errors="replace")
    elif given["no_ca"]:
        ca_certificate = None
    return SmtpChange(
        host=_given(given["host"]),
        port=_given(given["port"]),
        use_tls=_given(given["use_tls"]),
        use_ssl=_given(given["use_ssl"]),
        username=_given(given["username"]),
        password=_password(given),
        from_email=_given(given["from_email"]),
        reply_to_email=_given(given["reply_to_email"]),
        enabled=_given(given["enabled"]),
        ca_certificate=ca_certificate,
        allow_plaintext_auth=_given(given["allow_plaintext_auth"]),
    )


def _given(value: T | None) -> T | Unset:
    return UNSET if value is None else value


def _password(given: Given) -> str | Unset | None:
    """Take the password from where it leaves no trace: never from the arguments, which every user can list."""
    if given["password_stdin"] + given["ask_password"] + given["no_password"] > 1:
        raise click.UsageError("choose one of --password-stdin, --ask-password and --no-password")
    if given["no_password"]:
        return None
    if given["password_stdin"]:
        try:
            password = sys.stdin.buffer.read().decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise click.UsageError("the password on the standard input is not UTF-8") from None
    elif given["ask_password"]:
        password = str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    else:
        return UNSET
    if password in {"", MASK}:
        raise click.UsageError("the password is empty; to remove the stored one use --no-password")
    return password


def flag(field: str, change: SmtpChange) -> str:
    """Return the option that sets a field, or sets right that it is missing in `change`."""
    given = isinstance(change.password, str)
    names = {
        "password": "--password-stdin" if given else "--password-stdin, --ask-password or --no-password",
        "ca_certificate": "--ca-file",
    }
    return names.get(field) or f"--{field.replace('_', '-')}"
