"""One mail over an open connection: envelope, text, dot, final reply.

Where the server offers PIPELINING (RFC 2920) the envelope is one write, and that of the next mail leaves with the dot:
a mail then costs one round trip. Its text still waits for the answer to its own DATA.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from notifier.domain.errors import SmtpFault
from notifier.domain.vocabulary import FaultCause, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.domain.mail import Outgoing
    from notifier.domain.replies import Reply
    from notifier.smtp.connection import PhasedSMTP
    from notifier.smtp.deadlines import Deadlines

_CLOSING, _START_INPUT = 421, 354
_LOWEST_REFUSAL = 400
_OUT_OF_TURN = frozenset({500, 502, 503})  # an unknown command, or one in the wrong place (RFC 5321 4.2.1)
_NOT_IN_A_PATH = re.compile(r"[\x00-\x20\x7f<>]")


class _Command(NamedTuple):
    phase: Phase
    seconds: float
    line: bytes

    def accepted(self, code: int) -> bool:
        return code == _START_INPUT if self.phase == Phase.DATA else code // 100 == 2  # noqa: PLR2004 - the class itself


_Commands = tuple[_Command, _Command, _Command]


class _Envelope(NamedTuple):
    mail: Outgoing
    commands: _Commands


class Transaction:
    """Sends mails one after another over `smtp`, leaving it clean for the next one.

    may_run_ahead: whether the envelope of a following mail may leave with the dot. ran_aground says that the server may
    not have stood that. It refused the mail before, broke the connection, never answered or lost its place; then the
    connection is closed.
    """

    def __init__(self, smtp: PhasedSMTP, deadlines: Deadlines) -> None:
        self._smtp = smtp
        self._deadlines = deadlines
        self._needs_reset = False
        self._ahead: _Envelope | None = None
        self.may_run_ahead = True
        self.ran_aground = False

    @property
    def between_mails(self) -> bool:
        """Whether the server expects a command: no envelope is out whose text is not."""
        return self._ahead is None

    def run(
        self,
        mail: Outgoing,
        *,
        following: Outgoing | None,
        seconds: float,
        on_dot: Callable[[], None] | None,
        on_slow: Callable[[], None] | None,
    ) -> Reply:
        """Send one mail within so many seconds; return the final 2yz reply. Raises SmtpFault.

        If one follows, its envelope may leave with this one: then no other may be sent next.
        """
        smtp, deadlines = self._smtp, self._deadlines
        smtp.bound(seconds)
        self._open(mail)
        ahead = self._envelope_ahead(following)
        lines = b"".join([command.line for command in ahead.commands]) if ahead else b""
        self._ahead = ahead
        try:
            smtp.begin(Phase.BODY, deadlines.body)
            smtp.write_mail(_with_its_end(mail), lines, stall=deadlines.body)
            smtp.begin(Phase.DOT, deadlines.dot)
            if on_dot is not None:
                on_dot()
            code, raw = smtp.getreply(on_slow=on_slow, slow=deadlines.slow)
            if code // 100 != 2:  # noqa: PLR2004 - any 2yz is success, 251 too
                self._refuse(code, raw)
        except SmtpFault as fault:
            if ahead is not None and fault.phase == Phase.DOT:
                self._run_aground()
            raise
        smtp.phase = Phase.DONE
        return smtp.read_reply(code, raw)

    def _open(self, mail: Outgoing) -> None:
        """Have the server expect the text of this mail."""
        if self._ahead is not None:
            self._take_up(mail)
        elif "pipelining" in self._smtp.esmtp_features:
            self._together(self._commands(mail))
        else:
            self._one_by_one(self._commands(mail))

    def _envelope_ahead(self, mail: Outgoing | None) -> _Envelope | None:
        if mail is None or not self.may_run_ahead or "pipelining" not in self._smtp.esmtp_features:
            return None
        try:
            return _Envelope(mail, self._commands(mail))
        except SmtpFault:  # it says so itself when its turn comes
            return None

    def _take_up(self, mail: Outgoing) -> None:
        """Read the answers to the envelope that left with the dot of the mail before."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead.mail is not mail:
            self._smtp.fail(FaultCause.LOST, "was promised another mail")
        try:
            self._read_answers(ahead.commands, ahead=True)
        except SmtpFault as fault:
            if fault.cause != FaultCause.REPLY:
                self._run_aground()
            raise

    def _run_aground(self) -> None:
        """What is answered from here on may be meant for another command: nothing more of it is read."""
        self.ran_aground = True
        self._smtp.close()

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

    def _commands(self, mail: Outgoing) -> _Commands:
        """Return the envelope. Raises SmtpFault when the server cannot take such a mail."""
        features, deadlines = self._smtp.esmtp_features, self._deadlines
        mail_from, rcpt_to, size = mail.mail_from, mail.rcpt_to, mail.size
        smtputf8 = not (mail_from.isascii() and rcpt_to.isascii())
        self._check(mail_from=mail_from, rcpt_to=rcpt_to, size=size, smtputf8=smtputf8)
        options = f" SIZE={size}" if "size" in features else ""
        if "8bitmime" in features and not all(map(bytes.isascii, mail.pieces)):
            options += " BODY=8BITMIME"
        if smtputf8:
            options += " SMTPUTF8"
        return (
            _Command(Phase.MAIL, deadlines.mail, f"MAIL FROM:<{mail_from}>{options}\r\n".encode()),
            _Command(Phase.RCPT, deadlines.rcpt, f"RCPT TO:<{rcpt_to}>\r\n".encode()),
            _Command(Phase.DATA, deadlines.data, b"DATA\r\n"),
        )

    def _one_by_one(self, commands: _Commands) -> None:
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

    def _together(self, commands: _Commands) -> None:
        """Write the envelope at once, with a RSET in front after a refusal; the first refusal decides."""
        smtp = self._smtp
        smtp.begin(Phase.MAIL, self._deadlines.mail)
        lines = b"".join([command.line for command in commands])
        if self._needs_reset:
            smtp.write(b"RSET\r\n" + lines)
            self._read_reset()
        else:
            smtp.write(lines)
        self._read_answers(commands)

    def _read_answers(self, commands: _Commands, *, ahead: bool = False) -> None:
        """Read the answers to an envelope; the first refusal decides."""
        smtp = self._smtp
        for at, command in enumerate(commands):
            smtp.begin(command.phase, command.seconds)
            code, raw = smtp.getreply()
            if not command.accepted(code):
                if ahead and code in _OUT_OF_TURN:
                    smtp.fail(FaultCause.LOST, f"lost its place and answered {code}")
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


def _with_its_end(mail: Outgoing) -> bytes:
    """Return the mail as it goes over the wire: dots doubled at line starts, dot last (RFC 5321 4.5.2)."""
    if mail.dotless:
        return b"".join((*mail.pieces, b".\r\n"))
    data = mail.data.replace(b"\r\n.", b"\r\n..")
    data = b"." + data if data.startswith(b".") else data
    return data + (b".\r\n" if data.endswith(b"\r\n") else b"\r\n.\r\n")


def _unsendable(cause: FaultCause, detail: str) -> SmtpFault:
    return SmtpFault(phase=Phase.PREPARE, cause=cause, detail=detail)
