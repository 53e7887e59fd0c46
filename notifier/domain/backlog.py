"""How much is waiting, as one value: for metrics, health and the status line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """Mails not finished yet (`pending`), those of them whose time has come (`due`), and what holds them up.

    `oldest_pending_age` is in seconds, 0 when nothing is pending.
    """

    pending: int
    due: int
    oldest_pending_age: float
    breakers_open: int
