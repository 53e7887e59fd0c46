"""What the endpoints work with, made once from the settings."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from notifier import server_trial, wiring
from notifier.api.rate_limits import RateLimit
from notifier.composing import Composer
from notifier.store import scope as scopes

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sqlalchemy.engine import Connection, Engine

    from notifier.config import Settings
    from notifier.domain.recipients import Rules
    from notifier.domain.servers import SmtpServer
    from notifier.encryption import SecretBox
    from notifier.rendering.renderer import Renderer
    from notifier.server_trial import ServerTest
    from notifier.store.scope import Scope

TESTS_AT_ONCE = 4  # test mails; each may keep a thread busy for as long as a slow mail server likes
TESTS_PER_MINUTE = 10  # of one user: who tests a server needs few, who looks around a network needs many


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Shared by all requests; thread-safe."""

    settings: Settings
    engine: Engine
    renderer: Renderer
    rules: Rules
    box: SecretBox
    default: SmtpServer | None
    signing_keys: tuple[str, ...]
    composer: Composer
    per_token: RateLimit
    failures: RateLimit
    tests_per_user: RateLimit
    now: Callable[[], datetime]
    tests: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(TESTS_AT_ONCE)
    )

    def begin(self, scope: Scope) -> AbstractContextManager[Connection]:
        """Return a transaction that sees this scope alone."""
        return scopes.scoped(self.engine, scope).begin()

    def server_test(self, scope: Scope) -> ServerTest:
        """Return what sends test mails, with less patience than the worker: somebody waits for the answer."""
        return server_trial.from_settings(
            self.settings,
            engine=scopes.scoped(self.engine, scope),
            renderer=self.renderer,
            deadlines=replace(wiring.deadlines(self.settings), setup=40.0, body=20.0, dot=45.0, message=60.0),
        )


def make(
    settings: Settings,
    *,
    engine: Engine,
    renderer: Renderer,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Parts:
    """Return the parts of one process. The engine must begin its transactions with a scope (`store.scope.limit`)."""
    return Parts(
        settings=settings,
        engine=engine,
        renderer=renderer,
        rules=wiring.recipient_rules(settings),
        box=wiring.secret_box(settings),
        default=wiring.default_server(settings),
        signing_keys=wiring.signing_keys(settings),
        composer=Composer(
            renderer=renderer,
            site=wiring.site(settings),
            # The unsubscribe link of a preview looks right and does nothing: it would be somebody else's.
            signing_keys=(secrets.token_urlsafe(32),),
            max_bytes=settings.delivery.max_message_bytes,
            now=now,
        ),
        per_token=RateLimit(settings.api.requests_per_minute, clock=clock),
        failures=RateLimit(settings.api.failed_logins_per_minute, clock=clock),
        tests_per_user=RateLimit(TESTS_PER_MINUTE, clock=clock),
        now=now,
    )


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsOf = Annotated[Parts, Depends(_parts)]
