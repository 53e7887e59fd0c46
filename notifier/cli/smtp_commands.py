"""`notifier smtp`: the customers' own mail servers. No command prints a password."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar, Unpack

import click

from notifier import wiring
from notifier.cli import database
from notifier.cli.arguments import ID, operator, paging, tell_rest
from notifier.cli.output import json_option
from notifier.cli.program import FAILED
from notifier.domain.errors import InvalidInput
from notifier.domain.smtp_settings import MASK, UNSET, SmtpChange, Unset
from notifier.rendering.renderer import Renderer
from notifier.server_test import ServerTest
from notifier.smtp.transports import transport
from notifier.store import smtp_configs
from notifier.store.pages import Slice

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from notifier.cli.program import Context
    from notifier.config import Settings
    from notifier.server_test import Tested
    from notifier.store.smtp_configs import StoredServer

T = TypeVar("T")

_COLUMNS = ("customer_id", "customer", "server", "security", "username", "from_email", "enabled")


@click.group("smtp")
def smtp() -> None:
    """The customers' own mail servers. Without one the [smtp] section of the configuration serves."""


@smtp.command("list")
@paging
@json_option
@click.pass_obj
def list_servers(context: Context, *, limit: int, offset: int, as_json: bool) -> None:
    """List the servers in the order of customers."""
    out = context.output(as_json=as_json)
    with database.engine(context.settings) as engine, engine.connect() as connection:
        page = smtp_configs.find(connection, part=Slice(limit=limit, offset=offset))
    rows = [_facts(server) for server in page.items]
    if not as_json:
        rows = [{**row, "server": f"{row['host']}:{row['port']}", "security": _security(row)} for row in rows]
    out.table(rows, _COLUMNS, empty="no customer has a mail server of its own")
    tell_rest(out, shown=len(page.items), offset=offset, total=page.total)


@smtp.command("show")
@click.argument("customer_id", type=ID)
@json_option
@click.pass_obj
def show(context: Context, *, customer_id: int, as_json: bool) -> None:
    """Show one customer's server."""
    with database.engine(context.settings) as engine, engine.connect() as connection:
        server = smtp_configs.get(connection, customer_id)
    context.output(as_json=as_json).record(_facts(server))


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


def _settings_options(command: Callable[..., object]) -> Callable[..., object]:
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


@smtp.command("set")
@click.argument("customer_id", type=ID)
@_settings_options
@json_option
@click.pass_obj
def set_server(context: Context, *, customer_id: int, as_json: bool, **given: Unpack[Given]) -> None:
    """Make a customer's server, or change what is named; the rest stays.

    Whoever changes host, port or encryption must give the password again. The next mails use the new settings at once.
    """
    settings = context.settings
    change = _change(given)
    try:
        with database.engine(settings) as engine, engine.begin() as connection:
            saved = smtp_configs.save(connection, customer_id, change, box=wiring.secret_box(settings))
    except InvalidInput as exc:
        raise InvalidInput({_flag(field): texts for field, texts in exc.problems.items()}) from exc
    out = context.output(as_json=as_json)
    out.record(_facts(saved))
    if not saved.enabled:
        out.note(f"it is disabled: customer {customer_id} gets no mail until notifier smtp set --enabled")
    elif saved.username and not saved.password:
        out.note("it has a username, but no password; give one with --password-stdin or --ask-password")


def _change(given: Given) -> SmtpChange:
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


def _flag(field: str) -> str:
    names = {"password": "--password-stdin", "ca_certificate": "--ca-file"}
    return names.get(field) or f"--{field.replace('_', '-')}"


@smtp.command("delete")
@click.argument("customer_id", type=ID)
@json_option
@click.pass_obj
def delete(context: Context, *, customer_id: int, as_json: bool) -> None:
    """Delete a customer's server with its password: the [smtp] section serves from now on."""
    out = context.output(as_json=as_json)
    with database.engine(context.settings) as engine, engine.begin() as connection:
        smtp_configs.delete(connection, customer_id)
    if as_json:
        out.json({"deleted": customer_id})
    out.line(f"the SMTP configuration of customer {customer_id} is deleted")


@smtp.command("test")
@click.argument("customer_id", type=ID)
@click.option("--to", "to_address", required=True, metavar="ADDRESS", help="Who gets the test mail.")
@click.option("--by", metavar="NAME", help="Who asks for it, shown in the mail; default: your login name.")
@json_option
@click.pass_obj
def test(context: Context, *, customer_id: int, to_address: str, by: str | None, as_json: bool) -> int | None:
    """Send one real test mail as the worker would, and tell how each stage went: DNS, TCP, TLS, AUTH, MAIL, RCPT, DATA.

    The mail and its result are a row of the event log. Exit code 1 when the server did not take it.
    """
    settings = context.settings
    out = context.output(as_json=as_json)
    renderer = Renderer(settings.templates.folder(), wiring.site(settings))
    with closing(renderer), database.engine(settings) as engine:
        tested = _tester(settings, engine, renderer).run(
            customer_id, to_address, requested_by=by or operator(), now=datetime.now(UTC)
        )
    rows: list[dict[str, object]] = [
        {
            "stage": one.name,
            "ok": one.ok,
            "detail": one.detail,
            "cure": one.cure,
            "seconds": _rounded(one.seconds),
        }
        for one in tested.stages
    ]
    if as_json:
        out.json({**_result(tested), "stages": rows})
    else:
        out.line(f"testing {tested.server or 'no server'} of customer {customer_id}")
        for row in rows:
            out.line(f"{'ok  ' if row['ok'] else 'FAIL'}  {row['stage']:<6}  {row['detail']}")
            if row["cure"]:
                out.line(f"              {row['cure']}")
        out.line(
            f"the test mail is {tested.settlement.status}; its row: notifier events show {tested.row_id}"
        )
    return None if tested.sent else FAILED


def _tester(settings: Settings, engine: Engine, renderer: Renderer) -> ServerTest:
    return ServerTest(
        engine=engine,
        renderer=renderer,
        site=wiring.site(settings),
        box=wiring.secret_box(settings),
        rules=wiring.recipient_rules(settings),
        default=wiring.default_server(settings),
        transport=transport(settings.smtp.transport, file_path=settings.smtp.file_path),
        policy=wiring.connect_policy(settings),
        deadlines=wiring.deadlines(settings),
        message_id_domain=settings.smtp.message_id_domain,
    )


def _result(tested: Tested) -> dict[str, object]:
    end = tested.settlement
    return {
        "id": tested.row_id,
        "customer_id": tested.customer_id,
        "recipient_email": tested.recipient_email,
        "server": tested.server,
        "status": end.status,
        "failure_reason": end.failure_reason,
        "smtp_code": end.reply.code if end.reply else None,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _facts(server: StoredServer) -> dict[str, object]:
    """Return a server as it may be shown: the password masked, internal columns left out."""
    facts = asdict(server)
    for name in ("server_id", "version", "customer_name", "ca_certificate"):
        del facts[name]
    return {
        "id": server.server_id,
        "customer_id": server.customer_id,
        "customer": server.customer_name,
        **facts,
        "password": MASK if server.password else None,
        "private_ca": server.ca_certificate is not None,
    }


def _security(row: dict[str, object]) -> str:
    if row["use_ssl"]:
        return "implicit TLS"
    return "STARTTLS" if row["use_tls"] else "none"
