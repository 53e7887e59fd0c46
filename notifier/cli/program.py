"""The `notifier` command: its options, its table of sub-commands, its exit codes (docs/contract.md)."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from notifier.cli.output import Output, shown
from notifier.domain.errors import ConfigurationError, InvalidInput, NotifierError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notifier.config import Settings

DONE, FAILED, USAGE, CONFIGURATION = 0, 1, 2, 78

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # of a write without a file's name: the output's

# name: (module below notifier.cli, one line for the overview). The module holds a click command or group in
# an attribute of the name, with _ for -; it is imported only when that command is used. A command returns
# None or its exit code.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("worker_process", "Run the worker: job events in, mails out."),
    "check": ("checking", "Say what is wrong with configuration, templates, database and broker."),
    "init-db": ("schema_setup", "Make the database schema, or bring it up to date."),
    "publish": ("publishing", "Publish job events from files."),
    "explain": ("explaining", "Say who gets a mail about an event, and why."),
    "preview": ("previewing", "Show the mails of an event without sending any."),
    "events": ("log_commands", "The event log: list, show, resend, cancel."),
    "dead-letters": (
        "dead_letter_commands",
        "Messages that could not be accepted: list, show, replay, discard.",
    ),
    "smtp": ("smtp_commands", "The customers' mail servers: list, show, set, delete, test."),
    "preferences": ("preference_commands", "Who wants which mails: list, set, delete, import, export."),
    "secrets": ("encryption_keys", "Make and rotate encryption keys."),
    "tokens": ("token_commands", "Tokens of the REST API: create, list, revoke."),
    "api": ("api_process", "Serve the REST API."),
    "demo": ("demo", "Run everything on this machine, with sample events; no set-up."),
    "maintain": ("maintenance", "Delete what is older than retention.days."),
}


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every command gets: `@click.pass_obj def command(context: Context)`."""

    config_path: Path | None
    environ: Mapping[str, str]
    overrides: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def settings(self) -> Settings:
        """The configuration, read at first use. Raises ConfigurationError with every fault."""
        from notifier import config  # noqa: PLC0415 - the help and generate-key need no configuration

        return config.load(self.config_path, self.environ, self.overrides)

    def overridden(self, flags: Mapping[str, object]) -> Context:
        """Return a context whose settings are overridden by `flags` ("section.key"); None: flag not given."""
        given = {key: value for key, value in flags.items() if value is not None}
        return replace(self, overrides={**self.overrides, **given})

    def output(self, *, as_json: bool) -> Output:
        """Return the way to print results: tables for people, JSON with `as_json`."""
        return Output(as_json=as_json, stdout=sys.stdout, stderr=sys.stderr)


class WrongArguments(InvalidInput):
    """Arguments of a command ask for what the rules forbid: wrong usage, unlike a file that does."""


class LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are used, so that `--help` is quick."""

    def __init__(self, *, table: Mapping[str, tuple[str, str]] = COMMANDS, **options: Any) -> None:  # noqa: ANN401 - click's own options
        super().__init__(**options)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every name, in the order of the table."""
        del ctx
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of `cmd_name` and return its command."""
        del ctx
        if cmd_name not in self.table:
            return None
        module = importlib.import_module(f"notifier.cli.{self.table[cmd_name][0]}")
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)  # noqa: S101 - a fault of ours, not of the caller
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview from the table, importing nothing."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The configuration file. Default: $NOTIFIER_CONFIG, ./config.toml, /etc/notifier/config.toml.",
)
@click.version_option(package_name="notifier", prog_name="notifier")
@click.pass_context
def notifier(ctx: click.Context, config_path: Path | None) -> None:
    """Job events on RabbitMQ become mails, through each customer's own SMTP server, every one logged.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 78 the configuration must be changed.
    """
    ctx.obj = Context(config_path=config_path, environ=os.environ)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what it knows how to name is told without a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # a terminal that is not UTF-8 must not stop a command
    try:
        code = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe (`notifier events list | head`) went away: nobody is left to be told.
        _drop_output()
        return FAILED
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        _drop_output()
        click.echo(f"notifier: the output cannot be written: {error.strerror}", err=True)
        return FAILED
    return code


def _drop_output() -> None:
    """Send what was printed and not yet written nowhere: Python would try again at the end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(args: Sequence[str] | None) -> int:
    try:
        result = notifier.main(
            args=list(args) if args is not None else None, prog_name="notifier", standalone_mode=False
        )
    except click.exceptions.Abort:
        click.echo("notifier: stopped", err=True)
        return FAILED
    except click.ClickException as error:
        error.show()
        if (
            isinstance(error, click.NoSuchOption)
            and error.option_name == "--config"
            and error.ctx is not None
        ):
            words = error.ctx.command_path.removeprefix("notifier ")
            click.echo(f"It stands before the command: notifier --config PATH {words}", err=True)
        return error.exit_code
    except NotifierError as error:
        return _tell(error)
    return result if isinstance(result, int) else DONE


def _tell(error: NotifierError) -> int:
    problems: Sequence[str] = [str(error)]
    if isinstance(error, ConfigurationError):
        problems = error.problems
    elif isinstance(error, InvalidInput):
        problems = [f"{field}: {text}" for field, texts in error.problems.items() for text in texts]
    for problem in problems:
        click.echo(f"notifier: {shown(problem)}", err=True)
    if isinstance(error, WrongArguments):
        return USAGE
    return CONFIGURATION if isinstance(error, ConfigurationError) else FAILED
