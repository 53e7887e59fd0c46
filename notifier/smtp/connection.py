"""smtplib with a phase, deadlines that dripping bytes cannot stretch, and bounded replies.

smtplib's exceptions cannot tell where a conversation broke, so everything leaves here as an SmtpFault.
A plain socket blocks for half a second at most, a TLS one never and is waited for with poll: each system call makes
the thread queue for the interpreter again, so there is one per read, and no `settimeout`.
"""

from __future__ import annotations

import errno
import os
import select
import smtplib
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any, Never

import structlog

from notifier.domain.errors import SmtpFault
from notifier.domain.replies import Reply
from notifier.domain.vocabulary import FaultCause, Phase
from notifier.smtp import tls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notifier.smtp.policy import Target

MAX_REPLY_LINES = 100
MAX_REPLY_BYTES = 64 * 1024
_LOWEST_CODE, _HIGHEST_CODE = 200, 599
_RECEIVE = 8192
_CONNECT_CAUSES = {errno.ECONNREFUSED: FaultCause.REFUSED, errno.ETIMEDOUT: FaultCause.TIMEOUT}
_SLICE = 0.5  # seconds between looks at the abort flag while nothing happens
_SLICE_OF_THE_KERNEL = struct.pack("@ll", 0, round(_SLICE * 1_000_000))  # a struct timeval

_log = structlog.get_logger(__name__)

WORDS = {
    Phase.PREPARE: "the preparation",
    Phase.CONNECT: "the connection",
    Phase.BANNER: "the connection",
    Phase.EHLO: "EHLO",
    Phase.STARTTLS: "STARTTLS",
    Phase.AUTH: "the login",
    Phase.MAIL: "MAIL FROM",
    Phase.RCPT: "RCPT TO",
    Phase.DATA: "DATA",
    Phase.BODY: "the mail's text",
    Phase.DOT: "the end of the mail",
    Phase.DONE: "RSET",
    Phase.QUIT: "QUIT",
}


