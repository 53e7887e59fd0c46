"""`notifier run`: the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import structlog

from notifier import log
from notifier.crashpoints import VARIABLE, Crashpoint
from notifier.domain.errors import DatabaseUnavailable
from notifier.worker import Worker

if TYPE_CHECKING:
    from notifier.cli.program import Context


@click.command("run")
@click.pass_obj
def run(context: Context) -> None:
    """Take job events from RabbitMQ and send their mails, until SIGTERM or SIGINT.

    The first signal finishes the mails in hand, a second one ends at once. Exit code 78 means that the
    configuration must be changed (also a login the broker refuses, or a schema that is too old); with 1 it is worth
    trying again.
    """
    settings = context.settings
    redactor = log.configure(settings.logging.level, settings.logging.format, settings.secrets())
    crashpoint = Crashpoint(context.environ.get(VARIABLE))
    if crashpoint.place is not None:
        structlog.get_logger(__name__).warning("crashpoint_set", place=crashpoint.place, variable=VARIABLE)
    worker = Worker(settings, environ=context.environ, crashpoint=crashpoint, learn_secret=redactor.learn)
    try:
        worker.run()
    except DatabaseUnavailable as exc:
        cure = "the worker cannot start without it; check database.url and that the server is up"
        raise DatabaseUnavailable(f"{exc}; {cure}") from exc
