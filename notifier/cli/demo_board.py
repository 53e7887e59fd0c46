"""What `notifier demo` shows: the rows as they settle, who got no mail and why, the verdict."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from notifier import resources
from notifier.cli.output import cell
from notifier.sandbox import demo_cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.table import Table

    from notifier.cli.output import Output, Row
    from notifier.sandbox.demo_record import LogRow
    from notifier.sandbox.demo_stage import Stage

    Update = Callable[[Sequence[LogRow]], None]

COLUMNS = ("id", "customer", "event", "recipient", "status", "reason", "attempts", "shows")
_COLORS = {"sent": "green", "failed": "red", "pending": "yellow"}


def row_facts(row: LogRow) -> dict[str, object]:
    """Return a row of the log as a row of the board."""
    return {
        "id": row.id,
        "customer": row.customer_id,
        "event": row.event_type,
        "recipient": row.address,
        "status": row.status,
        "reason": row.failure_reason,
        "attempts": row.attempts,
        "shows": _shows(row),
    }


def _shows(row: LogRow) -> str | None:
    """Return what a settled sample is there to show; of others, of resent ones too, what went wrong."""
    note = demo_cast.shows(row.event_id, row.key) if row.generation == 0 and row.status != "pending" else None
    return note or row.error_message


@contextlib.contextmanager
def board(out: Output) -> Iterator[Update]:
    """Yield what is told the rows again and again: a table that grows, or a line for each change in a pipe."""
    if out.as_json:
        yield lambda _rows: None
    elif out.stdout.isatty():
        with _live(out) as update:
            yield update
    else:
        yield lines(out)


def lines(out: Output, *, known: Sequence[LogRow] = ()) -> Update:
    """Return what prints a line whenever a row has settled or met a fault; `known` were printed before."""
    printed = {_change(row) for row in known}

    def update(rows: Sequence[LogRow]) -> None:
        for row in rows:
            change = _change(row)
            if change in printed or (row.status == "pending" and not row.error_message):
                continue
            printed.add(change)
            facts = row_facts(row)
            start = f"{facts['status']!s:<7}  {facts['event']!s:<25}  {facts['recipient']!s:<21}"
            told = (
                f"{start}  {cell(facts['reason']):<14}  attempts {facts['attempts']}  {cell(facts['shows'])}"
            )
            out.line(told.rstrip())

    return update


def _change(row: LogRow) -> tuple[object, ...]:
    return (row.id, row.status, row.error_message)


@contextlib.contextmanager
def _live(out: Output) -> Iterator[Update]:
    from rich.console import Console  # noqa: PLC0415 - slow to import, and not needed in pipes
    from rich.live import Live  # noqa: PLC0415 - as above

    with Live(_table(()), console=Console(file=out.stdout), auto_refresh=False) as live:
        yield lambda rows: live.update(_table(rows), refresh=True)


def _table(rows: Sequence[LogRow]) -> Table:
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(title="notification_events")
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in rows:
        facts = row_facts(row)
        table.add_row(
            *(
                Text(cell(facts[name]), style=_COLORS[row.status] if name == "status" else "")
                for name in COLUMNS
            )
        )
    return table


def places(out: Output, stage: Stage) -> None:
    """Say where everything is."""
    database, broker = stage.database, stage.broker
    out.line(f"inbox     {stage.inbox.url}  (every mail; SMTP on port {stage.inbox.smtp_port}, with AUTH)")
    out.line(f"health    {stage.worker.url}/healthz  (also /livez, /readyz, /metrics)")
    out.line(f"database  psql {shlex.quote(database.url)}  ({database.source})")
    out.line(f"broker    {broker.url}  ({broker.source})")
    out.line(f"worker    process {stage.worker.pid}, log {stage.folder.log}")
    kept = "kept" if stage.folder.kept else "temporary; --data FOLDER keeps it"
    out.line(f"files     {stage.folder.path}  ({kept})")


def silences(out: Output) -> None:
    """Say who got no mail, and by which rule."""
    out.line("")
    out.line("no mail, as it should be:")
    rows: list[Row] = [
        {
            "event": one.event_type,
            "user": one.username,
            "rule": one.rule or "(not considered)",
            "shows": one.shows,
        }
        for one in demo_cast.SILENCES
    ]
    out.table(rows, ("event", "user", "rule", "shows"))
    out.line("")
    out.line(
        f"one malformed event: rejected_events says {demo_cast.REJECTION}; it is in the dead-letter queue"
    )


def verdict(out: Output, found: Sequence[LogRow], different: Sequence[str]) -> None:
    """Say whether every row ended as expected."""
    if different:
        out.line("not as expected:")
        for sentence in different:
            out.line(f"  {sentence}")
        return
    sent = sum(row.status == "sent" for row in found)
    out.line(
        f"as expected: {len(found)} rows, {sent} sent, {len(found) - sent} failed; "
        "1 event rejected, 1 dead letter; every sent row is one mail in the inbox"
    )


def suggestions(out: Output, stage: Stage) -> None:
    """Name commands to try while everything is up."""
    sample = shlex.quote(str(resources.path("docs/events/job_failed.json")))
    out.line("")
    out.line("try, in another terminal:")
    out.line(f"  export NOTIFIER_CONFIG={shlex.quote(str(stage.folder.config))}")
    out.line(f"  export AMQP_URL={shlex.quote(stage.broker.url)}")  # what the documents' programs read
    if not shutil.which("notifier"):
        out.line(f"  export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
    for rest in (
        f"publish --new-id {sample}",
        "events list",
        "explain 1",
        "dead-letters list",
        "smtp test 1 --to you@acme.example",
        "tokens create --user anna",
        "api",
    ):
        out.line(f"  notifier {rest}")
    out.line("Ctrl-C ends everything")


def as_json(stage: Stage, found: Sequence[LogRow], different: Sequence[str]) -> dict[str, object]:
    """Return everything for machines."""
    return {
        "ok": not different,
        "differences": list(different),
        "inbox": stage.inbox.url,
        "health": stage.worker.url,
        "database": stage.database.url,
        "broker": stage.broker.url,
        "config": str(stage.folder.config),
        "worker_pid": stage.worker.pid,
        "worker_log": str(stage.folder.log),
        "rows": [
            {**row_facts(row), "rule": row.rule, "smtp_code": row.smtp_code, "subject": row.subject}
            for row in found
        ],
    }
