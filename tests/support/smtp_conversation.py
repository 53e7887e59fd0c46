"""One connection of the scripted SMTP server: reads commands, answers by the script or like a good one."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import socket
import time
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING

from tests.support.smtp_script import HangUp

if TYPE_CHECKING:
    from tests.support.smtp_server import SmtpServer

MAX_LINE = 16 * 1024


class Conversation:
    """One connection, one thread."""

    def __init__(self, server: SmtpServer, sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number
        self.options = server.options
        self._buffer = bytearray()
        self._encrypted = False
        self._user: str | None = None
        self._accepted = 0
        self._mail_from: str | None = None
        self._mail_options: tuple[str, ...] = ()
        self._rcpt_tos: list[str] = []
        self._data = b""

    # -- the wire --------------------------------------------------------------------------------------------

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise HangUp from error

    def say(self, text: str) -> None:
        """Send a reply; a multi-line text becomes a multi-line reply."""
        *first, last = text.split("\n")
        code = last[:3]
        lines = [f"{line[:3]}-{line[4:]}" if line.startswith(code) else f"{code}-{line}" for line in first]
        self.raw("".join(f"{line}\r\n" for line in [*lines, last]).encode())

    def wait_for_the_end(self) -> None:
        """Swallow what comes until the client closes or the server stops."""
        while self._receive():
            self._buffer.clear()

    def await_bytes(self, needle: bytes) -> None:
        """Return when these bytes wait to be read."""
        while needle not in self._buffer:
            if not self._receive():
                raise HangUp

    def skip(self, count: int) -> None:
        """Read and forget this many bytes."""
        while len(self._buffer) < count:
            if not self._receive():
                raise HangUp
        del self._buffer[:count]

    def break_off(self, text: str | None) -> None:
        """Close from another thread."""
        try:
            if text is not None:
                self.sock.sendall(f"{text}\r\n".encode())
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:
            return

    def _receive(self) -> bool:
        try:
            chunk = self.sock.recv(65536)
        except OSError as error:
            if isinstance(error, TimeoutError) and not self.server.stopping.is_set():
                self.say("421 4.4.2 idle for too long")
            return False
        self._buffer += chunk
        if not self._encrypted:
            self.server.plaintext += chunk
        return bool(chunk)

    def _until(self, end: bytes, limit: int | None = None) -> bytes:
        searched = 0
        while (at := self._buffer.find(end, max(searched - len(end), 0))) < 0:
            searched = len(self._buffer)
            if (limit is not None and searched > limit) or not self._receive():
                raise HangUp
        found = bytes(self._buffer[: at + len(end)])
        del self._buffer[: at + len(end)]
        return found

    def _line(self) -> str:
        return self._until(b"\r\n", MAX_LINE)[:-2].decode("utf-8", "replace")

    def _encrypt(self) -> None:
        try:
            self.sock = self.server.context.wrap_socket(self.sock, server_side=True)
        except OSError as error:
            raise HangUp from error
        self._encrypted = True

    # -- the conversation ------------------------------------------------------------------------------------

    def run(self) -> None:
        """Talk until one side hangs up."""
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock.settimeout(self.options.idle)
            if self.options.implicit_tls:
                self._encrypt()
            if self._scripted("banner") is None:
                self.say("220 sink.example ESMTP ready")
            while True:
                self._obey(self._line())
        except HangUp:
            pass
        finally:
            self.sock.close()
            self.server.note_end(self)

    def _scripted(self, phase: str, address: str = "") -> bool | None:
        """Do what the script wants at this phase; None when the server is to go on as usual."""
        action = self.server.action(phase, address)
        return None if action is None else action(self)

    def _obey(self, line: str) -> None:
        self.server.note_command(self.number, line, encrypted=self._encrypted)
        verb, _, rest = line.partition(" ")
        handler = {
            "EHLO": self._ehlo,
            "HELO": self._ehlo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data_command,
            "RSET": self._rset,
            "NOOP": lambda _: self.say("250 2.0.0 Ok"),
            "QUIT": self._quit,
        }.get(verb.upper())
        if handler is None:
            self.say("500 5.5.2 unknown command")
        else:
            handler(rest)

    def _ehlo(self, _: str) -> None:
        self._clear()
        if self._scripted("ehlo") is not None:
            return
        options = self.options
        keywords = [
            "PIPELINING" if options.pipelining else "",
            "8BITMIME" if options.eightbitmime else "",
            "SMTPUTF8" if options.smtputf8 else "",
            f"SIZE {options.size}" if options.size is not None else "",
            "STARTTLS" if options.starttls and not self._encrypted else "",
            "AUTH " + " ".join(options.mechanisms) if options.mechanisms else "",
            "ENHANCEDSTATUSCODES",
        ]
        self.say("\n".join(["250-sink.example"] + [f"250 {word}" for word in keywords if word]))

    def _starttls(self, _: str) -> None:
        if self._scripted("starttls") is not None:
            return
        if not self.options.starttls or self._encrypted:
            self.say("502 5.5.1 not offered")
            return
        self.say("220 2.0.0 go ahead")
        self._buffer.clear()
        self._encrypt()
        self._user = None

    def _auth(self, rest: str) -> None:
        if self._scripted("auth") is not None:
            return
        name, _, initial = rest.partition(" ")
        if name.upper() not in self.options.mechanisms:
            self.say("504 5.5.4 unrecognized mechanism")
            return
        try:
            user = {"PLAIN": self._plain, "LOGIN": self._login, "CRAM-MD5": self._cram}[name.upper()](initial)
        except (binascii.Error, ValueError):
            self.say("501 5.5.2 not base64")
            return
        if user is None:
            self.say("535 5.7.8 authentication failed")
        else:
            self._user = user
            self.say("235 2.7.0 welcome")

    def _ask(self, challenge: str) -> str:
        self.say("334 " + base64.b64encode(challenge.encode()).decode())
        return base64.b64decode(self._line(), validate=True).decode()

    def _plain(self, initial: str) -> str | None:
        text = base64.b64decode(initial, validate=True).decode() if initial else self._ask("")
        _, user, password = text.split("\0")
        return self._known(user, password)

    def _login(self, initial: str) -> str | None:
        user = base64.b64decode(initial).decode() if initial else self._ask("Username:")
        return self._known(user, self._ask("Password:"))

    def _cram(self, _: str) -> str | None:
        challenge = f"<{self.number}.{time.monotonic_ns()}@sink.example>"
        user, _, digest = self._ask(challenge).rpartition(" ")
        secret = self.options.users.get(user)
        if secret is None:
            return None
        wanted = hmac.new(secret.encode(), challenge.encode(), "md5").hexdigest()
        return user if hmac.compare_digest(wanted, digest) else None

    def _known(self, user: str, password: str) -> str | None:
        return user if self.options.users.get(user) == password else None

    def _mail(self, rest: str) -> None:
        if self.options.max_mails is not None and self._accepted >= self.options.max_mails:
            self.say("421 4.7.0 too many mails on this connection")
            raise HangUp
        found = re.fullmatch(r"FROM:<([^<>]*)>((?: [^ ]+)*)", rest, re.IGNORECASE)
        address = found[1] if found else ""
        answered = self._scripted("mail", address)
        if answered is None:
            refusal = self._why_not_mail(found)
            self.say(refusal or "250 2.1.0 Ok")
            answered = not refusal
        if answered and found is not None:
            self._mail_from = address
            self._mail_options = tuple(found[2].split())

    def _why_not_mail(self, found: re.Match[str] | None) -> str:
        options = self.options
        if found is None:
            return "501 5.5.4 syntax: MAIL FROM:<address>"
        words = found[2].upper().split()
        sizes = [int(word[5:]) for word in words if word.startswith("SIZE=")]
        faults = {
            "503 5.5.1 nested MAIL command": self._mail_from is not None,
            "530 5.7.0 Must issue a STARTTLS command first": options.require_tls and not self._encrypted,
            "530 5.7.0 authentication required": options.require_auth and self._user is None,
            "553 5.6.7 no SMTPUTF8 here": not found[1].isascii()
            and not (options.smtputf8 and "SMTPUTF8" in words),
            "552 5.3.4 message size exceeds fixed limit": bool(options.size and sizes)
            and sizes[0] > (options.size or 0),
        }
        return next((text for text, is_so in faults.items() if is_so), "")

    def _rcpt(self, rest: str) -> None:
        found = re.fullmatch(r"TO:<([^<> ]+)>", rest, re.IGNORECASE)
        address = found[1] if found else ""
        answered = self._scripted("rcpt", address)
        if answered is None:
            answered = self._mail_from is not None and found is not None
            if answered:
                self.say("250 2.1.5 Ok")
            else:
                self.say("503 5.5.1 need MAIL command" if found else "501 5.1.3 bad recipient address syntax")
        if answered:
            self._rcpt_tos.append(address)

    def _data_command(self, _: str) -> None:
        address = ",".join(self._rcpt_tos)
        answered = self._scripted("data", address)
        if answered is None:
            answered = bool(self._rcpt_tos)
            self.say("354 go ahead" if answered else "503 5.5.1 need RCPT command")
        if not answered:
            return
        self._scripted("body", address)
        self._data = self._read_mail()
        self._after_dot(address)

    def _read_mail(self) -> bytes:
        if self._buffer.startswith(b".\r\n") or (not self._buffer and self._receive_some() == b".\r\n"):
            del self._buffer[:3]
            return b""
        data = self._until(b"\r\n.\r\n")[:-3]
        return re.sub(rb"(\A|\r\n)\.", rb"\1", data)

    def _receive_some(self) -> bytes:
        if not self._receive():
            raise HangUp
        return bytes(self._buffer[:3])

    def _after_dot(self, address: str) -> None:
        if self.options.delay:
            self.server.stopping.wait(self.options.delay)
        answered = self._scripted("dot", address)
        if answered is not None:
            self.accept_now(accepted=answered)
        elif not self._rcpt_tos:
            self.say("554 5.5.1 no valid recipients")
        elif self.options.size and len(self._data) > self.options.size:
            self.say("552 5.3.4 message too big")
        else:
            self.accept_now(accepted=True)
            self.say(f"250 2.0.0 Ok: queued as {self.number}-{self._accepted}")
        self._clear()

    def accept_now(self, *, accepted: bool) -> None:
        """Count the mail in hand as accepted, if so."""
        if not accepted:
            return
        self._accepted += 1
        headers = BytesHeaderParser().parsebytes(self._data)
        self.server.note_mail(
            message_id=str(headers.get("Message-ID", "")),
            mail_from=self._mail_from or "",
            rcpt_tos=tuple(self._rcpt_tos),
            options=self._mail_options,
            data=self._data,
            connection=self.number,
        )

    def _rset(self, _: str) -> None:
        if self._scripted("rset") is None:
            self._clear()
            self.say("250 2.0.0 Ok")

    def _quit(self, _: str) -> None:
        if self._scripted("quit") is None:
            self.say("221 2.0.0 Bye")
        raise HangUp

    def _clear(self) -> None:
        self._mail_from = None
        self._mail_options = ()
        self._rcpt_tos = []
        self._data = b""
