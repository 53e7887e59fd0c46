"""How much is waiting, as one value: for metrics, health and the status line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """Mails not finished yet (`pending`), those of them whose time has come (`due`), and what holds them up.

    Ages are in seconds, 0 where there is no such mail: since the oldest pending mail was made, since the
    mail that is due the longest could have been sent (no breaker held it), and since the oldest mail was made whose
    server has had faults and no success after them (open or half-open breaker).
    """

    pending: int
    due: int
    oldest_pending_age: float
    oldest_due_age: float
    oldest_held_age: float
    breakers_open: int
