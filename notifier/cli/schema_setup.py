"""`notifier init-db`: the schema, made or brought up to date."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from notifier import resources
from notifier.cli import database
from notifier.cli.output import json_option
from notifier.store import migrations

if TYPE_CHECKING:
    from notifier.cli.program import Context

_TOLD = {
    "created": "the schema was made",
    "upgraded": "the schema was upgraded",
    "current": "the schema was up to date already",
    "newer": "the schema is of a newer release; nothing was done",
}


@click.command("init-db")
@click.option(
    "--roles",
    is_flag=True,
    help="Also make the least-privilege roles of roles.sql; needs the right CREATEROLE.",
)
@json_option
@click.pass_obj
def init_db(context: Context, *, roles: bool, as_json: bool) -> None:
    """Make the tables in an empty database, or apply the migrations an older one lacks.

    May be run again at any time. The role that runs it owns the tables.
    """
    out = context.output(as_json=as_json)
    login = f"{database.OWNER} and, for --roles, has CREATEROLE" if roles else database.OWNER
    with database.engine(context.settings, limits=False, checked=False, login=login) as engine:
        report = migrations.init_db(engine, resources.path("schema.sql").parent, roles=roles)
    if as_json:
        out.json(asdict(report))
        return
    out.line(f"{_TOLD[report.result]}: version {report.version}")
    for name in report.applied:
        out.line(f"applied {name}")
    if report.roles:
        out.line("the roles of roles.sql are there; give each the login your site uses")
