"""When the worker traces: as OpenTelemetry's variables say, and what is missing stops no worker."""

from __future__ import annotations

import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import structlog.testing
from opentelemetry.sdk.trace import TracerProvider

from notifier import telemetry
from notifier.cli.worker_process import _tracer
from notifier.telemetry import OpenTelemetryTracer
from notifier.tracing import Tracer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_or_switched_off_nothing_listens(environ: dict[str, str]) -> None:
    with structlog.testing.capture_logs() as logs:
        assert type(_tracer(environ)) is Tracer
    assert logs == []


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_an_endpoint_switches_it_on(name: str) -> None:
    made = _tracer({name: "http://127.0.0.1:9"})
    assert isinstance(made, OpenTelemetryTracer)
    made.close()


def test_a_protocol_we_do_not_speak_is_told_and_nothing_more() -> None:
    with structlog.testing.capture_logs() as logs:
        assert type(_tracer({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})) is Tracer
    assert [(line["event"], "grpc" in line["reason"]) for line in logs] == [("tracing_off", True)]


def test_a_missing_extra_is_told_and_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "notifier.telemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with structlog.testing.capture_logs() as logs:
        assert type(_tracer(ENDPOINT)) is Tracer
    assert [line["event"] for line in logs] == ["tracing_off"]
    assert "pip install '.[otel]' in notifier's folder" in logs[0]["reason"]


def test_the_name_of_the_service_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def resource() -> Resource:
        made = OpenTelemetryTracer.exporting("1.2.3")
        made.close()
        provider = made._provider
        assert isinstance(provider, TracerProvider)
        return provider.resource

    assert resource().attributes["service.name"] == "notifier"
    assert resource().attributes["service.version"] == "1.2.3"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mails")
    assert resource().attributes["service.name"] == "mails"


def test_a_collector_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "FLUSH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        made = OpenTelemetryTracer.exporting("1")
        made._tracer.start_span("waits").end()
        assert _exporters()
        began = time.monotonic()
        made.close()
        taken = time.monotonic() - began
        # It was asked, and now hears a refusal. Its thread must not live on beside the next tests: it draws its
        # pauses from `random`, which Hypothesis does not allow while it draws.
        with silent.accept()[0] as asked:
            asked.recv(65536)
            asked.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            wait_until(lambda: not _exporters(), 10, "the thread that exports to end")
    assert 0.2 <= taken < 2


def _exporters() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("Otel")]
