"""What a tracer is told on the way of an event; the one here listens to nothing and costs next to nothing.

`telemetry` has the one that speaks OpenTelemetry; the worker's command chooses.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from notifier.domain.events import JobEvent, UnknownEvent
    from notifier.domain.outcomes import Settlement, Verdict
    from notifier.store.claims import Batch, Mail

_NOTHING: AbstractContextManager[None] = nullcontext()


class Tracer:
    """Is told of every job event taken in and every try to send a mail, and takes the times itself.

    The methods may be called from any thread; what is said between two `…_began` of a thread belongs to the first one.
    """

    def intake_began(self) -> None:
        """This thread has a batch of broker messages in hand."""

    def event_taken(self, event: JobEvent | UnknownEvent, outcome: str) -> None:
        """The event is committed: outcome as in job_events, or duplicate."""

    def delivery_began(self) -> None:
        """This thread has claimed a batch of mails."""

    def rendering(self, mail: Mail) -> AbstractContextManager[None]:
        """While the mail is made."""
        del mail
        return _NOTHING

    def connecting(self) -> AbstractContextManager[None]:
        """While the batch gets its connection."""
        return _NOTHING

    def sending(self, mail: Mail) -> AbstractContextManager[None]:
        """While the mail is handed to the server."""
        del mail
        return _NOTHING

    def attempted(self, batch: Batch, mail: Mail, verdict: Verdict, settlement: Settlement) -> None:
        """The try to send this mail has ended."""

    def close(self) -> None:
        """Pass on what is not yet passed on, for some seconds at most."""
