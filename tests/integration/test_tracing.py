"""One trace, from the publisher's traceparent through intake, render and SMTP: what a collector gets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from notifier.broker.messages import BrokerMessage, Settle
from notifier.domain.vocabulary import Phase
from notifier.telemetry import OpenTelemetryTracer
from tests.integration.test_delivery_loop import OK, Bench, refused
from tests.integration.test_recipient_table import intake
from tests.store_rows import add_customer, add_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from sqlalchemy.engine import Connection, Engine

TRACE, PUBLISHER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{PUBLISHER}-01"


class Clock:
    """Goes on by a microsecond at each look, so that every stretch has a length."""

    now = 1_790_000_000_000_000_000

    def __call__(self) -> int:
        self.now += 1000
        return self.now


class Road:
    """Intake and delivery with one tracer, whose spans stay in memory."""

    def __init__(self, engine: Engine, connection: Connection) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = OpenTelemetryTracer(provider, now=Clock())
        self.bench = Bench(engine, connection, self.tracer)
        self.customer = add_customer(connection)
        self.intake = intake(engine, tracer=self.tracer)
        self.connection = connection

    def publish(self, *, headers: dict[str, object] | None = None, copies: int = 1, **more: str) -> None:
        document = {
            "specversion": "1.0",
            "id": uuid4().hex,
            "source": "tests",
            "type": "job_failed",
            "data": {"customer_id": self.customer, "job": {"id": 7, "type": "backup", "status": "failed"}},
            **more,
        }
        message = BrokerMessage(
            body=json.dumps(document).encode(), routing_key="job_failed", headers=headers or {}
        )
        assert self.intake.handle([message] * copies) == [Settle.ACK] * copies

    def admins(self, count: int) -> None:
        for number in range(count):
            add_user(
                self.connection, role="admin", email=f"admin{number}@reader.example", access_to=self.customer
            )

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def road(engine: Engine, connection: Connection) -> Iterator[Road]:
    made = Road(engine, connection)
    yield made
    made.bench.database.close()
    made.intake.close()
    made.tracer.close()


def trace_id(span: ReadableSpan) -> str:
    assert span.context
    return f"{span.context.trace_id:032x}"


def parent_id(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent else None


def length(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time
    assert span.end_time
    return span.start_time, span.end_time


@pytest.mark.parametrize("in_headers", [False, True], ids=["in the event", "in the AMQP headers"])
def test_intake_and_every_try_are_in_the_publishers_trace(road: Road, *, in_headers: bool) -> None:
    road.admins(2)
    if in_headers:
        road.publish(headers={"traceparent": PARENT})
    else:
        road.publish(traceparent=PARENT)
    road.bench.turn()

    (taken,) = road.spans("take in job event")
    tries = road.spans("send mail")
    assert len(tries) == 2
    for span in (taken, *tries):
        assert (trace_id(span), parent_id(span)) == (TRACE, PUBLISHER)
    assert taken.kind == SpanKind.CONSUMER
    assert taken.attributes
    assert taken.attributes["notifier.outcome"] == "accepted"
    for span in tries:
        assert span.context
        parts = [
            part
            for name in ("render mail", "connect", "smtp")
            for part in road.spans(name)
            if part.parent == span.context
        ]
        assert [part.name for part in parts] == ["render mail", "connect", "smtp"]
        times = [time for part in parts for time in length(part)]
        assert times == sorted(times)
        assert length(span)[0] <= times[0]
        assert times[-1] <= length(span)[1]


def test_a_refused_mail_says_so_and_a_second_try_is_another_span(road: Road) -> None:
    road.admins(1)
    road.publish(traceparent=PARENT)
    road.bench.line.steps = [refused(Phase.RCPT, 451), OK]
    road.bench.turn()
    road.connection.exec_driver_sql("UPDATE notification_events SET next_attempt_at = now()")
    road.connection.exec_driver_sql("UPDATE delivery_lanes SET next_due_at = now()")
    road.bench.turn()

    first, second = road.spans("send mail")
    assert first.attributes
    assert second.attributes
    assert (first.status.status_code, second.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    told = ("notifier.attempt", "notifier.result", "notifier.status", "smtp.reply_code")
    assert [first.attributes[name] for name in told] == [1, "transient", "pending", 451]
    assert [second.attributes[name] for name in told] == [2, "sent", "sent", 250]
    assert {trace_id(first), trace_id(second)} == {TRACE}


def test_no_span_names_an_address_or_what_a_server_said(road: Road) -> None:
    road.admins(1)
    road.publish(traceparent=PARENT)
    road.bench.line.steps = [refused(Phase.RCPT, 550, "no admin0@reader.example here")]
    road.bench.turn()
    everything = "\n".join(span.to_json() for span in road.exporter.get_finished_spans())
    assert "permanent_smtp" in everything
    for word in ("admin0", "@", "no admin0", "refused with"):
        assert word not in everything


@pytest.mark.parametrize("more", [{}, {"traceparent": "00-broken"}], ids=["none", "broken"])
def test_without_a_context_that_can_be_read_each_part_is_a_trace_of_its_own(
    road: Road, more: dict[str, str]
) -> None:
    road.admins(1)
    road.publish(headers=None, copies=1, **more)
    road.bench.turn()
    (taken,), (tried,) = road.spans("take in job event"), road.spans("send mail")
    assert taken.parent is None
    assert tried.parent is None
    assert trace_id(taken) != trace_id(tried)


def test_a_publisher_who_does_not_sample_is_obeyed(road: Road) -> None:
    road.admins(1)
    road.publish(traceparent=PARENT[:-2] + "00")
    road.bench.turn()
    assert road.exporter.get_finished_spans() == ()


def test_a_second_copy_of_an_event_is_told_as_one(road: Road) -> None:
    road.publish(traceparent=PARENT, copies=2)
    outcomes = [
        span.attributes and span.attributes["notifier.outcome"] for span in road.spans("take in job event")
    ]
    assert sorted(map(str, outcomes)) == ["duplicate", "no_recipients"]
