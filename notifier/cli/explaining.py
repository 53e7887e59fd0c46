"""`notifier explain`: who gets a mail about an event, who does not, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from notifier import explanation, wiring
from notifier.cli import database, event_argument
from notifier.cli.arguments import ID
from notifier.cli.output import json_option
from notifier.cli.server_line import server_line

if TYPE_CHECKING:
    from notifier.cli.output import Output
    from notifier.cli.program import Context
    from notifier.explanation import Explanation, Verdict

_COLUMNS = ("user", "role", "mail", "why")
_STORED_COLUMNS = ("user", "role", "mail", "then", "in the log", "why")  # last: it may be long


@click.command("explain")
@event_argument.argument
@click.option("--user", "user_id", type=ID, help="Only this user, whoever it is.")
@json_option
@click.pass_obj
def explain(context: Context, *, source: str, user_id: int | None, as_json: bool) -> None:
    """Say, for every user of the event's customer, whether a mail would leave now, where to, and by which rule.

    The event is a file, or the id of an event in the inbox; then the decision of the time it came is shown beside, and
    what became of the mail.
    """
    settings = context.settings
    wanted = None
    if not event_argument.is_id(source):
        wanted = event_argument.from_file(source, max_bytes=settings.rabbitmq.max_event_bytes)
    with database.engine(settings) as engine, engine.connect() as connection:
        wanted = wanted or event_argument.from_inbox(connection, source)
        found = explanation.explain(
            connection,
            explanation.Subject(
                customer_id=wanted.event.customer_id,
                event_type=wanted.event.type,
                job_type=wanted.event.job_type,
                stored=wanted.stored,
            ),
            rules=wiring.recipient_rules(settings),
            default=wiring.default_server(settings),
            box=wiring.secret_box(settings),
            user_id=user_id,
        )
    out = context.output(as_json=as_json)
    if as_json:
        out.json(_as_json(found))
        return
    out.line(
        f"{found.event_type} about {found.job_type}, customer {found.customer_id} ({found.customer_name})"
    )
    out.line(server_line(found.server))
    if found.problem:
        out.line(found.problem)
    out.line("")
    _tell(found, out, stored=wanted.stored is not None)


def _tell(found: Explanation, out: Output, *, stored: bool) -> None:
    rows: list[dict[str, object]] = []
    for one in found.users:
        row: dict[str, object] = {
            "user": f"{one.username} ({one.user_id})",
            "role": one.role,
            "mail": "yes" if one.mail else "no",
            "why": f"{one.why} -> {one.address}" if one.mail else one.why,
        }
        if stored:
            row |= {"then": _then(one), "in the log": _logged(one)}
        rows.append(row)
    out.table(rows, _STORED_COLUMNS if stored else _COLUMNS, empty="the customer has no users")
    count = sum(one.mail for one in found.users)
    out.line(f"{count} of {len(found.users)} users would get a mail")


def _then(one: Verdict) -> str:
    if one.then is None:
        return "not considered"
    return f"yes ({one.then['rule']})" if one.then["selected"] else f"no ({one.then['rule']})"


def _logged(one: Verdict) -> str | None:
    row = one.log_row
    if row is None:
        return None
    return f"{row.id}: {row.status}" + (f" ({row.failure_reason})" if row.failure_reason else "")


def _as_json(found: Explanation) -> dict[str, object]:
    users = [
        {
            "user_id": one.user_id,
            "username": one.username,
            "role": one.role,
            "mail": one.mail,
            "address": one.address,
            "rule": one.rule,
            "why": one.why,
            "then": one.then,
            "log_row": None if one.log_row is None else {"id": one.log_row.id, "status": one.log_row.status},
        }
        for one in found.users
    ]
    return {
        "customer_id": found.customer_id,
        "customer": found.customer_name,
        "event_type": found.event_type,
        "job_type": found.job_type,
        "server": asdict(found.server),
        "problem": found.problem,
        "users": users,
    }
