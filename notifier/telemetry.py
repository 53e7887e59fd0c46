"""The way of an event as OpenTelemetry spans, in the trace that the publisher began (extra `[otel]`).

    publisher's span ─┬─ take in job event                      from the first look at the message to the commit
                      └─ send mail, once per try ─┬─ render mail
                                                  ├─ connect    shared by the mails of a batch
                                                  └─ smtp       MAIL … the server's answer

The parent is the event's `traceparent`; an event without one begins traces of its own. Attributes name ids and
outcomes, never an address, a subject or what a server said.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from notifier.domain.events import UnknownEvent
from notifier.tracing import Tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

    from notifier.domain.events import JobEvent
    from notifier.domain.outcomes import Settlement, Verdict
    from notifier.store.claims import Batch, Mail

FLUSH_SECONDS = 2.0  # at the end of the process

_CONTEXT = TraceContextTextMapPropagator()


class _Stretches(threading.local):
    """What a thread did with its batch, as (began, ended) in nanoseconds of Unix time."""

    began = 0
    connect: tuple[int, int] | None = None

    def __init__(self) -> None:
        self.render: dict[int, tuple[int, int]] = {}
        self.smtp: dict[int, tuple[int, int]] = {}


class OpenTelemetryTracer(Tracer):
    """Makes spans of what it is told, each when it is over. now: Unix time in nanoseconds."""

    def __init__(self, provider: TracerProvider, *, now: Callable[[], int] = time.time_ns) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("notifier")
        self._now = now
        self._mine = _Stretches()

    @classmethod
    def exporting(cls, release: str) -> OpenTelemetryTracer:
        """Return one that sends its spans to a collector, as the OTEL_… variables of the environment say."""
        own = Resource({"service.name": "notifier", "service.version": release})
        # Its own hook at the end of the process would wait half a minute for a collector that is away.
        provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def intake_began(self) -> None:
        """Note the time."""
        self._mine.began = self._now()

    def event_taken(self, event: JobEvent | UnknownEvent, outcome: str) -> None:
        """Make the span of the intake."""
        parent = _parent(event.document)
        facts = {
            "messaging.system": "rabbitmq",
            "cloudevents.event_id": event.id,
            "cloudevents.event_source": event.source,
            "cloudevents.event_type": "other" if isinstance(event, UnknownEvent) else event.type,
            "notifier.customer_id": event.customer_id,
            "notifier.outcome": outcome,
        }
        span = self._tracer.start_span(
            "take in job event",
            context=parent,
            kind=SpanKind.CONSUMER,
            start_time=self._mine.began,
            attributes=_known(facts),
        )
        span.end(self._now())

    def delivery_began(self) -> None:
        """Note the time and forget the batch before."""
        mine = self._mine
        mine.began = self._now()
        mine.connect = None
        mine.render.clear()
        mine.smtp.clear()

    @contextmanager
    def rendering(self, mail: Mail) -> Iterator[None]:
        """Time it."""
        began = self._now()
        try:
            yield
        finally:
            self._mine.render[mail.id] = (began, self._now())

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Time it."""
        began = self._now()
        try:
            yield
        finally:
            self._mine.connect = (began, self._now())

    @contextmanager
    def sending(self, mail: Mail) -> Iterator[None]:
        """Time it."""
        began = self._now()
        try:
            yield
        finally:
            self._mine.smtp[mail.id] = (began, self._now())

    def attempted(self, batch: Batch, mail: Mail, verdict: Verdict, settlement: Settlement) -> None:
        """Make the span of the try, with its parts."""
        mine = self._mine
        facts = {
            "notifier.mail_id": mail.id,
            "notifier.job_event_id": mail.job_event_id,
            "notifier.customer_id": batch.customer_id,
            "notifier.server_id": batch.server_id,
            "notifier.event_type": mail.event_type,
            "notifier.attempt": mail.attempts + 1,
            "notifier.result": verdict.kind.value,
            "notifier.status": settlement.status,
            "notifier.failure_reason": settlement.failure_reason,
            "smtp.reply_code": settlement.reply.code if settlement.reply else None,
        }
        span = self._tracer.start_span(
            "send mail",
            context=_parent(batch.document(mail)),
            start_time=mine.began,
            attributes=_known(facts),
        )
        inside = trace.set_span_in_context(span)
        bad = None
        if settlement.status != "sent":
            bad = Status(StatusCode.ERROR, settlement.failure_reason or verdict.kind.value)
            span.set_status(bad)
        sending = mine.smtp.get(mail.id)
        self._part("render mail", mine.render.get(mail.id), inside)
        self._part("connect", mine.connect, inside)
        self._part("smtp", sending, inside, kind=SpanKind.CLIENT, status=bad)
        span.end(sending[1] if sending else self._now())

    def _part(
        self,
        name: str,
        stretch: tuple[int, int] | None,
        inside: Context,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        status: Status | None = None,
    ) -> None:
        if stretch is None:
            return
        part = self._tracer.start_span(name, context=inside, kind=kind, start_time=stretch[0])
        if status is not None:
            part.set_status(status)
        part.end(stretch[1])

    def close(self) -> None:
        """Send what waits to the collector, or give it up when that takes too long."""
        ending = threading.Thread(target=self._provider.shutdown, name="telemetry-end", daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)


def _parent(document: Mapping[str, object]) -> Context:
    """Return the publisher's context; an empty one when it gave none, or none that can be read."""
    carrier = {key: str(document[key]) for key in ("traceparent", "tracestate") if document.get(key)}
    return _CONTEXT.extract(carrier)


def _known(facts: Mapping[str, AttributeValue | None]) -> dict[str, AttributeValue]:
    return {name: value for name, value in facts.items() if value is not None}
