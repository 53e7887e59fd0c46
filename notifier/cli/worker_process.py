"""`notifier run`: the worker."""

from __future__ import annotations

import notifier.cli.lean_logging  # noqa: F401 - before all that logs

# isort: split
from importlib.metadata import version
from typing import TYPE_CHECKING

import click
import structlog

from notifier import log
from notifier.crashpoints import VARIABLE, Crashpoint
from notifier.tracing import Tracer
from notifier.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.cli.program import Context

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


@click.command("run")
@click.pass_obj
def run(context: Context) -> None:
    """Take job events from RabbitMQ and send their mails, until SIGTERM or SIGINT.

    The first signal finishes the mails in hand, a second one ends at once. Exit code 78 means that the
    configuration must be changed (also a login that broker or database refuses, or a schema that does not fit); with
    1 it is worth trying again.
    """
    settings = context.settings
    redactor = log.configure(settings.logging.level, settings.logging.format, settings.secrets())
    crashpoint = Crashpoint(context.environ.get(VARIABLE))
    if crashpoint.place is not None:
        structlog.get_logger(__name__).warning("crashpoint_set", place=crashpoint.place, variable=VARIABLE)
    worker = Worker(
        settings,
        environ=context.environ,
        tracer=_tracer(context.environ),
        crashpoint=crashpoint,
        redactor=redactor,
    )
    worker.run()


def _tracer(environ: Mapping[str, str]) -> Tracer:
    """Return the tracer that OpenTelemetry's variables ask for; what keeps it from working stops no worker."""
    off = (
        environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    if off or not any(environ.get(name) for name in _ENDPOINTS):
        return Tracer()
    log_ = structlog.get_logger(__name__)
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        log_.warning("tracing_off", reason=f"OTLP is spoken over http/protobuf only, not {protocol}")
        return Tracer()
    try:
        from notifier.telemetry import OpenTelemetryTracer  # noqa: PLC0415 - the extra [otel], and only when asked for
    except ModuleNotFoundError as exc:
        cure = "install the extra: pip install '.[otel]' in notifier's folder"
        log_.warning("tracing_off", reason=f"{exc.name} is not installed; {cure}")
        return Tracer()
    return OpenTelemetryTracer.exporting(version("notifier"))