class PhasedSMTP(smtplib.SMTP):
    """One connection. `phase` is where it stands; `begin` sets it with its deadline."""

    def __init__(
        self, *, host: str, local_hostname: str, secrets: Sequence[str], clock: Callable[[], float]
    ) -> None:
        super().__init__(local_hostname=local_hostname)
        self.phase = Phase.CONNECT
        self.peer_ip = ""
        self._peer = host
        self._secrets = secrets
        self._clock = clock
        self._buffer = bytearray()
        self._readable = select.poll()
        self._writable = select.poll()
        self._limit = float("inf")
        self._deadline = float("inf")
        self._slow: tuple[float, Callable[[], None]] | None = None
        self._aborted = False

    # -- the socket ------------------------------------------------------------------------------------------

    def dial(self, target: Target) -> None:
        """Connect to a checked address within the phase's deadline."""
        try:
            sock = socket.socket(target.family, socket.SOCK_STREAM)
        except OSError as error:  # no file descriptor left: our fault, not the server's
            self.fail(FaultCause.NOT_STARTED, "got no socket", error)
        self._attach(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _SLICE_OF_THE_KERNEL)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SLICE_OF_THE_KERNEL)
        code = sock.connect_ex(target.sockaddr)
        if code == errno.EINPROGRESS:
            self._wait(self._writable)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        sock.settimeout(None)
        if code:
            cause = _CONNECT_CAUSES.get(code, FaultCause.UNREACHABLE)
            self.fail(cause, "could not be reached", OSError(code, os.strerror(code)))
        self.peer_ip = target.ip

    def secure(self, context: ssl.SSLContext, *, server_hostname: str) -> None:
        """Do the TLS handshake within the phase's deadline; the certificate must name `server_hostname`."""
        if self._buffer:  # an attacker's plain text that would be taken for the server's protected answer
            self.fail(FaultCause.HANDSHAKE, "sent data before the TLS handshake")
        try:
            # wrap_socket refuses such a name too, but loses the socket on the way out.
            name = server_hostname.encode("idna").decode("ascii")
            sock = context.wrap_socket(self._live(), server_hostname=name, do_handshake_on_connect=False)
            self._attach(sock)
            self._shake_hands(sock)
        except (OSError, ValueError) as error:
            cause, what = tls.explain(error, server_hostname)
            self.fail(cause, what)

    def _shake_hands(self, sock: ssl.SSLSocket) -> None:
        while True:
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                self._wait(self._readable)
            except ssl.SSLWantWriteError:
                self._wait(self._writable)
            else:
                return

    def _attach(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        self.sock = sock
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(sock, select.POLLOUT)

    def abort(self) -> None:
        """Break the connection from another thread when a drain ends; the owner sees it lost within half a second."""
        self._aborted = True
        sock = self.sock
        if sock is not None:
            try:
                # Not SSLSocket.shutdown: that would pull the TLS state away under the owner's hands.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return  # closed already

    @property
    def alive(self) -> bool:
        """Whether the connection can carry another command."""
        return self.sock is not None and not self._aborted

    def _live(self) -> socket.socket:
        sock: socket.socket | None = self.sock
        if self._aborted or sock is None:
            self.fail(FaultCause.LOST, "is no longer connected")
        return sock

    # -- phases and deadlines --------------------------------------------------------------------------------

    def bound(self, seconds: float) -> None:
        """Let everything from here to the next `bound` take at most this long."""
        self._limit = self._clock() + seconds

    def begin(self, phase: Phase, seconds: float) -> None:
        """Enter a phase that may take this long."""
        self.phase = phase
        self._deadline = min(self._clock() + seconds, self._limit)

    def rest(self) -> float:
        """Return the seconds left in this phase; raises SmtpFault when there are none."""
        left = self._deadline - self._clock()
        if left <= 0:
            self.fail(FaultCause.TIMEOUT, "took too long")
        return left

    def _wait(self, poll: select.poll) -> None:
        """Return when the socket can be read or written."""
        self._live()
        while not poll.poll(self._pause() * 1000):
            self._live()
            self._notice_slowness()

    def _pause(self) -> float:
        pause = min(self.rest(), _SLICE)
        return max(min(pause, self._slow[0] - self._clock()), 0.0) if self._slow else pause

    def _notice_slowness(self) -> None:
        if self._slow and self._clock() >= self._slow[0]:
            callback = self._slow[1]
            self._slow = None
            callback()

    # -- writing ---------------------------------------------------------------------------------------------

    def send(self, s: Any) -> None:  # noqa: ANN401 - smtplib hands over str or a buffer
        """Write a command within the phase's deadline. Raises SmtpFault; then nothing more can be sent."""
        self.write(s.encode(self.command_encoding) if isinstance(s, str) else s)

    def write_mail(self, text: bytes, lines: bytes, *, stall: float) -> None:
        """Write a mail's text up to its dot, and commands behind it, which are past the dot if they fail."""
        if lines and isinstance(self.sock, ssl.SSLSocket):
            # How much of one write is out nobody can tell here; the dot must be known to be.
            self.write(text, stall=stall)
            self.phase = Phase.DOT
            self.write(lines, stall=stall)
        else:
            self.write(text + lines, stall=stall, dot_at=len(text))

    def write(self, data: bytes, *, stall: float | None = None, dot_at: int | None = None) -> None:
        """Hand all of `data` to the socket. With `stall` the deadline is that long after each progress.

        With `dot_at` the phase is DOT as soon as so many bytes are out.
        """
        sock = self._live()
        view = memoryview(data)
        while True:
            try:
                view = view[sock.send(view) :]
                if not view:
                    return
                if dot_at is not None and len(data) - len(view) >= dot_at:
                    self.phase = Phase.DOT
                self.rest()  # a socket that blocks may take a little for ever
                if stall is not None:
                    self.begin(self.phase, stall)
            except ssl.SSLWantReadError:
                self._wait(self._readable)
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(self._writable)
            except OSError as error:
                self.fail(FaultCause.LOST, "closed the connection", error)

    # -- reading ---------------------------------------------------------------------------------------------

    def getreply(self, *, on_slow: Callable[[], None] | None = None, slow: float = 0.0) -> tuple[int, bytes]:
        """Read one reply: its code and its lines joined by newlines. Raises SmtpFault.

        `on_slow` is called once if the reply is not complete after `slow` seconds.
        """
        self._slow = (self._clock() + slow, on_slow) if on_slow else None
        lines: list[bytes] = []
        room, more = MAX_REPLY_BYTES, True
        while more:
            if len(lines) == MAX_REPLY_LINES:
                self.fail(FaultCause.UNPARSABLE, f"sent a reply of more than {MAX_REPLY_LINES} lines")
            line = self._line(room)
            room -= len(line)
            code, mark = line[:3], line[3:4]
            if not code.isdigit() or mark not in b" -\r\n" or not _LOWEST_CODE <= int(code) <= _HIGHEST_CODE:
                # What it says is not repeated: it is no mail server, and who chose the host may not know its secrets.
                self.fail(FaultCause.UNPARSABLE, "answered what is no SMTP reply")
            lines.append(line[4:].strip())
            more = mark == b"-"
        return int(code), b"\n".join(lines)

    def _line(self, room: int) -> bytes:
        buffer = self._buffer
        while (end := buffer.find(b"\n") + 1) == 0:
            if len(buffer) >= room:
                self.fail(FaultCause.UNPARSABLE, f"sent a reply of more than {MAX_REPLY_BYTES} bytes")
            buffer += self._receive()
        line = bytes(buffer[:end])
        del buffer[:end]
        return line

    def _receive(self) -> bytes:
        sock = self._live()
        # The kernel would wait for too long. Not with TLS, which may hold what poll no longer sees.
        if self._pause() < _SLICE and not isinstance(sock, ssl.SSLSocket):
            self._wait(self._readable)
        while True:
            try:
                chunk = sock.recv(_RECEIVE)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(self._readable)
            except ssl.SSLWantWriteError:
                self._wait(self._writable)
            except OSError as error:
                self.fail(FaultCause.LOST, "broke the connection", error)
            else:
                return chunk or self.fail(FaultCause.LOST, "closed the connection")

    # -- replies and faults ----------------------------------------------------------------------------------

    def read_reply(self, code: int, raw: bytes) -> Reply:
        """Make a reply value: cleaned, secrets masked (B55, B56)."""
        return Reply.read(code, raw.decode("utf-8", "replace"), secrets=self._secrets)

    def refuse(self, code: int, raw: bytes) -> Never:
        """Raise the fault for a reply that is not the one hoped for."""
        reply = self.read_reply(code, raw)
        detail = f"{self._peer} answered {WORDS[self.phase]} with {reply}"
        raise SmtpFault(phase=self.phase, cause=FaultCause.REPLY, detail=detail, reply=reply)

    def fail(self, cause: FaultCause, what: str, error: OSError | None = None) -> Never:
        """Close the connection, which is of no more use, and raise the fault."""
        self.close()
        if self._aborted and cause == FaultCause.LOST:  # the server broke nothing
            gave_up = "the worker gave up at the end of its drain"
            detail = f"{gave_up}: {self._peer} had not answered {WORDS[self.phase]}"
            raise SmtpFault(phase=self.phase, cause=cause, detail=detail) from error
        reason = f" ({error.strerror})" if error is not None and error.strerror else ""
        where = {Phase.CONNECT: "", Phase.BANNER: " before its greeting"}.get(
            self.phase, f" at {WORDS[self.phase]}"
        )
        detail = f"{self._peer} {what}{where}{reason}"
        raise SmtpFault(phase=self.phase, cause=cause, detail=detail) from error

    def give_up(self, error: Exception) -> Never:
        """Close the connection after an error that nobody foresaw, and raise the fault: where it stood decides."""
        _log.error("smtp_unforeseen_error", server=self._peer, phase=self.phase, exc_info=error)
        self.close()
        text = self.read_reply(0, str(error).encode("utf-8", "replace")).text
        detail = f"{self._peer} could not be spoken to at {WORDS[self.phase]}: {type(error).__name__}: {text}"
        raise SmtpFault(phase=self.phase, cause=FaultCause.LOST, detail=detail) from error
