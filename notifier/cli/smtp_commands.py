"""`notifier smtp`: the customers' own mail servers. No command prints a password."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Unpack

import click

from notifier import server_trial, wiring
from notifier.cli import database
from notifier.cli.arguments import ID, confirm, operator, paging, tell_rest, yes_option
from notifier.cli.output import json_option
from notifier.cli.program import FAILED, WrongArguments
from notifier.cli.smtp_settings_options import Given, flag, settings_options, smtp_change
from notifier.domain.errors import InvalidInput
from notifier.domain.smtp_settings import MASK, PasswordAsked
from notifier.rendering.renderer import Renderer
from notifier.smtp.policy import denies
from notifier.store import smtp_configs
from notifier.store.pages import Slice

if TYPE_CHECKING:
    from notifier.cli.program import Context
    from notifier.server_trial import Tested
    from notifier.store.smtp_configs import StoredServer

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


@smtp.command("set")
@click.argument("customer_id", type=ID)
@settings_options
@json_option
@click.pass_obj
def set_server(context: Context, *, customer_id: int, as_json: bool, **given: Unpack[Given]) -> None:
    """Make a customer's server, or change what is named; the rest stays.

    Whoever changes host, port, encryption, certificate authority or --allow-plaintext-auth must give the password
    again, or remove it with --no-password. The next mails use the new settings at once.
    """
    settings = context.settings
    change = smtp_change(given)
    try:
        with database.engine(settings) as engine, engine.begin() as connection:
            saved = smtp_configs.save(connection, customer_id, change, box=wiring.secret_box(settings))
    except InvalidInput as exc:
        told: InvalidInput = exc
        if isinstance(exc, PasswordAsked):
            told = PasswordAsked([flag(field, change) for field in exc.differing])
        raise WrongArguments({flag(field, change): texts for field, texts in told.problems.items()}) from exc
    out = context.output(as_json=as_json)
    out.record(_facts(saved))
    if denies(settings.delivery.denied_networks, saved.host):
        out.note(
            f"no mail can be sent: delivery.denied_networks forbids {saved.host}; see notifier smtp test"
        )
    if not saved.enabled:
        out.note(
            f"it is disabled: customer {customer_id} gets no mail until notifier smtp set {customer_id} --enabled"
        )
    elif saved.username and not saved.password:
        out.note("it has a username, but no password; give one with --password-stdin or --ask-password")


@smtp.command("delete")
@click.argument("customer_id", type=ID)
@yes_option
@json_option
@click.pass_obj
def delete(context: Context, *, customer_id: int, yes: bool, as_json: bool) -> None:
    """Delete a customer's server with its password: the [smtp] section serves from now on."""
    out = context.output(as_json=as_json)
    with database.engine(context.settings) as engine:
        with engine.connect() as connection:  # no transaction stays open while somebody thinks
            server = smtp_configs.get(connection, customer_id)
        confirm(f"Delete {server.host}:{server.port} of {server.customer_name} with its password?", yes=yes)
        with engine.begin() as connection:
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
        trial = server_trial.from_settings(settings, engine=engine, renderer=renderer)
        try:
            tested = trial.run(customer_id, to_address, requested_by=by or operator(), now=datetime.now(UTC))
        except InvalidInput as exc:
            raise WrongArguments(
                {"--to": [text for texts in exc.problems.values() for text in texts]}
            ) from exc
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
        end = "was sent" if tested.sent else "was not sent"
        out.line(f"the test mail {end}; its row: notifier events show {tested.row_id}")
    return None if tested.sent else FAILED


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
