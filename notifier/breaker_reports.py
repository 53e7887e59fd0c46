"""What a batch tells the breaker of its server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from notifier.domain.errors import DatabaseUnavailable
from notifier.domain.outcomes import BreakerEffect, Kind
from notifier.store import breakers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifier.domain.outcomes import Verdict
    from notifier.store.claims import Batch
    from notifier.store.engine import OwnConnection

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakerRules:
    """How long a breaker stays open: seconds at first and at most, config_… after a fault of the settings.

    jitter is a share of them (0.2 = ±20 %).
    """

    initial: float
    maximum: float
    config_initial: float
    config_maximum: float
    jitter: float


class BreakerReports:
    """Counts faults and successes at the breakers; threads may share it. chance is in [0, 1)."""

    def __init__(self, rules: BreakerRules, chance: Callable[[], float]) -> None:
        self._rules = rules
        self._chance = chance

    def tell(self, database: OwnConnection, batch: Batch, verdicts: Sequence[Verdict]) -> None:
        """Count the worst fault of the batch once; a success closes what an earlier fault had opened."""
        bad = worst(verdicts)
        succeeded = any(verdict.kind == Kind.SENT for verdict in verdicts)
        try:
            if succeeded and (batch.needs_success or bad is not None):
                database.run(breakers.success, batch.server_id)
            if bad is not None:
                refusals = sum(verdict.breaker == BreakerEffect.STREAK for verdict in verdicts)
                self._count(database, batch, bad, refusals=0 if succeeded else refusals)
        except DatabaseUnavailable as exc:
            _log.warning("breaker_not_told", server_id=batch.server_id, error=str(exc))

    def _count(self, database: OwnConnection, batch: Batch, bad: Verdict, *, refusals: int) -> None:
        rules = self._rules
        config = bad.breaker == BreakerEffect.OPEN_CONFIG
        opened = database.run(
            breakers.fault,
            batch.server_id,
            message=bad.message,
            reason=bad.failure_reason if config else None,
            soft=bad.breaker == BreakerEffect.SOFT,
            refusals=refusals,
            at_once=config,
            initial=rules.config_initial if config else rules.initial,
            maximum=rules.config_maximum if config else rules.maximum,
            stretch=1 + rules.jitter * (2 * self._chance() - 1),
        )
        if opened:
            _log.warning(
                "breaker_opened", server_id=batch.server_id, customer_id=batch.customer_id, error=bad.message
            )


def worst(verdicts: Sequence[Verdict]) -> Verdict | None:
    """Return the verdict a breaker must hear of: one fault is one count, however many mails it touched."""
    for effect in (BreakerEffect.OPEN_CONFIG, BreakerEffect.SOFT, BreakerEffect.STREAK):
        found = [verdict for verdict in verdicts if verdict.breaker == effect]
        if found:
            return found[-1]
    return None
