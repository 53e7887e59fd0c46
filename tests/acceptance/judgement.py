"""Judges a finished run by the invariants I1 to I6, as one pure function over what was recorded outside the worker."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One event the broker confirmed: its identity, and who must get a row."""

    customer_id: int
    event_id: str
    recipients: frozenset[str]
    source: str = "tests/jobs"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the event log."""

    customer_id: int
    event_id: str
    recipient: str
    generation: int
    status: str
    failure_reason: str | None
    ambiguous_count: int
    attempts: int
    message_id: str
    source: str = "tests/jobs"


@dataclass(frozen=True, kw_only=True)
class History:
    """All that was seen. accepted: how often each Message-ID was taken. queued: messages left in the main queue."""

    events: Sequence[Expected]
    rows: Sequence[Row]
    accepted: Mapping[str, int]
    queued: int = 0
    dead: int = 0
    dead_expected: int = 0
    max_ambiguous: int = 2
    canaries: Mapping[str, bool] = field(default_factory=dict)  # secret -> was it found anywhere?


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a run cost. violations is empty when every invariant held."""

    lost: int
    extra: int
    ambiguous: int
    stuck: int
    violations: tuple[str, ...]


def judge(history: History) -> Verdict:
    """Return the verdict over one history."""
    violations = [
        *_one_row_each(history),
        *_all_final(history),
        *_sent_means_accepted(history),
        *_copies_are_accounted_for(history),
        *_queues(history),
        *_identifiers_and_secrets(history),
    ]
    extra = sum(max(0, history.accepted.get(row.message_id, 0) - 1) for row in history.rows)
    lost = sum(row.status == "sent" and not history.accepted.get(row.message_id) for row in history.rows)
    missing = sum(line.startswith("I1: no row") for line in violations)
    return Verdict(
        lost=lost + missing,
        extra=extra,
        ambiguous=sum(row.ambiguous_count for row in history.rows),
        stuck=sum(row.status == "pending" for row in history.rows),
        violations=tuple(violations),
    )


def _one_row_each(history: History) -> list[str]:
    """I1: every confirmed acceptable event and selected recipient has exactly one row of generation 0."""
    found = Counter(
        (r.customer_id, r.source, r.event_id, r.recipient) for r in history.rows if r.generation == 0
    )
    wanted = {
        (event.customer_id, event.source, event.event_id, recipient)
        for event in history.events
        for recipient in event.recipients
    }
    missing = [f"I1: no row for {key}" for key in sorted(wanted - found.keys())]
    surplus = [f"I1: {count} rows for {key}" for key, count in sorted(found.items()) if count > 1]
    foreign = [f"I1: a row nobody asked for: {key}" for key in sorted(found.keys() - wanted)]
    return missing + surplus + foreign


def _all_final(history: History) -> list[str]:
    """I2: no row is pending."""
    return [f"I2: pending: {row}" for row in history.rows if row.status == "pending"]


def _sent_means_accepted(history: History) -> list[str]:
    """I3: sent means accepted at least once; refused for good means never, unless an earlier try was ambiguous."""
    found = []
    for row in history.rows:
        copies = history.accepted.get(row.message_id, 0)
        if row.status == "sent" and copies == 0:
            found.append(f"I3: sent but never accepted: {row}")
        if row.failure_reason == "permanent_smtp" and copies and not row.ambiguous_count:
            found.append(f"I3: refused for good but accepted: {row}")
    return found


def _copies_are_accounted_for(history: History) -> list[str]:
    """I4: extra copies are at most the ambiguous ends, and at most max_ambiguous per row."""
    found = []
    for row in history.rows:
        extra = history.accepted.get(row.message_id, 0) - 1
        if extra > min(row.ambiguous_count, history.max_ambiguous):
            found.append(f"I4: {extra} extra copies with {row.ambiguous_count} ambiguous ends: {row}")
    return found


def _queues(history: History) -> list[str]:
    """I5: the main queue is empty and the dead-letter queue holds what it should."""
    found = []
    if history.queued:
        found.append(f"I5: {history.queued} messages left in the queue")
    if history.dead != history.dead_expected:
        found.append(f"I5: {history.dead} dead letters, expected {history.dead_expected}")
    return found


def _identifiers_and_secrets(history: History) -> list[str]:
    """I6: one Message-ID per row, and no secret anywhere."""
    known = Counter(row.message_id for row in history.rows)
    found = [f"I6: {count} rows share {message_id}" for message_id, count in known.items() if count > 1]
    found += [
        f"I6: accepted a mail no row knows: {mid}" for mid in sorted(set(history.accepted) - set(known))
    ]
    found += [f"I6: a secret was found in {where}" for where, leaked in history.canaries.items() if leaked]
    return found
