"""What a worker does with the rows of the log, step by step, as tests of the store want it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from notifier.domain.outcomes import Reply, Settlement
from notifier.store import claims, sweep
from notifier.store.stuck_rows import StuckRows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

SENT: Final = Settlement(
    status="sent",
    failure_reason=None,
    delay=None,
    attempt_kept=True,
    ambiguous=False,
    expiry_reason=None,
    message=None,
    reply=Reply(code=250, enhanced="2.0.0", text="Ok"),
)


def claim(
    connection: Connection,
    token: UUID | None = None,
    *,
    connections: int = 4,
    unproven: bool = True,
    alone: bool = False,
    slow: str = "{}",
) -> claims.Batch | None:
    """Take the lane that waited longest, as a worker alone in the world would."""
    return claims.claim(
        connection,
        token=token or uuid4(),
        worker="test",
        lease=480,
        limit=16,
        connections=connections,
        unproven=unproven,
        alone=alone,
        slow=slow,
    )


def stuck_rows() -> StuckRows:
    """As a sweeper has them when it starts."""
    return StuckRows(clock=time.monotonic, tell=lambda _id, _reason: None)


def take_back(connection: Connection, *, stuck: StuckRows | None = None) -> sweep.TakenBack:
    """Free the rows of lost workers."""
    return sweep.take_back(
        connection,
        max_attempts=5,
        max_ambiguous=2,
        ambiguous_delay=300,
        fail_ambiguous=False,
        stuck=stuck or stuck_rows(),
    )
