"""`notifier demo`: broker, database, mail inbox, worker and sample events on this machine, with no set-up."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from notifier import wiring
from notifier.cli import demo_board
from notifier.cli.output import json_option
from notifier.cli.program import DONE, FAILED
from notifier.config import Settings
from notifier.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from notifier.cli.output import Output
    from notifier.cli.program import Context
    from notifier.sandbox.demo_cast import Sample
    from notifier.sandbox.demo_record import LogRow, Record
    from notifier.sandbox.demo_stage import Stage, Wishes

_SETTLE_SECONDS = 90.0
_DEAD_LETTER_SECONDS = 20.0
_POLL_SECONDS = 0.25
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PORT = click.IntRange(0, 65535)


@click.command("demo")
@click.option(
    "--once", is_flag=True, help="End when all rows are final; exit code 0 only if all is as expected."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep database, broker and configuration there for the next demo. Default: a temporary folder.",
)
@click.option("--database-url", metavar="URL", help="Use this PostgreSQL server, in a database of its own.")
@click.option("--amqp-url", metavar="URL", help="Use this RabbitMQ, with queues of its own.")
@click.option(
    "--no-apt-install",
    is_flag=True,
    help="Do not install a missing RabbitMQ with apt-get; unpack it instead.",
)
@click.option("--inbox-port", type=_PORT, default=0, help="Port of the inbox page. Default: a free one.")
@click.option("--health-port", type=_PORT, default=0, help="Port of the health pages. Default: a free one.")
@json_option
@click.pass_obj
def demo(context: Context, /, *, once: bool, as_json: bool, **chosen: object) -> int:
    """Run everything on this machine, on loopback: PostgreSQL, RabbitMQ, a mail inbox with a web page, the worker.

    Sample events of every type become mails and log rows. Everything stays up until Ctrl-C, and nothing is left
    behind. No configuration of yours is read, and no broker or database of yours is touched unless you name it.
    """
    out = context.output(as_json=as_json)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in a pipe, too, each line as it comes
    try:
        from notifier.sandbox.demo_stage import Stage, Wishes  # noqa: PLC0415 - needs the extra
        from notifier.sandbox.processes import SandboxError  # noqa: PLC0415 - as above
    except ImportError as exc:
        package = (exc.name or "another package").partition(".")[0]
        missing = (
            f"notifier demo needs {package}; install the extra: pip install '.[demo]' in notifier's folder"
        )
        raise ConfigurationError([missing]) from exc
    wishes = _wishes(Wishes, chosen)
    rules = wiring.recipient_rules(Settings())
    try:
        with _stopping_once(), Stage(wishes, rules=rules, say=out.note) as stage:
            try:
                return _play(stage, out, once=once)
            finally:
                _ignore_signals()  # what is being stopped is stopped to the end
    except SandboxError as exc:
        for line in str(exc).splitlines():
            out.note(f"notifier: {line}")
        return FAILED


def _wishes(kind: type[Wishes], chosen: dict[str, object]) -> Wishes:
    forbidden = chosen.pop("no_apt_install")
    return kind(apt_install=not forbidden, **chosen)  # type: ignore[arg-type]


def _play(stage: Stage, out: Output, *, once: bool) -> int:
    from notifier.sandbox.demo_record import differences  # noqa: PLC0415 - needs the extra

    demo_board.places(out, stage)
    samples = stage.publish()
    out.line(f"published {len(samples)} events, each confirmed by the broker; the rows as they settle:")
    out.line("")
    record = _settle(stage, samples, out)
    found = record.of(samples)
    letters = _dead_letters(stage, samples)
    different = differences(record, samples=samples, mails=stage.inbox.mails(), dead_letters=letters)
    if out.as_json:
        out.json(demo_board.as_json(stage, found, different))
    else:
        demo_board.silences(out)
        demo_board.verdict(out, found, different)
    if not once:
        demo_board.suggestions(out, stage)
        _stay(stage, out, known=record.rows)
    return FAILED if different else DONE


def _settle(stage: Stage, samples: Sequence[Sample], out: Output) -> Record:
    """Show the rows until all are final, or the time is over."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    with demo_board.board(out) as update:
        while True:
            record = stage.record()
            update(record.of(samples))
            if record.settled(samples) or time.monotonic() > deadline:
                return record
            time.sleep(_POLL_SECONDS)


def _dead_letters(stage: Stage, samples: Sequence[Sample]) -> int:
    """Count the malformed event's dead letters, waiting for the first: brokers count some seconds late."""
    deadline = time.monotonic() + _DEAD_LETTER_SECONDS
    while (found := stage.dead_letters(samples[-1])) == 0 and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return found


def _stay(stage: Stage, out: Output, *, known: Sequence[LogRow]) -> None:
    """Print what settles from now on, until Ctrl-C. Raises SandboxError when the worker ends."""
    update = demo_board.lines(out, known=known)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            update(stage.record().rows)
            time.sleep(_POLL_SECONDS)
    out.line("stopping")


@contextlib.contextmanager
def _stopping_once() -> Iterator[None]:
    """The first signal interrupts; further ones must not disturb the clearing up."""
    previous = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
