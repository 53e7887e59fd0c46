"""The results of one batch, from the server's answer to the committed row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import tenacity

from notifier.domain.errors import (
    DatabaseUnavailable,
    DataRejected,
    NotifierError,
    RowsUnavailable,
    SmtpFault,
)
from notifier.domain.outcomes import Kind, classify, settle
from notifier.domain.vocabulary import FaultCause, Phase
from notifier.store import claims

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from notifier.domain.outcomes import Reply, RetryPolicy, Settlement, Verdict
    from notifier.store.claims import Batch, Mail
    from notifier.store.engine import OwnConnection

RECORD_MARGIN = 5.0  # seconds of the lease left when recording gives up

_log = structlog.get_logger(__name__)


class Ledger:
    """Collects one verdict per mail of a batch and writes them; used by the thread that sends the batch.

    lease_ends is a time of clock. wait sleeps that many seconds. on_settled is told every settlement once it is final
    for this batch, before it is written.
    """

    def __init__(
        self,
        *,
        batch: Batch,
        database: OwnConnection,
        policy: RetryPolicy,
        chance: Callable[[], float],
        clock: Callable[[], float],
        wait: Callable[[float], object],
        lease_ends: float,
        on_settled: Callable[[Mail, Verdict, Settlement], None],
    ) -> None:
        self._batch = batch
        self._database = database
        self._policy = policy
        self._chance = chance
        self._clock = clock
        self._wait = wait
        self._on_settled = on_settled
        self._open = {mail.id: mail for mail in batch.mails}
        self._unstamped = set(self._open)
        self._unwritten: dict[int, Settlement] = {}
        self._notes: dict[int, str] = {}
        self.lease_ends = lease_ends
        self.verdicts: list[Verdict] = []
        self._last_fault = ""

    def stamp(self, ids: Sequence[int], lease: float) -> frozenset[int]:
        """Write that these mails may leave now, and what became of those before; return those that are still ours.

        The others are no longer our business. lease in seconds from now. Raises DatabaseUnavailable.
        """
        ends = self._clock() + lease
        # Before the statement: its answer may get lost, and the attempts be counted all the same.
        self._unstamped.difference_update(ids)
        if self._unwritten:
            writing = dict(self._unwritten)
            found, ours = self._database.run(
                claims.record_and_stamp,
                token=self._batch.token,
                settlements=writing,
                notes=self._notes,
                ids=ids,
                lease=lease,
            )
            self._written(writing, found)
        else:
            ours = self._database.run(claims.stamp, token=self._batch.token, ids=ids, lease=lease)
        for gone in set(ids) - ours:
            self._open.pop(gone, None)
        self.lease_ends = ends
        return ours

    def settle(self, mail: Mail, result: SmtpFault | Reply) -> None:
        """Judge one mail; to be written with the next `write`."""
        verdict = classify(result)
        stamped = mail.id not in self._unstamped
        settlement = settle(
            verdict,
            attempts=mail.attempts + int(stamped),
            stamped=stamped,
            ambiguous_count=mail.ambiguous_count,
            policy=self._policy,
            chance=self._chance,
        )
        if verdict.kind not in {Kind.SENT, Kind.RELEASED}:
            self._last_fault = verdict.message
        del self._open[mail.id]
        self._unwritten[mail.id] = settlement
        self.verdicts.append(verdict)
        self._on_settled(mail, verdict, settlement)

    def settle_all(self, fault: SmtpFault | Reply) -> None:
        """Judge every mail that has no verdict yet by one fault: its server could not be used."""
        for mail in list(self._open.values()):
            self.settle(mail, fault)

    def release_rest(self) -> None:
        """Give back every mail that has no verdict: it never left, and it is due at once."""
        self.settle_all(not_started(self._last_fault))

    def release_unstamped(self) -> None:
        """Give back the mails whose turn has not come: others may send them meanwhile."""
        for row_id in self._unstamped & self._open.keys():
            self.settle(self._open[row_id], not_started(self._last_fault))

    def note(self, mail: Mail, text: str) -> None:
        """Have the row of this mail say something beside its result."""
        self._notes[mail.id] = text

    def write_ready(self) -> None:
        """Write what is judged so far, once; a fault is left to the last `write`. Never raises (slow dot)."""
        try:
            self._write_once()
        except NotifierError as exc:
            _log.warning("early_record_failed", error=str(exc))

    def rest(self) -> None:
        """Lend the database connection to others until the next statement."""
        self._database.rest()

    def write(self) -> None:
        """Write every verdict; again at once, then with growing pauses until the lease has 5 seconds left.

        A row that cannot be written holds up no other one; what the database refuses for good is logged.
        Raises DatabaseUnavailable in the end: stamped rows go back as ambiguous when the lease ends, others before.
        """
        try:
            self._write_what_can_be()
        except DatabaseUnavailable as exc:
            _log.warning("record_failed_will_retry", error=str(exc), attempt=1)
            self._write_again()

    def _write_again(self) -> None:
        # What is given to Retrying it keeps in a knot of references until the garbage collector comes: not the batch.
        clock, wait, ends = self._clock, self._wait, self.lease_ends - RECORD_MARGIN

        def pause(seconds: float) -> None:
            wait(seconds)

        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(DatabaseUnavailable),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=5),
            stop=lambda _state: clock() > ends,
            sleep=pause,
            before_sleep=_say_retry,
            reraise=True,
        )
        attempts(self._write_what_can_be)

    def _write_what_can_be(self) -> None:
        try:
            self._write_once()
        except (RowsUnavailable, DataRejected):
            self._write_each()

    def _write_each(self) -> None:
        fault: RowsUnavailable | None = None
        for row_id, settlement in list(self._unwritten.items()):
            try:
                self._write_rows({row_id: settlement})
            except RowsUnavailable as exc:
                fault = exc
            except DataRejected as exc:
                del self._unwritten[row_id]
                _log.error("result_refused", mail_id=row_id, error=str(exc))
        if fault is not None:
            raise fault

    def _write_once(self) -> None:
        if self._unwritten:
            self._write_rows(dict(self._unwritten))

    def _write_rows(self, writing: Mapping[int, Settlement]) -> None:
        found = self._database.run(
            claims.record, token=self._batch.token, settlements=writing, notes=self._notes
        )
        self._written(writing, found)

    def _written(self, writing: Mapping[int, Settlement], found: frozenset[int]) -> None:
        for row_id in writing:
            del self._unwritten[row_id]
        if len(found) < len(writing):
            # An earlier try was committed although its answer got lost, or a sweep was faster than we were.
            _log.info("rows_no_longer_held", rows=sorted(writing.keys() - found))


def _say_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    _log.warning("record_failed_will_retry", error=str(error), attempt=state.attempt_number + 1)


def not_started(why: str) -> SmtpFault:
    """Return the fault of a mail that did not get its turn; `why` may be empty when nothing was wrong."""
    return SmtpFault(phase=Phase.PREPARE, cause=FaultCause.NOT_STARTED, detail=why)
