"""What becomes of a row after one result: the retry schedule and the last word. Pure.

    SmtpFault or final Reply ── classify ──► Verdict ── settle ──► Settlement (what is written to the row)

`classify` is the table of phases and replies, `settle` knows `[delivery]`: attempts, delays, ambiguous ends. This
module is the door to both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from notifier.domain.replies import Reply
from notifier.domain.verdicts import BreakerEffect, Kind, Verdict, classify

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.domain.vocabulary import FailureReason, Status

__all__ = [
    "BreakerEffect",
    "Kind",
    "Reply",
    "RetryPolicy",
    "Settlement",
    "Verdict",
    "backoff",
    "classify",
    "settle",
]

_NAMED_AT_EXPIRY = frozenset({Kind.CONFIG, Kind.AMBIGUOUS})
# The breaker holds a misconfigured server; its mails stay due, so that a corrected setting sends them at once.
_DUE_AT_ONCE = frozenset({Kind.RELEASED, Kind.CONFIG})
SENDER_REFUSED_TRIES = 2  # a 5yz at MAIL is about the sender, not this mail; one repeat, then it stands


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """The retry keys of `[delivery]`; times in seconds, `jitter` a share of the delay (0.2 = ±20 %)."""

    max_attempts: int
    backoff_initial: float
    backoff_factor: float
    backoff_max: float
    jitter: float
    greylist_delay: float
    ambiguous_delay: float
    max_ambiguous: int
    on_ambiguous: Literal["retry", "fail"]


class Settlement(NamedTuple):
    """What to write to the row.

    `delay` is the seconds until a pending row is due again, None for a final one. `attempt_kept` false gives
    back the attempt the stamp counted; `ambiguous` true adds one to `ambiguous_count`. `expiry_reason` is the
    reason a pending row gets should it expire before the next attempt; None: `expired`. A pending row keeps its last
    error where `message` is None.
    """

    status: Status
    failure_reason: FailureReason | None
    delay: float | None
    attempt_kept: bool
    ambiguous: bool
    expiry_reason: FailureReason | None
    message: str | None
    reply: Reply | None


def backoff(attempt: int, policy: RetryPolicy, chance: Callable[[], float]) -> float:
    """Return the seconds after failed attempt `attempt` (from 1); `chance()` is in [0, 1)."""
    delay = policy.backoff_initial
    for _ in range(attempt - 1):
        delay = min(delay * policy.backoff_factor, policy.backoff_max)
        if delay >= policy.backoff_max:
            break
    return min(delay, policy.backoff_max) * (1 + policy.jitter * (2 * chance() - 1))


def settle(
    verdict: Verdict,
    *,
    attempts: int,
    stamped: bool,
    ambiguous_count: int,
    policy: RetryPolicy,
    chance: Callable[[], float],
) -> Settlement:
    """Decide what becomes of the row.

    `attempts` includes the one the stamp counted, if `stamped`. `ambiguous_count` is what the row holds now.
    """
    kept = verdict.counts_attempt or not stamped
    counted = attempts if kept else attempts - 1
    reason = _final_reason(verdict, counted, ambiguous_count, policy)
    final = reason is not None or verdict.kind == Kind.SENT
    return Settlement(
        status="sent" if verdict.kind == Kind.SENT else "failed" if reason else "pending",
        failure_reason=reason,
        delay=None if final else _delay(verdict, counted, policy, chance),
        attempt_kept=kept,
        ambiguous=verdict.kind == Kind.AMBIGUOUS,
        expiry_reason=verdict.failure_reason if not final and verdict.kind in _NAMED_AT_EXPIRY else None,
        message=None if verdict.kind == Kind.SENT else verdict.message or None,
        reply=verdict.reply,
    )


def _final_reason(
    verdict: Verdict, counted: int, ambiguous_count: int, policy: RetryPolicy
) -> FailureReason | None:
    """Return why the row ends now as failed, None if it does not."""
    reason: FailureReason = verdict.failure_reason or "attempts_exhausted"
    no_attempt_left = counted >= policy.max_attempts or policy.max_attempts == 1
    match verdict.kind:
        case Kind.SENT | Kind.RELEASED:
            return None
        case Kind.PERMANENT:
            ends = True
        case Kind.AMBIGUOUS:
            ends = policy.on_ambiguous == "fail" or ambiguous_count >= policy.max_ambiguous or no_attempt_left
        case _:
            tried_enough = reason == "sender_refused" and counted >= SENDER_REFUSED_TRIES
            ends = tried_enough or no_attempt_left
    return reason if ends else None


def _delay(verdict: Verdict, counted: int, policy: RetryPolicy, chance: Callable[[], float]) -> float:
    if verdict.kind in _DUE_AT_ONCE:
        return 0.0
    return max(
        backoff(max(counted, 1), policy, chance),
        verdict.min_delay,
        policy.greylist_delay if verdict.greylisted else 0.0,
        policy.ambiguous_delay if verdict.kind == Kind.AMBIGUOUS else 0.0,
    )
