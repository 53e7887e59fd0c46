"""The test of a server, stage by stage, each failure with its cure: DNS, TCP, TLS, AUTH, MAIL, RCPT, DATA."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from notifier.domain.errors import SmtpFault
from notifier.domain.outcomes import Kind, classify
from notifier.domain.vocabulary import Phase
from notifier.smtp.cures import cure
from notifier.smtp.session import DEADLINES, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from notifier.domain.mail import Outgoing
    from notifier.domain.outcomes import Reply
    from notifier.domain.servers import SmtpServer
    from notifier.smtp.deadlines import Deadlines
    from notifier.smtp.policy import ConnectPolicy
    from notifier.smtp.session import Step

_ENVELOPE = ("MAIL", "RCPT", "DATA")
_STAGE_OF = {Phase.PREPARE: "MAIL", Phase.MAIL: "MAIL", Phase.RCPT: "RCPT"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage that was reached. `detail` and `cure` are sentences without secrets; `cure` only on failure.

    `kind` and `code` are the failure's class and reply code, for answers that must not repeat what the server
    says. `seconds` is None where a stage was not timed by itself: the envelope may travel in one piece.
    `outcome` is what the log row of the mail is judged by: the fault of the failed stage, or the last reply.
    """

    name: str
    ok: bool
    detail: str
    cure: str | None = None
    kind: Kind | None = None
    code: int | None = None
    seconds: float | None = None
    outcome: SmtpFault | Reply | None = field(default=None, repr=False)


def run(
    server: SmtpServer,
    mail: Outgoing,
    *,
    policy: ConnectPolicy,
    deadlines: Deadlines = DEADLINES,
    clock: Callable[[], float] = time.monotonic,
) -> list[Stage]:
    """Connect and send one real mail; return every stage up to and including the first that failed.

    Never raises for what the server does.
    """
    session = Session(server, policy=policy, deadlines=deadlines, clock=clock)
    stages: list[Stage] = []
    try:
        for name, steps in _by_stage(server, session.steps()):
            started = clock()
            try:
                for _, step in steps:
                    step()
            except SmtpFault as fault:
                return [*stages, _failed(name, fault, server, clock() - started)]
            stages.append(
                Stage(name=name, ok=True, detail=_success(name, session), seconds=clock() - started)
            )
        return [*stages, *_send(session, mail, clock=clock)]
    finally:
        session.close()


def _by_stage(server: SmtpServer, steps: tuple[Step, ...]) -> Iterator[tuple[str, list[Step]]]:
    """Group the session's steps; the greeting belongs to what made the connection speak."""
    greeting = "TLS" if server.use_ssl else "TCP"
    names = {"dns": "DNS", "tcp": "TCP", "greeting": greeting, "tls": "TLS", "auth": "AUTH"}
    for name, group in groupby(steps, key=lambda step: names[step[0]]):
        if name == "AUTH" and not (server.use_ssl or server.use_tls):
            yield "TLS", []
        yield name, list(group)


def _success(name: str, session: Session) -> str:
    server = session.server
    match name:
        case "DNS":
            return f"{server.host} is {', '.join(session.addresses)}"
        case "TCP":
            return f"connected to {session.peer_ip}, port {server.port}"
        case "AUTH":
            return f"logged in as {server.username}" if server.username else "no login configured"
    facts = session.tls
    if facts is None:
        return "not encrypted: neither use_tls nor use_ssl is set"
    return (
        f"{facts.version}, {facts.cipher}; certificate of {facts.subject or ', '.join(facts.names)}"
        f" issued by {facts.issuer or 'an unnamed authority'}, valid until {facts.not_after}"
    )


def _send(
    session: Session,
    mail: Outgoing,
    *,
    clock: Callable[[], float],
) -> list[Stage]:
    passed = {
        "MAIL": f"{mail.mail_from} is accepted as sender",
        "RCPT": f"{mail.rcpt_to} is accepted as recipient",
    }
    started = clock()
    try:
        reply = session.send(mail)
    except SmtpFault as fault:
        name = _STAGE_OF.get(fault.phase, "DATA")
        last = _failed(name, fault, session.server, clock() - started)
    else:
        taken = f"the mail is taken: {reply}"
        last = Stage(name="DATA", ok=True, detail=taken, seconds=clock() - started, outcome=reply)
    before = _ENVELOPE[: _ENVELOPE.index(last.name)]
    return [*(Stage(name=name, ok=True, detail=passed[name]) for name in before), last]


def _failed(name: str, fault: SmtpFault, server: SmtpServer, seconds: float) -> Stage:
    return Stage(
        name=name,
        ok=False,
        detail=fault.detail,
        cure=cure(fault, server),
        kind=classify(fault).kind,
        code=fault.reply.code if fault.reply else None,
        seconds=seconds,
        outcome=fault,
    )
