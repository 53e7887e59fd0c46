"""What becomes of a batch, on a real database with connections that do what a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from notifier.breaker_reports import BreakerRules
from notifier.claiming import CLAIM_ROWS, Claimer, ClaimRules
from notifier.composing import Composed
from notifier.congestion import Congestion
from notifier.crashpoints import Crashpoint
from notifier.delivery import STAMP_ROWS, START_WINDOW, Delivery, DeliveryRules
from notifier.domain.errors import DatabaseUnavailable, RowsUnavailable, SmtpFault
from notifier.domain.outcomes import Reply, RetryPolicy
from notifier.domain.servers import DEFAULT_SERVER_ID, SmtpServer
from notifier.domain.vocabulary import FaultCause, Phase
from notifier.metrics import Metrics
from notifier.pace import Pace
from notifier.senders import Senders
from notifier.store.engine import OwnConnection
from notifier.tracing import Tracer
from notifier.waits import Waits
from tests.store_rows import add_customer, add_event, add_mail, spoil, wake
from tests.waiting import wait_until

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from notifier.store import claims

OK = Reply(code=250, enhanced="2.0.0", text="queued")
SERVER = SmtpServer(
    server_id=0,
    version="",
    host="mail.example",
    port=25,
    use_tls=False,
    use_ssl=False,
    username=None,
    password=None,
    from_email="jobs@acme.example",
    reply_to_email=None,
    trusted=True,
)
POLICY = RetryPolicy(
    max_attempts=8,
    backoff_initial=30,
    backoff_factor=2,
    backoff_max=3600,
    jitter=0,
    greylist_delay=300,
    ambiguous_delay=300,
    max_ambiguous=2,
    on_ambiguous="retry",
)


def refused(phase: Phase, code: int, text: str = "no") -> SmtpFault:
    reply = Reply(code=code, enhanced=None, text=text)
    return SmtpFault(phase=phase, cause=FaultCause.REPLY, detail=f"refused with {code}", reply=reply)


def lost(phase: Phase) -> SmtpFault:
    return SmtpFault(phase=phase, cause=FaultCause.LOST, detail="the connection was lost")


Step = Reply | SmtpFault | Callable[[], Reply | SmtpFault]


@dataclass
class Line:
    """All connections of a test: `steps` says what each mail meets, in order; afterwards all is well."""

    steps: list[Step] = field(default_factory=list)
    usable: bool = True
    reused: bool = False
    is_ready: bool = False
    cut: bool = False
    opened: int = 0
    given_back: int = 0
    ran_aground: bool = False
    sent: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str | None]] = field(
        default_factory=list
    )  # each mail with the one announced behind it
    within: list[float] = field(default_factory=list)  # seconds that each mail was given
    refuse_to_open: SmtpFault | None = None
    opening: Callable[[], None] = lambda: None  # called while a connection is set up
    before: dict[int, Callable[[], None]] = field(
        default_factory=dict
    )  # called before the mail of this place

    def become(self, *, reused: bool, opening: Callable[[], None]) -> None:
        """Be a connection that was used before, while the next one is set up like this."""
        self.reused, self.opening = reused, opening

    def ready(self, _server: SmtpServer) -> bool:
        return self.is_ready

    def take(self, _server: SmtpServer) -> Line:
        self.opened += 1
        self.opening()
        if self.refuse_to_open is not None:
            raise self.refuse_to_open
        self.usable = True
        return self

    def send(
        self,
        composed: Composed,
        *,
        following: Composed | None,
        within: float,
        on_dot: Callable[[], None],
        on_slow: Callable[[], None],
    ) -> Reply:
        self.within.append(within)
        self.pairs.append((composed.rcpt_to, following.rcpt_to if following else None))
        self.before.get(len(self.pairs), lambda: None)()
        on_dot()
        step = self.steps.pop(0) if self.steps else OK
        if callable(step):
            on_slow()
            step = step()
        if isinstance(step, SmtpFault):
            self.usable = step.cause == FaultCause.REPLY
            raise step
        self.sent.append(composed.rcpt_to)
        return step

    def replace(self) -> None:
        self.take(SERVER)
        self.reused = self.ran_aground = False

    def give_back(self) -> None:
        self.given_back += 1


class Compose:
    """Makes a mail of nothing, or the fault that a test put in for an address."""

    def __init__(self) -> None:
        self.faults: dict[str, SmtpFault] = {}
        self.note: str | None = None
        self.before: Callable[[], None] = lambda: None  # called before each mail is made

    def compose(self, mail: claims.Mail, _batch: claims.Batch, _server: SmtpServer) -> Composed:
        self.before()
        if mail.recipient_email in self.faults:
            raise self.faults[mail.recipient_email]
        return Composed(mail_from="a@b.example", rcpt_to=mail.recipient_email, pieces=(b"x",), note=self.note)


class Route:
    def server(self, _batch: claims.Batch, _read: object) -> SmtpServer:
        return SERVER


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Breaking(OwnConnection):
    """A database connection that fails at the named statements, as often as told, before they run.

    Of one named in `unheard` the answer is lost, once.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.faults: dict[str, int] = {}
        self.unheard: set[str] = set()

    def run(self, function, /, *args, **kwargs):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN002, ANN003, ANN201 - the signature of any query
        if self.faults.get(function.__name__, 0) > 0:
            self.faults[function.__name__] -= 1
            raise DatabaseUnavailable("the line to the database was cut")
        answer = super().run(function, *args, **kwargs)
        if function.__name__ in self.unheard:
            self.unheard.remove(function.__name__)
            raise DatabaseUnavailable("the line to the database was cut")
        return answer


