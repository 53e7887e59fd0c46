"""The one error tree. Foreign exceptions become one of these where their library is imported.

NotifierError
├── ConfigurationError      the operator must change something; exit code 78
│   ├── TopologyMismatch    a broker object exists with other arguments
│   └── BrokerRefused       login or permission refused by the broker
├── InvalidEvent            a broker message that can never be accepted; carries the closed reason
├── InvalidAddress          not exactly one plain mailbox
├── SmtpFault               one SMTP conversation went wrong; carries phase, cause and reply
├── RenderError             a template broke on this event
├── HeaderInjection         the serialised mail has a header we did not write
├── SecretUnreadable        a stored password cannot be decrypted with the keys we hold
├── DatabaseUnavailable     the database cannot do it now; the same call may work later
│   ├── RightMissing        this login may not do that
│   ├── RowsUnavailable     it is at work, but not with these rows: locked, damaged or refused by a trigger
│   └── SchemaDamaged       a table, column or function is missing; a worker that runs waits for it all the same
├── LaneFault               the mails of one customer cannot be claimed; those of others can
├── DataRejected            the database refuses these values for good, or the driver cannot write them
├── BrokerUnavailable       the broker cannot do it now
│   ├── NotAccepted         it answered a published event with a nack
│   └── ConfirmMissing      no confirm came: the event may or may not be on its queue
├── Unroutable              a published event reached no queue
├── NotFound                the thing a command names does not exist
└── InvalidInput            a command or request asks for what the rules forbid; carries a sentence per field
    └── InvalidLines        the same of an import, by line and field
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from notifier.domain.outcomes import Reply
    from notifier.domain.vocabulary import FaultCause, Phase, RejectionReason


class NotifierError(Exception):
    """Anything this program knows how to name."""


class ConfigurationError(NotifierError):
    """One or more settings must be changed by a person. `problems` holds one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class TopologyMismatch(ConfigurationError):
    """A queue or exchange exists with other arguments than ours."""


class BrokerRefused(ConfigurationError):
    """The broker refused the login or a permission."""


class InvalidEvent(NotifierError):
    """This broker message can never be accepted: it goes to the dead-letter queue with `reason`."""

    def __init__(self, reason: RejectionReason, detail: str, *, event_id: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.event_id = event_id


class InvalidAddress(NotifierError):
    """The text is not exactly one plain mailbox."""


class SmtpFault(NotifierError):
    """One SMTP conversation failed in `phase` because of `cause`; `reply` is the server's answer, if any."""

    def __init__(self, *, phase: Phase, cause: FaultCause, detail: str, reply: Reply | None = None) -> None:
        super().__init__(detail)
        self.phase = phase
        self.cause = cause
        self.detail = detail
        self.reply = reply


class RenderError(NotifierError):
    """A template could not be rendered for this event."""


class HeaderInjection(NotifierError):
    """The serialised mail does not have exactly the headers that were asked for."""


class SecretUnreadable(NotifierError):
    """A stored secret cannot be decrypted, or belongs to another customer or host."""


class DatabaseUnavailable(NotifierError):
    """The database cannot do this now."""


class RowsUnavailable(DatabaseUnavailable):
    """The database is at work, but not with these rows now: one is locked or damaged, or a trigger refuses it."""


class RightMissing(DatabaseUnavailable):
    """The login has not the right to do this; it may be given while a worker runs."""


class SchemaDamaged(DatabaseUnavailable):
    """A table, column or function that this release uses is not there; `lack` says which."""

    def __init__(self, lack: str) -> None:
        cure = "restore the database from a backup; in a new one make the schema with: notifier init-db"
        super().__init__(f"database: the schema is incomplete or damaged: {lack}; {cure}")


class LaneFault(NotifierError):
    """The mails of one customer cannot be claimed as they are.

    seen is what the claim found in `delivery_lanes.passed_over_until`, as PostgreSQL writes it. timed_out: a lock or
    the answer was waited for too long, and no mail need be to blame.
    """

    def __init__(self, reason: str, *, customer_id: int, seen: str, timed_out: bool) -> None:
        super().__init__(reason)
        self.customer_id = customer_id
        self.seen = seen
        self.timed_out = timed_out


class DataRejected(NotifierError):
    """The database refuses these values for good."""


class BrokerUnavailable(NotifierError):
    """The broker cannot do this now."""


class NotAccepted(BrokerUnavailable):
    """The broker answered a published event with a nack: it is on no queue. A full queue does that."""


class ConfirmMissing(BrokerUnavailable):
    """The connection broke before the confirm came: the event may or may not be on its queue.

    Publish it again with the same id; a second copy makes no second mail.
    """


class Unroutable(NotifierError):
    """The event was published but no queue is bound for it."""


class NotFound(NotifierError):
    """What the command names does not exist."""


class InvalidInput(NotifierError):
    """A command or request asks for what the rules forbid.

    `problems` maps a field (of a file: a line, such as `line 3`) to sentences, each with its cure.
    """

    def __init__(self, problems: Mapping[str, Sequence[str]]) -> None:
        lines = (f"{field}: {text}" for field, texts in problems.items() for text in texts)
        super().__init__("\n".join(lines))
        self.problems = {field: tuple(texts) for field, texts in problems.items()}

    def renamed(self, names: Mapping[str, str]) -> InvalidInput:
        """Return the same with the fields called as in `names`."""
        return InvalidInput({names.get(field, field): texts for field, texts in self.problems.items()})


class InvalidLines(InvalidInput):
    """Lines of an import ask for what the rules forbid. `lines` maps numbers to sentences by field, "" the whole."""

    def __init__(self, lines: Mapping[int, Mapping[str, Sequence[str]]]) -> None:
        self.lines = dict(sorted(lines.items()))
        super().__init__(
            {
                f"line {number}": [
                    f"{field}: {text}" if field else text
                    for field, texts in problems.items()
                    for text in texts
                ]
                for number, problems in self.lines.items()
            }
        )

    def renamed(self, names: Mapping[str, str]) -> InvalidLines:
        """Return the same with the fields of each line called as in `names`."""
        return InvalidLines(
            {
                number: {names.get(field, field): texts for field, texts in problems.items()}
                for number, problems in self.lines.items()
            }
        )


def told_together(*checks: Callable[[], object]) -> None:
    """Run every check. Raises one InvalidInput with the faults of all that raised one."""
    problems: dict[str, list[str]] = {}
    for check in checks:
        try:
            check()
        except InvalidInput as exc:
            for field, texts in exc.problems.items():
                problems.setdefault(field, []).extend(texts)
    if problems:
        raise InvalidInput(problems)
