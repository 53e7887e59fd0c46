"""What a worker at work shows to those who watch it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.world import failed_job
from tests.support import promtool
from tests.support.certificates import authority
from tests.support.otlp_collector import Collector, collector
from tests.support.smtp_server import Options
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.world import World

pytestmark = pytest.mark.xdist_group("watching")

TRACE, PUBLISHER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
JOB = 481216
LABELS = {
    "event_type",
    "outcome",
    "reason",
    "status",
    "failure_reason",
    "result",
    "step",
    "le",
    "state",
    "service",
    "version",
    "server_id",
}


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A worker that has sent one mail over TLS, its page of metrics since then, and the collector of its spans."""

    world: World
    metrics: str
    collector: Collector


@pytest.fixture(scope="module")
def watched(shared_world: World) -> Iterator[Watched]:
    world = shared_world
    server = world.smtp(Options(starttls=True))
    customer = world.customer(server, host="localhost", use_tls=True, ca_certificate=authority().pem)
    with collector() as spans:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": spans.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        worker = world.worker(variables=variables).ready()
        event = json.loads(failed_job(customer, JOB)) | {"traceparent": f"00-{TRACE}-{PUBLISHER}-01"}
        world.publish(json.dumps(event).encode())
        world.wait_settled(1)
        page = ""

        def measured() -> bool:
            nonlocal page
            page = worker.get("/metrics")[1]
            return "notifier_mails_pending 0.0" in page

        wait_until(measured, 60, "the background check after the mail was sent")
        yield Watched(world=world, metrics=page, collector=spans)
        assert worker.terminate() == 0


def test_the_metrics_of_a_worker_at_work_obey_the_conventions_and_name_nobody(watched: Watched) -> None:
    page = watched.metrics
    assert promtool.problems("check", "metrics", text=page) == ""
    samples = {
        (sample.name, *sample.labels.values()): sample
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert {label for sample in samples.values() for label in sample.labels} <= LABELS
    database = watched.world.database
    (config_id,) = database.rows("SELECT id FROM smtp_configs")[0]
    assert ("notifier_smtp_certificate_expiry_timestamp_seconds", str(config_id)) in samples
    assert samples["notifier_consumer_state", "consuming"].value == 1
    assert samples["notifier_mails_finished_total", "none", "sent"].value == 1
    assert samples["notifier_links_lost_total", "broker"].value == 0
    assert samples["notifier_dead_letters",].value == 0
    for sign_of_life in ("main_loop_last_turn", "database_last_success"):
        seen = samples[f"notifier_{sign_of_life}_timestamp_seconds",].value
        assert abs(time.time() - seen) < 60
    (name,) = database.rows("SELECT name FROM customers")[0]
    for secret in (str(name), "@", str(JOB), "localhost"):
        assert secret not in page


def test_a_collector_gets_the_way_of_the_event_in_the_publishers_trace(watched: Watched) -> None:
    wait_until(lambda: len(watched.collector.spans) >= 5, 60, "the spans")
    spans = watched.collector.spans
    assert {(span.service, span.trace_id) for span in spans} == {("notifier", TRACE)}
    (tried,) = (span for span in spans if span.name == "send mail")
    assert {span.name: span.parent_id for span in spans} == {
        "take in job event": PUBLISHER,
        "send mail": PUBLISHER,
        "render mail": tried.span_id,
        "connect": tried.span_id,
        "smtp": tried.span_id,
    }


def test_a_worker_that_is_not_to_trace_imports_nothing_of_it() -> None:
    script = (
        "import sys; from notifier.cli.worker_process import _tracer; made = type(_tracer({})).__name__;"
        "print(made, [name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "Tracer []\n"
