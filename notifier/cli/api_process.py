"""`notifier api`: the REST API."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import click

from notifier import log

if TYPE_CHECKING:
    from notifier.cli.program import Context


@click.command("api")
@click.option("--host", help="Address to listen on.  [api.host]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [api.port]")
@click.pass_obj
def api(context: Context, *, host: str | None, port: int | None) -> None:
    """Serve the REST API until SIGTERM or SIGINT; its documentation is at /docs.

    It speaks HTTP: put a reverse proxy with TLS in front. Needs the extra [api]: pip install '.[api]' in
    notifier's folder.
    """
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
        raise click.ClickException(
            "the REST API is not installed; install the extra: pip install '.[api]' in notifier's folder"
        )
    from notifier.api import server  # noqa: PLC0415 - only with the extra

    settings = context.overridden({"api.host": host, "api.port": port}).settings
    log.configure(settings.logging.level, settings.logging.format, settings.secrets())
    server.run(settings, environ=context.environ)
