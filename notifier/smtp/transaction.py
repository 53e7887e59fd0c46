"""One mail over an open connection: envelope (pipelined when offered, RFC 2920), text, dot, final reply."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier.domain.errors import SmtpFault
from notifier.domain.vocabulary import FaultCause, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.domain.replies import Reply
    from notifier.smtp.connection import PhasedSMTP
    from notifier.smtp.deadlines import Deadlines

_CLOSING, _START_INPUT = 421, 354
_LOWEST_REFUSAL = 400
_NOT_IN_A_PATH = re.compile(r"[\x00-\x20\x7f<>]")


@dataclass(frozen=True, slots=True)
class _Command:
    phase: Phase
    seconds: float
    line: bytes

    def accepted(self, code: int) -> bool:
        return code == _START_INPUT if self.phase == Phase.DATA else code // 100 == 2  # noqa: PLR2004 - the class itself


class Transaction:
    """Sends mails one after another over `smtp`, leaving it clean for the next one."""

    def __init__(self, smtp: PhasedSMTP, deadlines: Deadlines) -> None:
        self._smtp = smtp
        self._deadlines = deadlines
        self._needs_reset = False

    def run(
        self,
        *,
        mail_from: str,
        rcpt_to: str,
        data: bytes,
        smtputf8: bool,
        on_dot: Callable[[], None] | None,
        on_slow: Callable[[], None] | None,
    ) -> Reply:
        """Send one mail; return the final 2yz reply. Raises SmtpFault."""
        smtp, deadlines = self._smtp, self._deadlines
        smtputf8 = smtputf8 or not (mail_from.isascii() and rcpt_to.isascii())
        self._check(mail_from=mail_from, rcpt_to=rcpt_to, size=len(data), smtputf8=smtputf8)
        smtp.bound(deadlines.message)
        commands = self._commands(mail_from=mail_from, rcpt_to=rcpt_to, data=data, smtputf8=smtputf8)
        if "pipelining" in smtp.esmtp_features:
            self._together(commands)
        else:
            self._one_by_one(commands)
        smtp.begin(Phase.BODY, deadlines.body)
        smtp.write(dot_stuffed(data), stall=deadlines.body)
        smtp.begin(Phase.DOT, deadlines.dot)
        if on_dot is not None:
            on_dot()
        code, raw = smtp.getreply(on_slow=on_slow, slow=deadlines.slow)
        if code // 100 != 2:  # noqa: PLR2004 - any 2yz is success, 251 too
            self._refuse(code, raw)
        smtp.phase = Phase.DONE
        return smtp.read_reply(code, raw)

    def _check(self, *, mail_from: str, rcpt_to: str, size: int, smtputf8: bool) -> None:
        """Refuse before MAIL what the server cannot take, so that the connection stays clean (B34)."""
        features = self._smtp.esmtp_features
        limit = features.get("size", "")
        if smtputf8 and "smtputf8" not in features:
            raise _unsendable(FaultCause.SMTPUTF8_UNSUPPORTED, "the server takes no address outside ASCII")
        if limit.isdigit() and 0 < int(limit) < size:
            raise _unsendable(
                FaultCause.TOO_LARGE, f"the mail has {size} bytes, the server takes at most {limit}"
            )
        if _NOT_IN_A_PATH.search(rcpt_to) or not rcpt_to:
            raise _unsendable(FaultCause.INVALID_RECIPIENT, f"not a mailbox: {rcpt_to!r}")
        if _NOT_IN_A_PATH.search(mail_from):
            raise _unsendable(FaultCause.HEADER_INJECTION, f"the sender is not a mailbox: {mail_from!r}")

    def _commands(
        self, *, mail_from: str, rcpt_to: str, data: bytes, smtputf8: bool
    ) -> tuple[_Command, _Command, _Command]:
        features, deadlines = self._smtp.esmtp_features, self._deadlines
        options = f" SIZE={len(data)}" if "size" in features else ""
        if "8bitmime" in features and not data.isascii():
            options += " BODY=8BITMIME"
        if smtputf8:
            options += " SMTPUTF8"
        return (
            _Command(Phase.MAIL, deadlines.mail, f"MAIL FROM:<{mail_from}>{options}\r\n".encode()),
            _Command(Phase.RCPT, deadlines.rcpt, f"RCPT TO:<{rcpt_to}>\r\n".encode()),
            _Command(Phase.DATA, deadlines.data, b"DATA\r\n"),
        )

    def _one_by_one(self, commands: tuple[_Command, ...]) -> None:
        smtp = self._smtp
        if self._needs_reset:
            smtp.begin(Phase.MAIL, self._deadlines.mail)
            smtp.write(b"RSET\r\n")
            self._read_reset()
        for command in commands:
            smtp.begin(command.phase, command.seconds)
            smtp.write(command.line)
            code, raw = smtp.getreply()
            if not command.accepted(code):
                self._refuse(code, raw)

    def _together(self, commands: tuple[_Command, ...]) -> None:
        """Write the envelope at once, with a RSET in front after a refusal; the first refusal decides."""
        smtp = self._smtp
        smtp.begin(Phase.MAIL, self._deadlines.mail)
        lines = b"".join([command.line for command in commands])
        if self._needs_reset:
            smtp.write(b"RSET\r\n" + lines)
            self._read_reset()
        else:
            smtp.write(lines)
        for at, command in enumerate(commands):
            smtp.begin(command.phase, command.seconds)
            code, raw = smtp.getreply()
            if not command.accepted(code):
                if code != _CLOSING:
                    self._read_rest(commands[at + 1 :])
                smtp.phase = command.phase
                self._refuse(code, raw)

    def _read_rest(self, commands: tuple[_Command, ...]) -> None:
        """Read what the server says to the commands behind a refused one; nothing of it decides the row.

        If it starts to take a mail all the same, the mail is empty: a lone dot ends it.
        """
        smtp = self._smtp
        with suppress(SmtpFault):  # then the connection is closed
            for command in commands:
                smtp.begin(command.phase, command.seconds)
                code, _ = smtp.getreply()
                if code == _CLOSING:
                    smtp.close()
                    return
                if command.phase == Phase.DATA and code == _START_INPUT:
                    smtp.write(b".\r\n")
                    smtp.getreply()

    def _read_reset(self) -> None:
        code, _ = self._smtp.getreply()
        if code // 100 != 2:  # noqa: PLR2004 - the class itself
            self._smtp.fail(FaultCause.LOST, f"answered RSET with {code} before")
        self._needs_reset = False

    def _refuse(self, code: int, raw: bytes) -> None:
        """Raise the refusal; a server that hangs up or answers besides the point is not asked again."""
        self._needs_reset = True
        if code == _CLOSING or code < _LOWEST_REFUSAL:
            self._smtp.close()
        self._smtp.refuse(code, raw)


def dot_stuffed(data: bytes) -> bytes:
    """Return the mail as it goes over the wire: dots doubled at line starts, dot last (RFC 5321 4.5.2)."""
    end = b".\r\n" if data.endswith(b"\r\n") else b"\r\n.\r\n"
    start = b"." if data.startswith(b".") else b""
    return b"".join((start, data.replace(b"\r\n.", b"\r\n.."), end))


def _unsendable(cause: FaultCause, detail: str) -> SmtpFault:
    return SmtpFault(phase=Phase.PREPARE, cause=cause, detail=detail)
