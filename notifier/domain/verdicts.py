"""The SMTP result table: one fault or final reply in, one verdict out. Pure and total."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, cast

from notifier.domain.errors import SmtpFault
from notifier.domain.replies import Reply, retry_hint
from notifier.domain.vocabulary import FaultCause, Phase

if TYPE_CHECKING:
    from notifier.domain.vocabulary import FailureReason


class Kind(StrEnum):
    """What a verdict means for the row."""

    SENT = "sent"
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    CONFIG = "config"
    CONNECTION = "connection"
    AMBIGUOUS = "ambiguous"
    RELEASED = "released"


class BreakerEffect(StrEnum):
    """What a verdict means for the server's breaker."""

    SUCCESS = "success"  # closes it
    NONE = "none"
    SOFT = "soft"  # one count; three without a success open it
    OPEN_CONFIG = "open_config"  # opens at once, for the longer times of the configuration class
    STREAK = "streak"  # ten of these in a row open it


class Verdict(NamedTuple):
    """The class of one result.

    `failure_reason` is the reason the row gets if this verdict ends it; None where only the attempts do.
    `counts_attempt` is true once the server saw MAIL. `min_delay` (seconds) is what the server asked for;
    `greylisted` asks for the policy's own floor.
    """

    kind: Kind
    failure_reason: FailureReason | None
    breaker: BreakerEffect
    counts_attempt: bool
    min_delay: float
    greylisted: bool
    message: str
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class _Class:
    """One line of the table, without the facts of the single case."""

    kind: Kind
    breaker: BreakerEffect
    reason: FailureReason | None = None
    greylisted: bool = False


_SENT = _Class(Kind.SENT, BreakerEffect.SUCCESS)
_RELEASED = _Class(Kind.RELEASED, BreakerEffect.NONE)
_CONNECTION = _Class(Kind.CONNECTION, BreakerEffect.SOFT)
_AMBIGUOUS = _Class(Kind.AMBIGUOUS, BreakerEffect.SOFT, "ambiguous")
_TRANSIENT = _Class(Kind.TRANSIENT, BreakerEffect.NONE)
_TRANSIENT_SOFT = _Class(Kind.TRANSIENT, BreakerEffect.SOFT)
_GREYLISTED = _Class(Kind.TRANSIENT, BreakerEffect.NONE, greylisted=True)
_SENDER_REFUSED = _Class(Kind.TRANSIENT, BreakerEffect.SOFT, "sender_refused")
_AUTH = _Class(Kind.CONFIG, BreakerEffect.OPEN_CONFIG, "auth")
_TLS = _Class(Kind.CONFIG, BreakerEffect.OPEN_CONFIG, "tls")
_REFUSED = _Class(Kind.PERMANENT, BreakerEffect.NONE, "permanent_smtp")
_REFUSED_STREAK = _Class(Kind.PERMANENT, BreakerEffect.STREAK, "permanent_smtp")

_OWN_CHECKS = frozenset(
    {
        FaultCause.INVALID_RECIPIENT,
        FaultCause.SMTPUTF8_UNSUPPORTED,
        FaultCause.TOO_LARGE,
        FaultCause.RENDER_ERROR,
        FaultCause.HEADER_INJECTION,
        FaultCause.NO_SMTP_CONFIG,
        FaultCause.SMTP_DISABLED,
        FaultCause.POLICY_HOST,
    }
)  # each has the name of its failure reason
_BY_CAUSE = {
    FaultCause.REFUSED: _CONNECTION,
    FaultCause.DNS: _CONNECTION,
    FaultCause.UNREACHABLE: _CONNECTION,
    FaultCause.CERTIFICATE: _TLS,
    FaultCause.HANDSHAKE: _TLS,
    FaultCause.STARTTLS_MISSING: _TLS,
    FaultCause.PLAINTEXT_AUTH: _TLS,
    FaultCause.NO_AUTH_MECHANISM: _AUTH,
    FaultCause.SECRET_UNREADABLE: _AUTH,
}
# Basic codes the table singles out (RFC 5321 4.2.3, RFC 4954 6).
_CLOSING = 421
_MAILBOX_BUSY = 450
_LOCAL_ERROR = 451
_ENCRYPTION_NEEDED = 538
_TOO_LARGE = 552

_GREETING = frozenset({Phase.PREPARE, Phase.CONNECT, Phase.BANNER, Phase.EHLO})
_SAW_MAIL = frozenset({Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY, Phase.DOT, Phase.DONE, Phase.QUIT})
_AFTER_DOT = frozenset({Phase.DOT, Phase.DONE, Phase.QUIT})
_ATTEMPT_KINDS = frozenset({Kind.SENT, Kind.TRANSIENT, Kind.PERMANENT, Kind.AMBIGUOUS})


