"""The way of one mail: claim, compose, connect, stamp, send, record. One batch of one customer at a time.

    claim ─► route ─► compose ─► connect ─► stamp ─► send … 250 ─► tell breaker ─► record
               │         │          │         │        │
               └─────────┴──────────┴─────────┴────────┴──► every result is a verdict in the ledger

A claim (`claiming.py`) may take more mails than are stamped at once. Then from compose to send it goes round: each
stamp also records what became of the mails before.

No transaction is open while an SMTP server is spoken to. Whatever goes wrong, each claimed row gets a verdict: a mail
that did not get its turn is released and due at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

import structlog

from notifier.attempts import Attempts
from notifier.breaker_reports import BreakerReports, worst
from notifier.domain.errors import SmtpFault
from notifier.domain.vocabulary import FaultCause, Phase
from notifier.ledger import Ledger, not_started
from notifier.log import together, write_kept
from notifier.store import smtp_configs

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from notifier.breaker_reports import BreakerRules
    from notifier.carriers import Carrier, Carriers
    from notifier.composing import Composed, Composer
    from notifier.congestion import Congestion
    from notifier.crashpoints import Crashpoint
    from notifier.domain.outcomes import Reply, RetryPolicy
    from notifier.domain.servers import SmtpServer
    from notifier.metrics import Metrics
    from notifier.pace import Pace
    from notifier.routes import Routes
    from notifier.store.claims import Batch, Mail
    from notifier.store.engine import OwnConnection
    from notifier.tracing import Tracer
    from notifier.waits import Waits

STAMP_ROWS = 16  # what a dying process may have sent and not written down, so that others send it again
# Seconds in the making of mails after which what was sent before is written down before more are made.
_LONG_IN_THE_MAKING = 0.1
# Seconds of pause; the mails are due at once, and others may have closed something by then.
_OUT_OF_DESCRIPTORS = 1.0
# Seconds after the stamp in which a mail may still start. What a dying process has sent since then it has not written
# down, and the others will send it again: so a server that turns out to be slow gets the rest of its batch anew.
START_WINDOW = 1.0

_CLOSING, _PERMANENT = 421, 500
_AFTER_DOT = frozenset({Phase.DOT, Phase.DONE, Phase.QUIT})
_BEFORE_DATA = frozenset({Phase.MAIL, Phase.RCPT, Phase.DATA})

_T = TypeVar("_T")
_Made = tuple["Mail", "Composed"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryRules:
    """The [delivery] keys the loop needs; times in seconds. message: for one mail from its stamp; setup: to connect."""

    lease: float
    message: float
    setup: float
    retry: RetryPolicy
    breaker: BreakerRules


class Delivery:
    """Sends batches; shared by all sender threads, each with a database connection of its own.

    clock is monotonic, now tells the time of day, chance is in [0, 1), wait sleeps, whatever happens.
    stopping says that no further mail may start.
    """

    def __init__(
        self,
        *,
        rules: DeliveryRules,
        routes: Routes,
        composer: Composer,
        carriers: Carriers,
        pace: Pace,
        waits: Waits,
        congestion: Congestion,
        metrics: Metrics,
        tracer: Tracer,
        crashpoint: Crashpoint,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        chance: Callable[[], float],
        wait: Callable[[float], object],
        stopping: threading.Event,
    ) -> None:
        self._rules = rules
        self._routes = routes
        self._composer = composer
        self._carriers = carriers
        self._pace = pace
        self._waits = waits
        self._congestion = congestion
        self._metrics = metrics
        self._tracer = tracer
        self._crashpoint = crashpoint
        self._clock = clock
        self._chance = chance
        self._wait = wait
        self._stopping = stopping
        self._attempts = Attempts(metrics=metrics, tracer=tracer, now=now)
        self._breakers = BreakerReports(rules.breaker, chance)

    def deliver(
        self, database: OwnConnection, batch: Batch, claimed_at: float, *, share: Callable[[], None]
    ) -> None:
        """Send a claimed batch and write down what became of each mail.

        claimed_at: the clock before the claim. share lets another thread look for work; it is called before
        anything that can take long when there may be more than this batch, unless that thread would only queue.
        Raises DatabaseUnavailable when results could not be written in time; lease and pulse then decide.
        """
        self._crashpoint.at("after_claim")
        self._tracer.delivery_began()
        ledger = Ledger(
            batch=batch,
            database=database,
            policy=self._rules.retry,
            chance=self._chance,
            clock=self._clock,
            wait=self._wait,
            lease_ends=claimed_at + self._rules.lease,
            on_settled=partial(self._attempts.ended, batch),
        )
        with together():
            try:
                self._send(database, batch, ledger, share)
            finally:
                try:
                    ledger.release_rest()
                    self._breakers.tell(database, batch, ledger.verdicts)
                finally:  # a mail that was sent and not written down would be sent again
                    with self._waits.answer():
                        ledger.write()

    def _send(self, database: OwnConnection, batch: Batch, ledger: Ledger, share: Callable[[], None]) -> None:
        try:
            server = self._routes.server(batch, lambda key: database.run(smtp_configs.read, key))
        except SmtpFault as fault:
            ledger.settle_all(fault)
            return
        if batch.more:
            self._congestion.sample()
            quick = self._carriers.ready(server) and not self._pace.is_slow(batch.server_id)
            if not (quick and self._congestion.crowded):
                share()
        carrier: Carrier | None = None
        spent = 0.0  # seconds in the making of mails
        try:
            for at in range(0, len(batch.mails), STAMP_ROWS):
                began = self._clock() - spent  # as if all were made in one go
                made = self._compose(batch, batch.mails[at : at + STAMP_ROWS], server, ledger, began=began)
                spent = self._clock() - began
                if not made:
                    continue
                carrier = carrier or self._connect(database, batch, server, ledger)
                if carrier is None or not self._hand_over(batch, ledger, carrier, made):
                    return
                del made  # before the next ones are made
        finally:
            if carrier is not None:
                carrier.give_back()

    def _connect(
        self, database: OwnConnection, batch: Batch, server: SmtpServer, ledger: Ledger
    ) -> Carrier | None:
        """Get a connection; None when there is none to be had, and the mails are settled."""
        if not self._carriers.ready(server):
            database.rest()  # connecting may take minutes; others can use the connection meanwhile
        try:
            return self._set_up(batch, lambda: self._carriers.take(server))
        except SmtpFault as fault:
            ledger.settle_all(self._unless_cut(fault))
            if fault.cause == FaultCause.NOT_STARTED:
                self._wait(_OUT_OF_DESCRIPTORS)
            return None

    def _set_up(self, batch: Batch, connect: Callable[[], _T]) -> _T:
        """Connect, while others know which server makes this thread wait. Raises SmtpFault."""
        began = self._clock()
        with self._tracer.connecting(), self._waits.set_up(batch.server_id):
            connected = connect()
        self._metrics.smtp_step("connect", self._clock() - began)
        return connected

    def _compose(
        self, batch: Batch, mails: Sequence[Mail], server: SmtpServer, ledger: Ledger, *, began: float
    ) -> list[_Made]:
        """Make the bytes of some mails of a batch, of none when the worker stops; what cannot be made is settled."""
        made: list[_Made] = []
        for mail in mails:
            if self._stopping.is_set():
                return []
            if self._clock() - began > _LONG_IN_THE_MAKING:
                ledger.write_ready()
            try:
                with self._tracer.rendering(mail):
                    composed = self._composer.compose(mail, batch, server)
            except SmtpFault as fault:
                ledger.settle(mail, fault)
            else:
                made.append((mail, composed))
                if composed.note:
                    ledger.note(mail, composed.note)
                    _log.warning(
                        "customer_template_broken", customer_id=batch.customer_id, error=composed.note
                    )
        return made

    def _hand_over(self, batch: Batch, ledger: Ledger, carrier: Carrier, made: Sequence[_Made]) -> bool:
        """Stamp what is ready, then send mail by mail while the connection and the time allow.

        Tells whether more mails of the batch may follow: not after a fault, of which the breaker is to hear first, and
        not if the server is slow, since other connections do better.
        """
        started = self._clock()  # read before the stamp, so that a thread that slept in between sends nothing
        ours = ledger.stamp([mail.id for mail, _ in made], self._rules.lease)
        self._crashpoint.at("after_stamp")
        left = [one for one in made if one[0].id in ours]
        seconds: list[float] = []  # each mail took
        for (mail, composed), following in zip_longest(left, left[1:]):
            if not self._may_start(started, carrier):
                break
            began = self._clock()
            with self._tracer.sending(mail):
                after = following[1] if following else None
                ends = started + self._rules.message
                result = self._send_one(batch, ledger, carrier, composed, following=after, ends=ends)
            ledger.settle(mail, self._unless_cut(result))
            seconds.append(self._clock() - began)
            self._metrics.smtp_step("send", seconds[-1])
        if seconds:
            self._pace.took(batch.server_id, sum(seconds), mails=len(seconds))
        slow = self._pace.is_slow(batch.server_id)
        return not slow and self._may_start(started, carrier) and worst(ledger.verdicts) is None

    def _may_start(self, started: float, carrier: Carrier) -> bool:
        late = self._clock() - started > START_WINDOW
        return carrier.usable and not late and not self._stopping.is_set()

    def _send_one(
        self,
        batch: Batch,
        ledger: Ledger,
        carrier: Carrier,
        composed: Composed,
        *,
        following: Composed | None,
        ends: float,
    ) -> Reply | SmtpFault:
        """Send one mail; at `ends` it has its result.

        Once the connection is replaced and the mail sent anew: when the server had closed it, or refused the mail for
        good and may have meant the envelope behind it. Where that could take too long, another claim does it.
        """
        for again in (True, False):
            reused = carrier.reused
            try:
                with self._waits.answer():
                    reply = carrier.send(
                        composed,
                        following=following,
                        within=ends - self._clock(),
                        on_dot=lambda: self._crashpoint.at("after_dot"),
                        on_slow=lambda: self._tell_so_far(ledger),
                    )
            except SmtpFault as fault:
                if not (again and ((reused and _was_hung_up(fault)) or _was_mistaken(fault, carrier))):
                    return fault
                if self._clock() + self._rules.setup > ends:
                    return not_started(fault.detail)
                try:
                    self._replace(batch, ledger, carrier)
                except SmtpFault as refused:
                    return refused
            else:
                self._crashpoint.at("after_250")
                return reply
        raise AssertionError  # the second turn always returns

    def _replace(self, batch: Batch, ledger: Ledger, carrier: Carrier) -> None:
        """Connect anew in the middle of a batch, which may take minutes. Raises SmtpFault."""
        self._tell_so_far(ledger)
        self._set_up(batch, carrier.replace)

    def _tell_so_far(self, ledger: Ledger) -> None:
        """A server may be slow for minutes. Never raises.

        Write down what became of the mails before, give back those behind, and lend the database connection.
        """
        write_kept()
        ledger.release_unstamped()
        ledger.write_ready()
        ledger.rest()

    def _unless_cut(self, result: Reply | SmtpFault) -> Reply | SmtpFault:
        """A mail whose connection we broke ourselves to end in time never left, unless its dot was out."""
        cut = self._carriers.cut and isinstance(result, SmtpFault) and result.phase not in _AFTER_DOT
        return not_started("") if cut else result


def _was_mistaken(fault: SmtpFault, carrier: Carrier) -> bool:
    """Tell whether a mail was refused for good that had the next one's envelope behind it."""
    refused = fault.reply is not None and fault.reply.code >= _PERMANENT
    return refused and fault.phase == Phase.DOT and carrier.ran_aground


def _was_hung_up(fault: SmtpFault) -> bool:
    """Tell whether the server merely closed an idle or used-up connection: nothing of this mail has left."""
    closing = fault.reply is not None and fault.reply.code == _CLOSING
    return fault.phase in _BEFORE_DATA and (closing or fault.cause == FaultCause.LOST)