class Bench:
    """One sender with everything around it."""

    def __init__(self, engine: Engine, connection: Connection, tracer: Tracer | None = None) -> None:
        self.connection = connection
        self.line = Line()
        self.compose = Compose()
        self.clock = Clock()
        self.stopping = threading.Event()
        self.database = Breaking(engine)
        self.pauses: list[float] = []
        self.shared = 0
        self.pace = Pace()
        self.waits = Waits(self.clock)
        self.queue = 0.0  # seconds in which a thread gets the interpreter back
        metrics = Metrics(version="test")
        self.claimer = Claimer(
            rules=ClaimRules(worker="test", lease=480, connections=4, alone=POLICY.on_ambiguous == "fail"),
            pace=self.pace,
            waits=self.waits,
            metrics=metrics,
            stopping=self.stopping,
        )
        self.delivery = Delivery(
            rules=DeliveryRules(
                lease=480,
                message=420,
                setup=120,
                retry=POLICY,
                breaker=BreakerRules(
                    initial=30, maximum=900, config_initial=300, config_maximum=3600, jitter=0
                ),
            ),
            routes=Route(),  # type: ignore[arg-type]
            composer=self.compose,  # type: ignore[arg-type]
            carriers=self.line,  # type: ignore[arg-type]
            pace=self.pace,
            waits=self.waits,
            congestion=Congestion(self.clock, self._queue),
            metrics=metrics,
            tracer=tracer or Tracer(),
            crashpoint=Crashpoint(),
            clock=self.clock,
            now=lambda: datetime.now(UTC),
            chance=lambda: 0.5,
            wait=self._wait,
            stopping=self.stopping,
        )

    def _wait(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.now += seconds

    def _queue(self) -> None:
        self.clock.now += self.queue

    def mails(self, count: int) -> list[int]:
        """Put mails of one customer in; returns their ids."""
        customer = add_customer(self.connection)
        event = add_event(self.connection, customer)
        ids = [
            add_mail(self.connection, customer, event, address=f"r{n}@x.example") for n in range(1, count + 1)
        ]
        wake(self.connection, customer)
        return ids

    def turn(self) -> None:
        """Claim and deliver one batch."""
        batch = self.claimer.claim(self.database, uuid4(), unproven=True)
        assert batch is not None
        self.delivery.deliver(self.database, batch, self.clock.now, share=self._share)

    def _share(self) -> None:
        self.shared += 1

    def written(self) -> list[object]:
        """The status of every row, in order, as it is just now."""
        found = self.connection.exec_driver_sql("SELECT status FROM notification_events ORDER BY id")
        return list(found.scalars())

    def rows(self) -> list[tuple[object, ...]]:
        """Status, reason, attempts, ambiguous_count of every row, in order; no row may be held."""
        found = self.connection.exec_driver_sql(
            "SELECT status, failure_reason, attempts, ambiguous_count, lock_token, handoff_at"
            " FROM notification_events ORDER BY id"
        ).all()
        assert all(row[4:] == (None, None) for row in found)
        return [tuple(row[:4]) for row in found]

    def value(self, query: str) -> object:
        return self.connection.exec_driver_sql(query).scalar_one()


@pytest.fixture
def bench(engine: Engine, connection: Connection) -> Iterator[Bench]:
    made = Bench(engine, connection)
    yield made
    made.database.close()


SENT = ("sent", None, 1, 0)
FREE = ("pending", None, 0, 0)


def test_every_mail_of_a_batch_is_sent_over_one_connection(bench: Bench) -> None:
    bench.mails(5)
    bench.turn()
    assert bench.rows() == [SENT] * 5
    assert (bench.line.opened, bench.line.given_back) == (1, 1)
    assert bench.value("SELECT bool_and(next_due_at = 'infinity') FROM delivery_lanes") is True


def test_each_mail_is_sent_with_the_one_behind_it_announced(bench: Bench) -> None:
    bench.mails(3)
    bench.turn()
    first, second, third = bench.line.sent
    assert bench.line.pairs == [(first, second), (second, third), (third, None)]


def test_a_mail_refused_for_good_together_with_the_next_envelope_is_tried_once_without(bench: Bench) -> None:
    """The server may have meant the envelope; no attempt is counted for that, and a second refusal is final."""
    bench.mails(3)
    bench.line.ran_aground = True
    bench.line.steps = [refused(Phase.DOT, 554), OK, refused(Phase.DOT, 554)]
    bench.turn()
    assert bench.rows() == [SENT, ("failed", "permanent_smtp", 1, 0), SENT]
    assert bench.line.opened == 2


@pytest.mark.parametrize("state", ["23514", "XX001"])
def test_a_row_that_cannot_be_written_has_no_other_mail_sent_again(bench: Bench, state: str) -> None:
    ids = bench.mails(4)
    bench.connection.exec_driver_sql(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$"
        f" BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$;"
        "CREATE TRIGGER no BEFORE UPDATE ON notification_events FOR EACH ROW"
        f" WHEN (NEW.id = {ids[1]} AND NEW.status = 'sent') EXECUTE FUNCTION no()"
    )
    with capture_logs() as logs:
        if state == "23514":
            bench.turn()
            assert [line["mail_id"] for line in logs if line["event"] == "result_refused"] == [ids[1]]
        else:
            with pytest.raises(RowsUnavailable):
                bench.turn()
    assert bench.written() == ["sent", "pending", "sent", "sent"]


def test_a_lane_that_is_held_keeps_no_result_from_being_written(bench: Bench, engine: Engine) -> None:
    bench.mails(3)
    bench.line.steps = [OK, refused(Phase.RCPT, 451), OK]
    with engine.connect() as somebody:

        def leave_a_transaction_open() -> None:
            somebody.exec_driver_sql("SELECT FROM delivery_lanes FOR UPDATE")

        bench.line.before[1] = leave_a_transaction_open
        bench.turn()
        assert bench.rows() == [SENT, ("pending", None, 1, 0), SENT]


def test_a_mail_that_a_living_worker_gave_back_has_lost_none(bench: Bench) -> None:
    """Three lost workers in a row end a mail as one that kills them; others in between show that it does not."""
    bench.mails(1)
    bench.connection.exec_driver_sql("UPDATE notification_events SET lost_claims = 2")
    bench.line.steps = [refused(Phase.RCPT, 451)]
    bench.turn()
    found = bench.connection.exec_driver_sql("SELECT status, lost_claims FROM notification_events")
    assert [tuple(row) for row in found] == [("pending", 0)]


def test_the_log_line_of_an_attempt_names_the_trace(bench: Bench) -> None:
    bench.mails(2)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    bench.connection.exec_driver_sql(
        "UPDATE notification_events SET trace_id = %(trace)s WHERE id = (SELECT min(id) FROM notification_events)",
        {"trace": trace},
    )
    with capture_logs() as logs:
        bench.turn()
    assert [line["trace_id"] for line in logs if line["event"] == "mail_sent"] == [trace, None]


def test_what_was_sent_is_written_down_even_if_the_breaker_cannot_be_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> bool:
        raise MemoryError

    monkeypatch.setattr("notifier.store.breakers.fault", broken)
    bench.mails(3)
    bench.line.steps = [OK, lost(Phase.DOT)]
    with pytest.raises(MemoryError):
        bench.turn()
    assert bench.rows() == [SENT, ("pending", None, 1, 1), FREE]


def test_a_refused_recipient_ends_his_row_and_leaves_the_others(bench: Bench) -> None:
    bench.mails(3)
    bench.line.steps = [OK, refused(Phase.RCPT, 550), OK]
    bench.turn()
    assert bench.rows() == [SENT, ("failed", "permanent_smtp", 1, 0), SENT]


def test_a_line_lost_before_the_dot_costs_that_mail_an_attempt_and_releases_the_rest(bench: Bench) -> None:
    """F45 in the text: nothing is ambiguous."""
    bench.mails(5)
    bench.line.steps = [OK, OK, lost(Phase.BODY)]
    bench.turn()
    assert bench.rows() == [SENT, SENT, ("pending", None, 1, 0), FREE, FREE]
    texts = bench.connection.exec_driver_sql("SELECT error_message FROM notification_events ORDER BY id")
    assert [text for (text,) in texts] == [None, None, *["the connection was lost"] * 3]


def test_a_line_lost_at_the_dot_makes_only_that_mail_ambiguous(bench: Bench) -> None:
    """F45 at the dot."""
    bench.mails(5)
    bench.line.steps = [OK, OK, lost(Phase.DOT)]
    bench.turn()
    assert bench.rows() == [SENT, SENT, ("pending", None, 1, 1), FREE, FREE]


@pytest.mark.parametrize("fault", [lost(Phase.MAIL), refused(Phase.MAIL, 421), lost(Phase.RCPT)])
def test_a_reused_line_that_the_server_had_closed_is_replaced_without_an_extra_attempt(
    bench: Bench, fault: SmtpFault
) -> None:
    """F32."""
    bench.mails(1)
    bench.line.reused = True
    bench.line.steps = [fault]
    bench.turn()
    assert bench.rows() == [SENT]
    assert bench.line.opened == 2


def test_both_tries_of_a_mail_end_before_its_lease_does(bench: Bench) -> None:
    """Else others would take the row back while it is being sent."""

    def slowly() -> None:
        bench.clock.now += 60

    def hung_up_late() -> SmtpFault:
        bench.clock.now += 200
        return refused(Phase.MAIL, 421)

    bench.mails(1)
    bench.line.reused = True
    bench.line.steps = [hung_up_late]
    bench.line.before[1] = partial(bench.line.become, reused=True, opening=slowly)
    bench.turn()
    assert bench.line.within == [420, 160]
    assert bench.rows() == [SENT]


def test_a_mail_that_has_no_time_left_for_a_second_try_is_left_to_another_claim(bench: Bench) -> None:
    def hung_up_too_late() -> SmtpFault:
        bench.clock.now += 301
        return refused(Phase.MAIL, 421)

    bench.mails(1)
    bench.line.reused = True
    bench.line.steps = [hung_up_too_late]
    bench.turn()
    assert bench.line.opened == 1
    assert bench.rows() == [FREE]


def test_a_server_that_hangs_while_a_line_is_replaced_is_known_and_holds_no_connection_of_ours(
    bench: Bench,
) -> None:
    """F36: other threads stay away from it, a spare one stands in; what was sent before is written down."""
    seen: list[object] = []

    def hanging() -> None:
        bench.clock.now += 60
        seen.append((bench.waits.unreachable(), bench.database._connection is None, bench.written()))

    bench.mails(2)
    bench.line.steps = [OK, lost(Phase.MAIL)]
    bench.line.before[1] = partial(bench.line.become, reused=True, opening=hanging)
    bench.turn()
    assert seen == [([DEFAULT_SERVER_ID], True, ["sent", "pending"])]
    assert bench.rows() == [SENT, SENT]


def test_a_new_line_that_is_closed_is_not_replaced(bench: Bench) -> None:
    bench.mails(1)
    bench.line.steps = [lost(Phase.MAIL)]
    bench.turn()
    assert bench.rows() == [("pending", None, 1, 0)]
    assert bench.line.opened == 1


def test_a_server_out_of_reach_costs_no_attempt_and_three_times_opens_its_breaker(bench: Bench) -> None:
    bench.mails(1)
    bench.line.refuse_to_open = SmtpFault(
        phase=Phase.CONNECT, cause=FaultCause.REFUSED, detail="connection refused"
    )
    for _ in range(3):
        bench.connection.exec_driver_sql("UPDATE notification_events SET next_attempt_at = now()")
        bench.connection.exec_driver_sql("UPDATE delivery_lanes SET next_due_at = now()")
        bench.turn()
    assert bench.rows() == [FREE]
    assert bench.value("SELECT open_until > now() FROM smtp_breakers WHERE server_id = 0") is True
    assert bench.claimer.claim(bench.database, uuid4(), unproven=True) is None


def test_the_log_names_no_time_of_the_next_try_where_the_breaker_decides(bench: Bench) -> None:
    """It opened for minutes: "in 0 seconds" would be said of a mail that waits for it."""
    bench.mails(1)
    bench.line.refuse_to_open = refused(Phase.AUTH, 535)
    with capture_logs() as told:
        bench.turn()
    events = {line["event"]: line for line in told}
    assert "breaker_opened" in events
    assert events["mail_pending"]["retry_in"] is None


def test_a_mail_that_cannot_be_made_ends_alone(bench: Bench) -> None:
    """F40."""
    bench.mails(3)
    bench.compose.faults["r2@x.example"] = SmtpFault(
        phase=Phase.PREPARE, cause=FaultCause.RENDER_ERROR, detail="no such variable"
    )
    bench.turn()
    assert bench.rows() == [SENT, ("failed", "render_error", 0, 0), SENT]


def test_a_broken_customer_template_is_told_by_the_row_that_was_sent_all_the_same(bench: Bench) -> None:
    bench.mails(1)
    bench.compose.note = "body.html: line 3"
    bench.turn()
    assert bench.rows() == [SENT]
    assert bench.value("SELECT note FROM notification_events") == "body.html: line 3"


def test_a_stop_lets_the_mail_in_hand_end_and_releases_the_rest(bench: Bench) -> None:
    bench.mails(4)

    def stop() -> Reply:
        bench.stopping.set()
        return OK

    bench.line.steps = [OK, stop]
    bench.turn()
    assert bench.rows() == [SENT, SENT, FREE, FREE]


def test_a_line_that_the_drain_cut_gives_the_mail_back_unless_its_dot_was_out(bench: Bench) -> None:
    bench.mails(1)
    bench.line.cut = True
    bench.line.steps = [lost(Phase.BODY)]
    bench.turn()
    assert bench.rows() == [FREE]
    bench.line.steps = [lost(Phase.DOT)]
    bench.turn()
    assert bench.rows() == [("pending", None, 1, 1)]


def test_no_mail_starts_later_than_a_second_after_the_stamp(bench: Bench) -> None:
    """A thread that slept past its lease sends nothing (F11)."""
    bench.mails(3)

    def slow() -> Reply:
        bench.clock.now += 6
        return OK

    bench.line.steps = [slow]
    bench.turn()
    assert bench.rows() == [SENT, FREE, FREE]


def test_results_are_written_before_a_slow_reply_is_waited_for(bench: Bench) -> None:
    bench.mails(2)
    seen: list[object] = []

    def look() -> Reply:
        seen.append(bench.value("SELECT count(*) FROM notification_events WHERE status = 'sent'"))
        return OK

    bench.line.steps = [OK, look]
    bench.turn()
    assert seen == [1]
    assert bench.rows() == [SENT, SENT]


def test_a_result_is_written_again_and_again_while_the_database_is_away(bench: Bench) -> None:
    """F23."""
    bench.mails(2)
    bench.database.faults["record"] = 7
    bench.turn()
    assert bench.rows() == [SENT, SENT]
    assert len(bench.pauses) == 6  # the second try comes at once


def test_recording_gives_up_when_the_lease_is_nearly_over(bench: Bench) -> None:
    bench.mails(1)
    bench.database.faults["record"] = 10**6
    started = bench.clock.now
    with pytest.raises(DatabaseUnavailable):
        bench.turn()
    assert 470 < bench.clock.now - started < 481


def test_a_stamp_that_fails_sends_nothing_and_gives_everything_back(bench: Bench) -> None:
    bench.mails(3)
    bench.database.faults["stamp"] = 1
    with pytest.raises(DatabaseUnavailable):
        bench.turn()
    assert bench.rows() == [FREE] * 3
    assert bench.line.sent == []


def test_of_a_large_claim_a_few_at_a_time_may_leave_over_one_connection(bench: Bench) -> None:
    """What is stamped and not recorded may be sent again when the process dies."""
    bench.mails(CLAIM_ROWS + 1)
    seen: list[object] = []

    def look() -> None:
        seen.append(
            bench.connection.exec_driver_sql(
                "SELECT count(*) FILTER (WHERE status = 'sent'), count(*) FILTER (WHERE handoff_at IS NOT NULL)"
                " FROM notification_events"
            ).one()
        )

    bench.line.before = {1: look, STAMP_ROWS + 1: look}
    bench.turn()
    assert seen == [(0, STAMP_ROWS), (STAMP_ROWS, STAMP_ROWS)]
    assert bench.rows() == [SENT] * CLAIM_ROWS + [FREE]
    assert (bench.line.opened, bench.line.given_back) == (1, 1)


def test_mails_behind_a_slow_reply_are_given_back_at_once(bench: Bench) -> None:
    bench.mails(CLAIM_ROWS)
    seen: list[object] = []

    def look() -> Reply:
        seen.append(bench.value("SELECT count(*) FROM notification_events WHERE lock_token IS NULL"))
        bench.clock.now += START_WINDOW + 0.1
        return OK

    bench.line.steps = [OK, look]
    bench.turn()
    assert seen == [1 + CLAIM_ROWS - STAMP_ROWS]  # the first one, which is sent, and those without a stamp
    assert bench.rows() == [SENT, SENT] + [FREE] * (CLAIM_ROWS - 2)


@pytest.mark.parametrize(
    "fault",
    [refused(Phase.MAIL, 530), refused(Phase.RCPT, 550, "relay access denied"), refused(Phase.DATA, 451)],
    ids=["its settings are wrong", "it refuses everybody", "it has a fault of its own"],
)
def test_a_breaker_hears_of_a_fault_before_more_of_the_claim_leaves(bench: Bench, fault: SmtpFault) -> None:
    bench.mails(CLAIM_ROWS)
    bench.line.steps = [fault] * CLAIM_ROWS
    bench.turn()
    assert len(bench.line.pairs) == STAMP_ROWS
    assert bench.rows()[STAMP_ROWS:] == [FREE] * (CLAIM_ROWS - STAMP_ROWS)


def test_what_was_sent_is_written_down_when_others_take_long_to_make(bench: Bench) -> None:
    """A customer's own templates may take seconds a mail; a process that is killed then sends no mail again."""
    bench.mails(2 * STAMP_ROWS)
    seen: list[object] = []

    def look() -> None:
        seen.append(bench.value("SELECT count(*) FROM notification_events WHERE handoff_at IS NOT NULL"))
        bench.clock.now += 0.2

    bench.compose.before = look
    bench.turn()
    assert seen == [0] * 2 * STAMP_ROWS
    assert bench.rows() == [SENT] * (2 * STAMP_ROWS)


def test_a_stop_ends_the_making_of_mails(bench: Bench) -> None:
    bench.mails(CLAIM_ROWS)
    made: list[int] = []

    def count() -> None:
        made.append(1)
        if len(made) == STAMP_ROWS + 2:
            bench.stopping.set()

    bench.compose.before = count
    bench.turn()
    assert len(made) == STAMP_ROWS + 2
    assert bench.rows() == [SENT] * STAMP_ROWS + [FREE] * (CLAIM_ROWS - STAMP_ROWS)


def test_mails_behind_one_that_takes_nearly_a_lease_are_still_held(bench: Bench) -> None:
    """Connecting takes its time before, too; a sweep must not take their worker for lost meanwhile."""
    bench.mails(1)
    bench.claimer.claim(bench.database, uuid4(), unproven=True)
    held = bench.value("SELECT extract(epoch FROM lease_until - now())::float8 FROM notification_events")
    assert held == pytest.approx(1.5 * 480, abs=10)


def test_what_a_claim_has_left_after_a_fault_or_from_a_slow_server_is_given_back(bench: Bench) -> None:
    bench.mails(CLAIM_ROWS)
    bench.line.steps = [OK, lost(Phase.DOT)]
    bench.turn()
    assert bench.rows() == [SENT, ("pending", None, 1, 1)] + [FREE] * (CLAIM_ROWS - 2)

    def slow() -> Reply:
        bench.clock.now += 0.5
        return OK

    bench.line.steps = [*[OK] * (STAMP_ROWS - 1), slow]
    bench.turn()
    assert bench.rows().count(SENT) == 1 + STAMP_ROWS
    assert bench.rows().count(FREE) == CLAIM_ROWS - 2 - STAMP_ROWS


@pytest.mark.parametrize("committed", [False, True])
def test_results_whose_writing_fails_with_the_next_stamp_are_written_at_the_end(
    bench: Bench, *, committed: bool
) -> None:
    bench.mails(STAMP_ROWS + 2)
    if committed:
        bench.database.unheard.add("record_and_stamp")
    else:
        bench.database.faults["record_and_stamp"] = 1
    with pytest.raises(DatabaseUnavailable):
        bench.turn()
    assert bench.rows() == [SENT] * STAMP_ROWS + [FREE] * 2
    assert len(bench.line.sent) == STAMP_ROWS


def test_a_mail_of_a_later_part_that_cannot_be_made_ends_its_row(bench: Bench) -> None:
    bench.mails(STAMP_ROWS + 1)
    last = f"r{STAMP_ROWS + 1}@x.example"
    bench.compose.faults[last] = SmtpFault(
        phase=Phase.PREPARE, cause=FaultCause.RENDER_ERROR, detail="cannot be made"
    )
    bench.turn()
    assert bench.rows() == [SENT] * STAMP_ROWS + [("failed", "render_error", 0, 0)]


@pytest.mark.parametrize(
    ("mails", "queue", "ready", "slow", "shared"),
    [
        (15, 0.0, True, False, 0),
        (CLAIM_ROWS + 1, 0.0, True, False, 1),
        (CLAIM_ROWS + 1, 0.004, False, False, 1),
        (CLAIM_ROWS + 1, 0.004, True, True, 1),
        (CLAIM_ROWS + 1, 0.004, True, False, 0),
    ],
    ids=[
        "nothing is left",
        "mails are left",
        "it must connect first",
        "the server is slow",
        "threads queue for the interpreter",
    ],
)
def test_another_thread_is_woken_for_what_is_left_unless_it_would_only_queue(
    bench: Bench, mails: int, queue: float, *, ready: bool, slow: bool, shared: int
) -> None:
    bench.mails(mails)
    if slow:
        bench.pace.took(DEFAULT_SERVER_ID, 1.0)
    bench.queue, bench.line.is_ready = queue, ready
    bench.turn()
    assert bench.shared == shared


def test_the_other_thread_is_woken_before_mails_are_made(bench: Bench) -> None:
    """A customer's own templates may take seconds; nobody else waits for them."""
    bench.mails(CLAIM_ROWS + 1)
    shared: list[int] = []
    bench.compose.before = lambda: shared.append(bench.shared)
    bench.turn()
    assert set(shared) == {1}


def test_a_batch_that_was_taken_back_meanwhile_is_not_sent(bench: Bench) -> None:
    """F11: the zombie changes no row and sends no mail."""
    bench.mails(2)
    batch = bench.claimer.claim(bench.database, uuid4(), unproven=True)
    assert batch is not None
    bench.connection.exec_driver_sql(
        "UPDATE notification_events SET lock_token = NULL, lease_until = NULL, locked_by = NULL"
    )
    bench.delivery.deliver(bench.database, batch, bench.clock.now, share=lambda: None)
    assert bench.line.sent == []
    assert bench.rows() == [FREE, FREE]


def test_a_text_that_no_column_takes_is_made_to_fit(bench: Bench) -> None:
    """A result that could not be written would be a mail sent again."""
    bench.mails(1)
    hostile = "x\0\ud800" + "y" * 5000
    bench.line.steps = [
        SmtpFault(
            phase=Phase.RCPT,
            cause=FaultCause.REPLY,
            detail=hostile,
            reply=Reply(code=550, enhanced="5" * 40, text=hostile),
        )
    ]
    with capture_logs():  # standard output may refuse such a text, too
        bench.turn()
    assert bench.rows() == [("failed", "permanent_smtp", 1, 0)]


def test_a_success_closes_the_breaker_and_proves_the_server(bench: Bench) -> None:
    bench.mails(1)
    bench.connection.exec_driver_sql(
        "UPDATE smtp_breakers SET failures = 2, trips = 1, last_error = 'x' WHERE server_id = 0"
    )
    bench.turn()
    state = bench.connection.exec_driver_sql(
        "SELECT failures, trips, proven, last_error FROM smtp_breakers"
    ).one()
    assert tuple(state) == (0, 0, True, None)


@pytest.mark.parametrize("state", ["XX001", "23514"])
def test_a_mail_that_cannot_be_claimed_keeps_neither_its_customer_s_nor_others_waiting(
    bench: Bench, engine: Engine, state: str
) -> None:
    """Its customer is the first in turn; the sender does not even pause."""
    stuck, *_ = bench.mails(3)
    bench.mails(2)
    spoil(bench.connection, stuck, state=state)
    senders = Senders(
        count=1,
        engine=engine,
        claimer=bench.claimer,
        delivery=bench.delivery,
        waits=bench.waits,
        congestion=Congestion(bench.clock, bench._queue),
        metrics=Metrics(version="test"),
        clock=time.monotonic,
        new_uuid=uuid4,
        stopping=bench.stopping,
    )
    with capture_logs() as logs:
        senders.start()
        wait_until(lambda: bench.written().count("sent") == 4, what="all mails but one")
        bench.stopping.set()
        assert senders.join(10)
    assert bench.rows() == [FREE, SENT, SENT, SENT, SENT]
    assert [(line["event"], line["mail_id"]) for line in logs if line["log_level"] == "error"] == [
        ("mail_stuck", stuck)
    ]
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == []
