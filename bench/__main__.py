"""`python -m bench`: starts what it needs, measures, prints a table, and JSON with --json FILE.

Everything is measured in this one run on this one machine; what counts are the ratios. Exit code 1: a goal was missed.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench import distance, growth, latency, sink, stage, throughput

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.measuring import Figure
    from bench.stage import Services

# Latency first: what the other parts write keeps the disk busy for a while.
PARTS = ("latency", "throughput", "slow", "far", "claims", "users", "log")


@click.command()
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Measure this part; may be repeated.")
@click.option("--rounds", default=5, show_default=True, help="Repetitions of everything that is compared.")
@click.option("--events", default=2000, show_default=True, help="Events of one run, three mails each.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there as well.")
def main(only: tuple[str, ...], rounds: int, events: int, json_file: Path | None) -> None:
    """Measure the worker beside what smtplib can do."""
    wanted = only or PARTS
    found: dict[str, list[Figure]] = {}
    with tempfile.TemporaryDirectory(prefix="notifier-bench-") as kept, stage.services() as services:
        where = f"{os.cpu_count()} cores, Python {platform.python_version()}, {services.told}; {sink.name()}"
        click.echo(where)
        for name in (part for part in PARTS if part in wanted):
            found[name] = _parts(services, Path(kept), rounds=rounds, events=events)[name]()
            _show(name, found[name])
    if json_file is not None:
        figures = {name: [asdict(figure) for figure in figures] for name, figures in found.items()}
        json_file.write_text(json.dumps({"machine": where, "figures": figures}, indent=1))
    missed = [figure.name for figures in found.values() for figure in figures if figure.met is False]
    if missed:
        raise click.ClickException("goals missed: " + "; ".join(missed))


def _parts(
    services: Services, kept: Path, *, rounds: int, events: int
) -> dict[str, Callable[[], list[Figure]]]:
    return {
        "latency": partial(latency.measure, services, kept / "latency", seconds=30.0),
        "throughput": partial(
            throughput.measure, services, kept / "throughput", rounds=rounds, events=events
        ),
        "slow": partial(distance.slow, services, rounds=min(rounds, 3), events=events // 10),
        "far": partial(distance.far, services, kept / "far", rounds=min(rounds, 3), events=events // 10),
        "claims": partial(growth.claim_growth, services),
        "users": partial(growth.user_growth, services, rounds=rounds),
        "log": partial(growth.log_growth, services, rounds=min(rounds, 3), events=events // 2),
    }


def _show(part: str, figures: list[Figure]) -> None:
    click.echo(f"\n{part}")
    for figure in figures:
        verdict = {True: "yes", False: "MISSED", None: ""}[figure.met]
        click.echo(
            f"  {figure.name:<52} {figure.value:>10,.2f} {figure.unit:<12} {figure.goal:<8} {verdict}".rstrip()
        )


if __name__ == "__main__":
    main()
