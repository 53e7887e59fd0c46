"""What the worker counts and measures, for Prometheus: one object, made once and handed around.

Labels come from closed lists only (event type, outcome, reason, step): never a customer, a job, an address. The one
exception is the id of a mail server at its certificate, for few servers (`certificates`).
Every labelled series exists from the start at zero, so that a first failure is a rise and not a new series. A gauge
that nobody has measured yet is NaN, so that a start is not taken for a fall to zero and a rise from it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from notifier.certificates import Certificates
from notifier.domain.outcomes import Kind
from notifier.domain.vocabulary import (
    EVENT_TYPES,
    FAILURE_REASONS,
    INBOX_OUTCOMES,
    REJECTION_REASONS,
    FailureReason,
    InboxOutcome,
    RejectionReason,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.domain.backlog import Backlog

OTHER_TYPE = "other"  # any event type that is not ours; its name could be anything
NO_REASON = "none"  # the failure_reason of a mail that was sent

ClaimResult = Literal["rows", "nothing", "locked"]
CLAIM_RESULTS: tuple[ClaimResult, ...] = get_args(ClaimResult)
ConsumerStateName = Literal["connecting", "consuming", "paused", "draining", "stopped"]
CONSUMER_STATES: tuple[ConsumerStateName, ...] = get_args(ConsumerStateName)
SmtpStep = Literal["connect", "send"]
SMTP_STEPS: tuple[SmtpStep, ...] = get_args(SmtpStep)
Service = Literal["broker", "database"]
SERVICES: tuple[Service, ...] = get_args(Service)

_STEP_BUCKETS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_LATENCY_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 86400)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """All series of one process in `registry`; every method may be called from any thread. now: Unix time."""

    def __init__(self, *, version: str, now: Callable[[], float] = time.time) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._now = now
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._certificates = Certificates(now=now)
        self.registry.register(self._certificates)
        self._intake()
        self._delivery()
        self._state(version)

    def _intake(self) -> None:
        events = self._counter(
            "events",
            "Job events taken in, by type and outcome.",
            event_type=(*EVENT_TYPES, OTHER_TYPE),
            outcome=INBOX_OUTCOMES,
        )
        self._event = {
            (event_type, outcome): events.labels(event_type, outcome)
            for event_type in (*EVENT_TYPES, OTHER_TYPE)
            for outcome in INBOX_OUTCOMES
        }
        self.rejections = 0  # of this process: a reason to count the dead letters again
        self._rejected = self._counter(
            "events_rejected",
            "Broker messages sent to the dead-letter queue, by reason.",
            reason=REJECTION_REASONS,
        )
        self._duplicates = self._counter("events_duplicate", "Job events that had been taken in before.")
        self._intake_batch = self._histogram(
            "intake_batch_events", "Broker messages in one transaction.", _BATCH_BUCKETS
        )

    def _delivery(self) -> None:
        self._finished = Counter(
            "notifier_mails_finished",
            "Mails that ended sent or failed, by failure reason.",
            ("status", "failure_reason"),
            registry=self.registry,
        )
        self._sent = self._finished.labels("sent", NO_REASON)
        for reason in FAILURE_REASONS:
            self._finished.labels("failed", reason)
        attempts = self._counter(
            "mail_attempts", "Tries to send a mail, by result.", result=tuple(kind.value for kind in Kind)
        )
        self._attempt = {kind: attempts.labels(kind.value) for kind in Kind}
        self._ambiguous = self._counter(
            "mails_ambiguous", "Times nobody knew whether the server took a mail; bounds the extra copies."
        )
        claims = self._counter("claims", "Looks for due mails, by result.", result=CLAIM_RESULTS)
        self._claims = {result: claims.labels(result) for result in CLAIM_RESULTS}
        self._claim_rows = self._histogram("claim_batch_mails", "Mails in one claim.", _BATCH_BUCKETS)
        steps = self._histogram(
            "smtp_step_seconds",
            "Time until a connection was ready (connect) and until a mail was answered (send).",
            _STEP_BUCKETS,
            "step",
        )
        self._step = {step: steps.labels(step) for step in SMTP_STEPS}
        self._latency = self._histogram(
            "delivery_latency_seconds",
            "Time from taking in the event to the server's acceptance.",
            _LATENCY_BUCKETS,
        )

    def _state(self, version: str) -> None:
        self._pending = self._gauge("mails_pending", "Mails that are not sent or failed yet.")
        self._due = self._gauge("mails_due", "Pending mails whose time has come.")
        self._oldest = self._gauge("oldest_pending_age_seconds", "Age of the oldest pending mail.")
        self._oldest_due = self._gauge(
            "oldest_due_age_seconds",
            "How long a sender has been wanted for the mail that is due the longest; none that a breaker holds.",
        )
        self._oldest_held = self._gauge(
            "oldest_held_age_seconds",
            "Age of the oldest pending mail whose server has an open or half-open breaker.",
        )
        self._database_seen = self._gauge(
            "database_last_success_timestamp_seconds",
            "When the background check last reached the database, Unix time.",
        )
        self._turned = self._gauge(
            "main_loop_last_turn_timestamp_seconds",
            "When the main loop last went round with every thread alive, Unix time.",
        )
        self._breakers = self._gauge(
            "breakers_open", "Mail servers that are not tried for now, after faults."
        )
        self._dead_letters = self._gauge("dead_letters", "Messages in the dead-letter queue.")
        self._consumer = Gauge(
            "notifier_consumer_state",
            "1 for the state the consumer is in.",
            ("state",),
            registry=self.registry,
        )
        self.consumer_is("connecting")
        self._links_lost = self._counter(
            "links_lost",
            "Times the worker lost the broker, or a sender thread the database.",
            service=SERVICES,
        )
        build = Gauge(
            "notifier_build_info", "1, with the running version.", ("version",), registry=self.registry
        )
        build.labels(version).set(1)

    def _counter(self, name: str, text: str, **labels: tuple[str, ...]) -> Counter:
        counter = Counter(f"notifier_{name}", text, tuple(labels), registry=self.registry)
        combinations: list[tuple[str, ...]] = [()]
        for values in labels.values():
            combinations = [(*given, value) for given in combinations for value in values]
        for combination in combinations if labels else ():
            counter.labels(*combination)
        return counter

    def _gauge(self, name: str, text: str) -> Gauge:
        gauge = Gauge(f"notifier_{name}", text, registry=self.registry)
        gauge.set(float("nan"))
        return gauge

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"notifier_{name}", text, labels, buckets=buckets, registry=self.registry)

    def event_taken(self, event_type: str, outcome: InboxOutcome) -> None:
        """Count one job event; a type that is not ours counts as `other`."""
        known = self._event.get((event_type, outcome)) or self._event[OTHER_TYPE, outcome]
        known.inc()

    def event_rejected(self, reason: RejectionReason) -> None:
        """Count one broker message that went to the dead-letter queue."""
        self._rejected.labels(reason).inc()
        self.rejections += 1

    def event_duplicate(self) -> None:
        """Count one job event that had been taken in before."""
        self._duplicates.inc()

    def intake_batch(self, size: int) -> None:
        """Measure one intake transaction of `size` broker messages."""
        self._intake_batch.observe(size)

    def claimed(self, rows: int) -> None:
        """Count a claim that got `rows` mails, or a look at nothing due (0)."""
        self._claims["rows" if rows else "nothing"].inc()
        if rows:
            self._claim_rows.observe(rows)

    def claim_locked(self) -> None:
        """Count a look that found only lanes locked by others."""
        self._claims["locked"].inc()

    def attempt(self, kind: Kind) -> None:
        """Count one try to send a mail."""
        self._attempt[kind].inc()
        if kind is Kind.AMBIGUOUS:
            self._ambiguous.inc()

    def ambiguous_found(self, count: int = 1) -> None:
        """Count ambiguous mails that a sweep found: their worker died after the handoff."""
        self._ambiguous.inc(count)

    def mail_sent(self, latency: float) -> None:
        """Count one mail the server took, `latency` seconds after the event was taken in."""
        self._sent.inc()
        self._latency.observe(latency)

    def mail_failed(self, reason: FailureReason, count: int = 1) -> None:
        """Count mails that ended failed."""
        self._finished.labels("failed", reason).inc(count)

    def smtp_step(self, step: SmtpStep, seconds: float) -> None:
        """Measure how long a connection took to be ready, or one mail to be answered."""
        self._step[step].observe(seconds)

    def backlog(self, backlog: Backlog) -> None:
        """Show what the background check found in the database."""
        self._database_seen.set(self._now())
        self._pending.set(backlog.pending)
        self._due.set(backlog.due)
        self._oldest.set(backlog.oldest_pending_age)
        self._oldest_due.set(backlog.oldest_due_age)
        self._oldest_held.set(backlog.oldest_held_age)
        self._breakers.set(backlog.breakers_open)

    def dead_letters(self, count: int) -> None:
        """Show how many messages wait in the dead-letter queue."""
        self._dead_letters.set(count)

    def main_loop_turned(self) -> None:
        """The main loop went round once more, and every thread is alive."""
        self._turned.set(self._now())

    def certificate_seen(self, server_id: int, ends: float) -> None:
        """A mail server showed a certificate that ends at this Unix time."""
        self._certificates.seen(server_id, ends)

    def consumer_is(self, state: ConsumerStateName) -> None:
        """Show the state of the broker consumer."""
        for name in CONSUMER_STATES:
            self._consumer.labels(name).set(name == state)

    def link_lost(self, service: Service) -> None:
        """Count one connection that was lost, or could not be made when a sender wanted it."""
        self._links_lost.labels(service).inc()

    def exposition(self) -> tuple[bytes, str]:
        """Return the page for Prometheus and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
