"""Takes the next batch for a sender: the lane that waited longest, and what helps when it cannot be had."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from notifier.delivery import STAMP_ROWS
from notifier.domain.errors import DatabaseUnavailable
from notifier.store import claims

if TYPE_CHECKING:
    import threading
    from uuid import UUID

    from notifier.domain.errors import LaneFault
    from notifier.metrics import Metrics
    from notifier.pace import Pace
    from notifier.store.claims import Batch
    from notifier.store.engine import OwnConnection
    from notifier.waits import Waits

CLAIM_ROWS = 32
# A row may wait for its stamp behind a mail that takes nearly a whole lease.
_LEASES_OF_A_CLAIM = 1.5
_LANE_LOCKED_PAUSE = 0.003  # seconds; another claim holds the lane for about as long
_GIVE_BACK_PAUSES = (0.1, 0.25, 0.5, 1.0, 2.0)  # seconds

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimRules:
    """What a claim needs to know; lease in seconds. worker names this process in the log rows it holds.

    connections caps the batches of one server over all workers. alone makes every batch one mail.
    """

    worker: str
    lease: float
    connections: int
    alone: bool


class Claimer:
    """Claims batches; shared by all sender threads, each with a database connection of its own.

    pace and waits know which servers get small batches or none. stopping ends every pause.
    """

    def __init__(
        self, *, rules: ClaimRules, pace: Pace, waits: Waits, metrics: Metrics, stopping: threading.Event
    ) -> None:
        self._rules = rules
        self._pace = pace
        self._waits = waits
        self._metrics = metrics
        self._stopping = stopping

    def claim(self, database: OwnConnection, token: UUID, *, unproven: bool) -> Batch | None:
        """Take the lane that waited longest; None when there is none to be had.

        unproven says whether it may be one of a server without a success since its last fault.
        Raises DatabaseUnavailable, and LaneFault when that lane's rows cannot be claimed.
        """
        rules = self._rules
        try:
            batch = database.run(
                claims.claim,
                token=token,
                worker=rules.worker,
                lease=rules.lease * _LEASES_OF_A_CLAIM,
                limit=CLAIM_ROWS,
                connections=rules.connections,
                unproven=unproven,
                alone=rules.alone,
                slow=self._slow_servers(),
            )
        except DatabaseUnavailable:
            # The claim may be committed although its answer was lost: give the rows back rather than let them wait
            # half a minute for the silence to be noticed.
            self._give_back(database, token)
            raise
        self._metrics.claimed(len(batch.mails) if batch else 0)
        return batch

    def pass_over(self, database: OwnConnection, fault: LaneFault) -> None:
        """Have what cannot be claimed left out, so that the customer's other mails leave, and nobody else waits."""
        for row_id, error in database.run(claims.pass_over, fault, limit=CLAIM_ROWS):
            if row_id is None:
                _log.error("customer_put_off", customer_id=fault.customer_id, error=error)
            else:
                _log.error("mail_stuck", mail_id=row_id, customer_id=fault.customer_id, error=error)

    def lane_was_locked(self, database: OwnConnection, *, unproven: bool) -> bool:
        """Tell whether to look again at once: a lane that another claim held for a moment looks like an empty one."""
        slow, connections = self._slow_servers(), self._rules.connections
        if not database.run(claims.claimable, connections=connections, unproven=unproven, slow=slow):
            return False
        self._metrics.claim_locked()
        self._stopping.wait(_LANE_LOCKED_PAUSE)
        return True

    def _slow_servers(self) -> str:
        """Return batch sizes of slow servers, and 0 for those that hang, as `claims.claim` takes it."""
        sizes = self._pace.small_batches(STAMP_ROWS) | dict.fromkeys(map(str, self._waits.unreachable()), 0)
        return json.dumps(sizes)

    def _give_back(self, database: OwnConnection, token: UUID) -> None:
        for pause in _GIVE_BACK_PAUSES:
            try:
                database.run(claims.release, token=token)
            except DatabaseUnavailable:
                self._stopping.wait(pause)
            else:
                return
