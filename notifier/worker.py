"""The worker process: starts its threads in order, consumes in the main thread, drains on a signal, ends."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

import structlog

from notifier import memory, start_checks, wiring
from notifier.broker.consumer import Consumer, ConsumerState
from notifier.broker.dead_letters import open_dead_letters
from notifier.carriers import Carriers
from notifier.claiming import Claimer
from notifier.composing import Composer
from notifier.congestion import Congestion
from notifier.delivery import Delivery
from notifier.domain.errors import NotifierError
from notifier.health import HealthServer
from notifier.housekeeping import Housekeeping
from notifier.intake import Intake
from notifier.message_ids import new_uuid
from notifier.metrics import Metrics
from notifier.pace import Pace
from notifier.planning import Planner
from notifier.pulse import Pulse
from notifier.rendering.inlining import inlined_elsewhere
from notifier.rendering.language import forget_what_no_mail_says
from notifier.rendering.renderer import Renderer
from notifier.routes import Routes
from notifier.senders import SPARES_PER_SENDER, Senders
from notifier.smtp.pool import Pool
from notifier.smtp.transports import transport
from notifier.stop_signals import StopSignals
from notifier.store.engine import make_engine
from notifier.sweeper import Sweeper
from notifier.systemd import Supervisor
from notifier.vitals import Vitals
from notifier.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.config import Settings
    from notifier.crashpoints import Crashpoint
    from notifier.domain.redaction import Redactor
    from notifier.tracing import Tracer

LEAVE = 3.0  # seconds after drain_timeout, when connections were cut, until the process ends whatever hangs

_log = structlog.get_logger(__name__)


class _Part(Protocol):
    @property
    def alive(self) -> bool: ...


class Worker:
    """One worker process. redactor learns every password that is decrypted, so that no log or page can show it.

    Raises ConfigurationError at construction for templates, keys or an address that cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str],
        tracer: Tracer,
        crashpoint: Crashpoint,
        redactor: Redactor,
    ) -> None:
        self._settings = settings
        self._tracer = tracer
        self._stopping = threading.Event()
        self._linked = False
        self._supervisor = Supervisor(environ, clock=time.monotonic)
        release = version("notifier")
        self._metrics = Metrics(version=release)
        self._vitals = Vitals(version=release, clock=time.monotonic, clean=redactor.text)
        name = f"{socket.gethostname()}:{os.getpid()}"
        section = settings.delivery
        self._engine = make_engine(
            settings.database.url.get_secret_value(),
            application=f"notifier worker {name}"[:63],
            pool_size=section.senders + 3,  # intake, sweeper, pulse
            spare=SPARES_PER_SENDER * section.senders,
        )
        site = wiring.site(settings)
        self._renderer = renderer = Renderer(settings.templates.folder(), site, inline=inlined_elsewhere)
        self._pool = Pool(
            policy=wiring.connect_policy(settings),
            deadlines=wiring.deadlines(settings),
            on_certificate=self._metrics.certificate_seen,
        )
        pace, waits, congestion = Pace(), Waits(time.monotonic), Congestion()
        delivery = Delivery(
            rules=wiring.delivery_rules(settings),
            routes=Routes(
                default=wiring.default_server(settings),
                box=wiring.secret_box(settings),
                learn_secret=redactor.learn,
            ),
            composer=Composer(
                renderer=renderer,
                site=site,
                signing_keys=wiring.signing_keys(settings),
                max_bytes=section.max_message_bytes,
                now=_now,
            ),
            carriers=Carriers(
                pool=self._pool,
                transport=transport(settings.smtp.transport, file_path=settings.smtp.file_path),
            ),
            pace=pace,
            waits=waits,
            congestion=congestion,
            metrics=self._metrics,
            tracer=tracer,
            crashpoint=crashpoint,
            clock=time.monotonic,
            now=_now,
            chance=random.random,
            wait=time.sleep,
            stopping=self._stopping,
        )
        self._senders = Senders(
            count=section.senders,
            engine=self._engine,
            claimer=Claimer(
                rules=wiring.claim_rules(settings, worker=name[:200]),
                pace=pace,
                waits=waits,
                metrics=self._metrics,
                stopping=self._stopping,
            ),
            delivery=delivery,
            waits=waits,
            congestion=congestion,
            metrics=self._metrics,
            clock=time.monotonic,
            new_uuid=new_uuid,
            stopping=self._stopping,
        )
        self._pulse = Pulse(engine=self._engine, in_hand=self._senders.in_hand)
        self._intake = Intake(
            engine=self._engine,
            planner=Planner(
                rules=wiring.planning_rules(settings), subject=renderer.subject, new_uuid=new_uuid
            ),
            max_event_bytes=settings.rabbitmq.max_event_bytes,
            on_new_mails=self._senders.new_mails,
            metrics=self._metrics,
            tracer=tracer,
            crashpoint=crashpoint,
        )
        self._sweeper = Sweeper(
            engine=self._engine,
            policy=wiring.retry_policy(settings),
            look_after_senders=self._senders.look_after,
            vitals=self._vitals,
            metrics=self._metrics,
            clock=time.monotonic,
            stopping=self._stopping,
        )
        self._housekeeping = Housekeeping(
            pool=self._pool,
            count_dead_letters=self._count_dead_letters,
            vitals=self._vitals,
            metrics=self._metrics,
            clock=time.monotonic,
            stopping=self._stopping,
        )
        self._parts: Mapping[str, _Part] = {
            "sender": self._senders,
            "pulse": self._pulse,
            "sweeper": self._sweeper,
            "housekeeping": self._housekeeping,
        }
        self._health = HealthServer(
            settings.health.host, settings.health.port, vitals=self._vitals, metrics=self._metrics
        )

    def run(self) -> None:
        """Work until a signal, then drain.

        Raises ConfigurationError for a schema that does not fit or lacks a part, a refused login or a foreign broker
        object, and DatabaseUnavailable when the database cannot be reached at the start.
        """
        try:
            start_checks.check_database(self._engine, self._settings)
        except NotifierError:
            self._close()
            raise
        forget_what_no_mail_says(self._renderer.languages)
        memory.settle()
        complete = False
        try:
            # Asked twice: at once, whatever is in hand.
            with StopSignals(on_stop=self._begin_to_drain, on_repeat=lambda: os._exit(1)):
                try:
                    self._health.start()
                    self._senders.start()
                    self._pulse.start()
                    self._sweeper.start()
                    self._housekeeping.start()
                    _log.info("worker_started", version=self._vitals.version, health_port=self._health.port)
                    self._consumer().run()
                finally:
                    self._stopping.set()
                    complete = self._drain()
        finally:  # the last line: by now the thread that says which signal came has ended
            _log.info("worker_stopped", complete=complete)

    def _consumer(self) -> Consumer:
        broker = self._settings.rabbitmq
        return Consumer(
            broker.url.get_secret_value(),
            wiring.topology(self._settings),
            prefetch=broker.prefetch,
            heartbeat=broker.heartbeat,
            on_batch=self._intake.handle,
            probe=self._intake.probe,
            stop=self._stopping,
            on_tick=self._tick,
            on_state=self._on_state,
            on_fault=self._vitals.consumer_failed,
        )

    def _tick(self) -> None:
        """Say that the worker lives, unless a thread died: then only a restart helps."""
        dead = next((name for name, part in self._parts.items() if not part.alive), None)
        if dead is None:
            self._vitals.tick()
            self._metrics.main_loop_turned()
            self._supervisor.alive()
        elif not self._stopping.is_set():
            self._vitals.died(dead)

    def _on_state(self, state: ConsumerState) -> None:
        self._vitals.consumer_is(state.value)
        self._metrics.consumer_is(state.value)
        self._supervisor.status(state.value)
        if state is ConsumerState.CONSUMING:
            self._supervisor.ready()
            self._linked = True
        elif state is ConsumerState.CONNECTING and self._linked:
            self._metrics.link_lost("broker")

    def _begin_to_drain(self, number: int) -> None:
        self._stopping.set()
        self._vitals.drain()
        self._supervisor.stopping()
        threading.Thread(target=self._cut_off, name="cut-off", daemon=True).start()
        _log.info("drain_started", signal=signal.Signals(number).name)

    def _cut_off(self) -> None:
        """Break SMTP connections when the time to drain is over, and leave when even that does not help."""
        time.sleep(self._settings.delivery.drain_timeout)
        _log.warning("drain_timeout")
        self._pool.abort_all()
        time.sleep(LEAVE)
        _log.error("drain_incomplete")
        os._exit(0)  # the rows still held are taken back: after half a minute, or when their lease ends

    def _drain(self) -> bool:
        """Wait for the mails in hand and close everything; tell whether no mail was cut off."""
        ended = self._senders.join(self._settings.delivery.drain_timeout + LEAVE)
        complete = ended and not self._pool.aborted  # senders whose connections were cut end, too
        self._pulse.end()
        self._close()
        return complete

    def _close(self) -> None:
        """Give back what was taken at construction and since."""
        self._intake.close()
        self._pool.close_all()
        self._renderer.close()
        self._health.stop()
        self._engine.dispose()
        self._tracer.close()

    def _count_dead_letters(self) -> int | None:
        broker = self._settings.rabbitmq
        try:
            with open_dead_letters(broker.url.get_secret_value(), wiring.topology(self._settings)) as letters:
                return letters.depth()
        except NotifierError:
            return None  # the consumer says what is wrong with the broker


def _now() -> datetime:
    return datetime.now(UTC)
