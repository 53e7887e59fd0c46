"""Every try to send a mail is one complete log line and a few counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from notifier.domain.outcomes import BreakerEffect, Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from notifier.domain.outcomes import Settlement, Verdict
    from notifier.metrics import Metrics
    from notifier.store.claims import Batch, Mail
    from notifier.tracing import Tracer

_LEVELS = {"sent": 20, "pending": 30, "failed": 30}  # INFO, WARNING, WARNING

_log = structlog.get_logger(__name__)


class Attempts:
    """Tells log, metrics and tracer of attempts; threads may share it. now tells the time of day."""

    def __init__(self, *, metrics: Metrics, tracer: Tracer, now: Callable[[], datetime]) -> None:
        self._metrics = metrics
        self._tracer = tracer
        self._now = now
        self._log = _log.bind()  # made once: it takes as long as a sixth of a line

    def ended(self, batch: Batch, mail: Mail, verdict: Verdict, settlement: Settlement) -> None:
        """Tell how an attempt ended. A mail that did not get its turn had none."""
        if verdict.kind == Kind.RELEASED:
            return
        self._metrics.attempt(verdict.kind)
        self._tracer.attempted(batch, mail, verdict, settlement)
        if settlement.status == "failed" and settlement.failure_reason is not None:
            self._metrics.mail_failed(settlement.failure_reason)
        elif settlement.status == "sent":
            self._metrics.mail_sent((self._now() - mail.created_at).total_seconds())
        reply = settlement.reply
        self._log.log(
            _LEVELS[settlement.status],
            "mail_" + settlement.status,
            mail_id=mail.id,
            job_event_id=mail.job_event_id,
            customer_id=batch.customer_id,
            event_type=mail.event_type,
            recipient_email=mail.recipient_email,
            message_id=mail.message_id,
            trace_id=mail.trace_id,
            attempt=mail.attempts + 1,
            result=verdict.kind.value,
            failure_reason=settlement.failure_reason,
            retry_in=_retry_in(verdict, settlement),
            smtp_code=reply.code if reply else None,
            error=settlement.message,
        )


def _retry_in(verdict: Verdict, settlement: Settlement) -> float | None:
    """Seconds until the next try; None where there is none, or where the breaker decides, which opens now."""
    if settlement.delay is None or verdict.breaker == BreakerEffect.OPEN_CONFIG:
        return None
    return round(settlement.delay, 1)
