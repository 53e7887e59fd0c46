"""`notifier check`: what is wrong, all of it at once, with the cure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from notifier.cli import findings
from notifier.cli.output import json_option
from notifier.cli.program import CONFIGURATION, FAILED
from notifier.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from notifier.cli.findings import Finding
    from notifier.cli.program import Context

_SIGNS = {"ok": "ok", "warning": "WARN", "problem": "FAIL"}


@click.command("check")
@json_option
@click.pass_obj
def check(context: Context, *, as_json: bool) -> int | None:
    """Look at configuration, templates, database, stored passwords, broker and health port; change nothing.

    Exit code 0 when a worker could start, 78 when something must be changed, 1 when only a service does not answer.
    """
    out = context.output(as_json=as_json)
    try:
        settings = context.settings
    except ConfigurationError as exc:
        found = [findings.Finding(part="configuration", level="problem", text=text) for text in exc.problems]
    else:
        found = list(findings.look(settings))
    if as_json:
        out.json([asdict(one) for one in found])
    for one in found:
        out.line(f"{_SIGNS[one.level]:<4}  {one.part}: {one.text}")
    return _exit_code(found)


def _exit_code(found: list[Finding]) -> int | None:
    problems = [one for one in found if one.level == "problem"]
    if any(one.configuration for one in problems):
        return CONFIGURATION
    return FAILED if problems else None