def classify(fault: SmtpFault | Reply) -> Verdict:
    """Judge one result by the table. A `Reply` is the final one, read after the dot. Total: never raises."""
    if isinstance(fault, Reply):
        detail = f"the server answered the mail with {fault}"
        if fault.code // 100 == 2:  # noqa: PLR2004 - the class itself
            return _sent(fault, detail)
        fault = SmtpFault(phase=Phase.DOT, cause=FaultCause.REPLY, detail=detail, reply=fault)
    found = _class_of(fault)
    hint_heeded = fault.reply is not None and (fault.reply.code == _CLOSING or found.greylisted)
    return Verdict(
        kind=found.kind,
        failure_reason=found.reason,
        breaker=found.breaker,
        counts_attempt=(
            fault.phase in _SAW_MAIL and found.kind in _ATTEMPT_KINDS and fault.cause not in _OWN_CHECKS
        ),
        min_delay=retry_hint(fault.reply.text) if fault.reply and hint_heeded else 0.0,
        greylisted=found.greylisted,
        message=fault.detail,
        reply=fault.reply,
    )


def _sent(reply: Reply, detail: str) -> Verdict:
    """The verdict of nearly every mail, without the way through the table."""
    return Verdict(
        kind=_SENT.kind,
        failure_reason=_SENT.reason,
        breaker=_SENT.breaker,
        counts_attempt=True,
        min_delay=0.0,
        greylisted=_SENT.greylisted,
        message=detail,
        reply=reply,
    )


def _class_of(fault: SmtpFault) -> _Class:
    if fault.cause == FaultCause.REPLY and fault.reply is not None:
        return _by_reply(fault.phase, fault.reply)
    return _by_cause(fault.phase, fault.cause)


def _by_cause(phase: Phase, cause: FaultCause) -> _Class:
    if cause == FaultCause.NOT_STARTED:
        return _RELEASED
    if cause in _OWN_CHECKS:
        return _Class(Kind.PERMANENT, BreakerEffect.NONE, cast("FailureReason", cause.value))
    if phase in _AFTER_DOT:
        return _AMBIGUOUS
    if phase in {Phase.PREPARE, Phase.CONNECT} and cause in {FaultCause.LOST, FaultCause.TIMEOUT}:
        return _CONNECTION
    return _BY_CAUSE.get(cause, _TRANSIENT_SOFT)


def _by_reply(phase: Phase, reply: Reply) -> _Class:
    if phase in {Phase.DONE, Phase.QUIT}:
        return _AMBIGUOUS  # not an answer to the mail, which is out already
    if reply.code in {530, 534, 535}:
        return _TLS if reply.code == 530 and "starttls" in reply.text.lower() else _AUTH  # noqa: PLR2004 - the code itself
    match reply.code // 100:
        case 2 | 3:
            return _unexpected(phase, reply)
        case 4:
            return _refused_for_now(phase, reply)
        case 5:
            return _refused_for_good(phase, reply)
        case _:
            return _by_cause(phase, FaultCause.UNPARSABLE)


def _unexpected(phase: Phase, reply: Reply) -> _Class:
    """2yz is what the dot waits for; any other 2yz or 3yz that became a fault is not what was asked."""
    if phase == Phase.DOT and reply.code // 100 == 2:  # noqa: PLR2004 - the class itself
        return _SENT
    return _by_cause(phase, FaultCause.UNPARSABLE)


def _refused_for_now(phase: Phase, reply: Reply) -> _Class:
    greylisted = _is_greylisting(reply)
    if reply.code == _CLOSING:
        return _Class(Kind.TRANSIENT, BreakerEffect.SOFT, greylisted=greylisted)
    if greylisted:
        return _GREYLISTED
    return _TRANSIENT if phase == Phase.RCPT else _TRANSIENT_SOFT


def _is_greylisting(reply: Reply) -> bool:
    words = reply.text.lower()
    return (
        reply.code == _MAILBOX_BUSY
        or (reply.code == _LOCAL_ERROR and reply.enhanced == "4.7.1")
        or any(word in words for word in ("greylist", "graylist", "grey-list", "gray-list"))
    )


def _refused_for_good(phase: Phase, reply: Reply) -> _Class:
    if phase in _GREETING:
        return _CONNECTION
    match phase:
        case Phase.STARTTLS:
            return _TLS
        case Phase.AUTH:
            return _TLS if reply.code == _ENCRYPTION_NEEDED else _AUTH
        case Phase.MAIL:
            return _REFUSED if _is_about_size(reply) else _SENDER_REFUSED
        case Phase.RCPT:
            return _REFUSED_STREAK if _is_about_policy(reply) else _REFUSED
        case _:
            return _REFUSED_STREAK


def _is_about_size(reply: Reply) -> bool:
    """A server that knows SIZE may refuse this mail at MAIL (RFC 1870); that says nothing of the sender."""
    return reply.code == _TOO_LARGE or reply.enhanced == "5.3.4"


def _is_about_policy(reply: Reply) -> bool:
    """One relay mistake refuses every recipient; servers without enhanced codes put it into words."""
    if reply.enhanced is None:
        return "relay" in reply.text.lower()
    return reply.enhanced.startswith("5.7.")
