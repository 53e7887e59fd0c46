"""What the demo finds in the database and the inbox, and whether it is what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from notifier.sandbox import demo_cast
from notifier.store.tables import job_events, notification_events, rejected_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.engine import Connection

    from notifier.sandbox.demo_cast import Sample
    from notifier.sandbox.stored_mail import StoredMail

_FACTS = ("status", "failure_reason", "attempts", "smtp_code", "rule")


@dataclass(frozen=True, kw_only=True, slots=True)
class LogRow:
    """A row of the event log, with the id its event was published under."""

    id: int
    event_id: str
    customer_id: int
    event_type: str
    address: str
    rule: str
    subject: str
    status: str
    failure_reason: str | None
    error_message: str | None
    attempts: int
    smtp_code: int | None
    message_id: str
    generation: int

    @property
    def key(self) -> tuple[str, str]:
        """Which mail: event type and address."""
        return (self.event_type, self.address)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """The database at one moment. `decisions` are by event id: user id to rule.

    `rejections` are (SHA-256 of the body, reason).
    """

    rows: tuple[LogRow, ...]
    decisions: Mapping[str, Mapping[int, str]]
    rejections: tuple[tuple[bytes, str], ...]

    def of(self, samples: Iterable[Sample]) -> tuple[LogRow, ...]:
        """Return the rows these events made."""
        ids = {sample.event_id for sample in samples}
        return tuple(row for row in self.rows if row.event_id in ids)

    def reasons(self, sample: Sample) -> tuple[str, ...]:
        """Return why this event was rejected, once for each time."""
        return tuple(reason for sha256, reason in self.rejections if sha256 == sample.sha256)

    def settled(self, samples: Sequence[Sample]) -> bool:
        """Whether every event was taken and none of its mails is pending.

        The malformed event comes last, so with its rejection all before it are done.
        """
        done = {sample.event_id for sample in samples if sample.event_type} <= self.decisions.keys()
        return (
            done
            and bool(self.reasons(samples[-1]))
            and all(row.status != "pending" for row in self.of(samples))
        )


def read(connection: Connection) -> Record:
    """Read the log, the decisions and the rejections."""
    log, events = notification_events.c, job_events.c
    rows = connection.execute(
        sa.select(
            log.id,
            events.event_id,
            log.customer_id,
            log.event_type,
            log.recipient_email.label("address"),
            log.rule,
            log.subject,
            log.status,
            log.failure_reason,
            log.error_message,
            log.attempts,
            log.smtp_code,
            log.message_id,
            log.generation,
        )
        .join(job_events, events.id == log.job_event_id)
        .order_by(log.id)
    )
    decided = connection.execute(sa.select(events.event_id, events.decisions))
    rejected = connection.execute(sa.select(rejected_events.c.body_sha256, rejected_events.c.reason))
    return Record(
        rows=tuple(LogRow(**row._mapping) for row in rows),  # noqa: SLF001 - SQLAlchemy's public name
        decisions={
            row.event_id: {user["user_id"]: user["rule"] for user in row.decisions.get("users", ())}
            for row in decided
        },
        rejections=tuple((row.body_sha256, row.reason) for row in rejected),
    )


def differences(
    record: Record, *, samples: Sequence[Sample], mails: Sequence[StoredMail], dead_letters: int
) -> list[str]:
    """Compare with the cast's expectations; each difference is a sentence, none means that all is well."""
    rows = record.of(samples)
    return [
        *_row_differences(rows),
        *_silence_differences(record, samples),
        *_mail_differences(rows, mails),
        *_counted("rejected_events", record.reasons(samples[-1]), (demo_cast.REJECTION,)),
        *_counted("dead letters", dead_letters, 1),
    ]


def _row_differences(rows: Sequence[LogRow]) -> list[str]:
    expected = {one.key: one for one in demo_cast.ROWS}
    actual = {row.key: row for row in rows}
    found = [f"{_name(key)}: there is no row" for key in expected.keys() - actual.keys()]
    found += [f"{_name(key)}: a row that nobody expected" for key in actual.keys() - expected.keys()]
    found += _counted("rows of the event log", len(rows), len(actual))
    for key in expected.keys() & actual.keys():
        for fact in _FACTS:
            is_, should_be = getattr(actual[key], fact), getattr(expected[key], fact)
            if is_ != should_be:
                said = f" ({actual[key].error_message})" if actual[key].error_message else ""
                found.append(f"{_name(key)}: {fact} is {is_}, not {should_be}{said}")
    return sorted(found)


def _silence_differences(record: Record, samples: Sequence[Sample]) -> list[str]:
    ids = {sample.event_type: sample.event_id for sample in samples}
    found = []
    for one in demo_cast.SILENCES:
        rule = record.decisions.get(ids[one.event_type], {}).get(demo_cast.person(one.username).id)
        if rule != one.rule:
            found.append(f"{one.event_type} to {one.username}: the decision is {rule}, not {one.rule}")
    return found


def _mail_differences(rows: Sequence[LogRow], mails: Sequence[StoredMail]) -> list[str]:
    """Every sent row is one mail with its Message-ID in the inbox, every other row none."""
    found = []
    for row in rows:
        copies = sum(mail.message_id == row.message_id for mail in mails)
        found += _counted(f"{_name(row.key)}: mails in the inbox", copies, int(row.status == "sent"))
    return found


def _counted(what: str, is_: object, should_be: object) -> list[str]:
    return [] if is_ == should_be else [f"{what}: {is_}, not {should_be}"]


def _name(key: tuple[str, str]) -> str:
    return f"{key[0]} to {key[1]}"
