"""A real SMTP server on a socket that does what the script says at any phase, and writes down what it saw.

    with SmtpServer(Options(starttls=True)) as server:
        server.on("rcpt", say("451 4.7.1 greylisted"), address="b@x.org", times=2)
        server.on("dot", drop(accept=True))

Phases are banner, ehlo, starttls, auth, mail, rcpt, data, body, dot, rset and quit. Without a matching line
of the script the server behaves well.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tests.support.certificates import authority
from tests.support.smtp_conversation import Conversation
from tests.support.smtp_script import Action, HangUp, ScriptLine

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a well-behaved server offers. `context` is its TLS side; the default names localhost."""

    host: str = "127.0.0.1"
    port: int = 0
    pipelining: bool = True
    eightbitmime: bool = True
    smtputf8: bool = False
    size: int | None = None
    starttls: bool = False
    implicit_tls: bool = False
    require_tls: bool = False
    context: ssl.SSLContext | None = None
    mechanisms: tuple[str, ...] = ()
    users: Mapping[str, str] = field(default_factory=dict)
    require_auth: bool = False
    max_mails: int | None = None  # per connection, then 421
    idle: float | None = None  # seconds, then 421 and close
    delay: float = 0.0  # seconds before the answer to each dot
    receive_buffer: int | None = None  # bytes that the system takes in before they are read


@dataclass(frozen=True, kw_only=True)
class Mail:
    """One accepted mail."""

    message_id: str
    mail_from: str
    rcpt_tos: tuple[str, ...]
    options: tuple[str, ...]
    data: bytes  # dots undone
    connection: int
    at: float  # time.monotonic


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command line as it came; `encrypted` if inside TLS."""

    connection: int
    line: str
    encrypted: bool
    at: float  # time.monotonic


class SmtpServer:
    """Listens from `start` (or `with`) to `stop`. Everything recorded may be read at any time."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.stopping = threading.Event()
        self.mails: list[Mail] = []
        self.commands: list[Command] = []
        self.plaintext = bytearray()  # every byte that came outside TLS
        self.connections = 0
        self.open_now = 0
        self.most_open = 0
        self._script: list[ScriptLine] = []
        self._changed = threading.Condition()
        self._live: set[Conversation] = set()
        self._numbers = itertools.count(1)
        self._listener = socket.create_server((self.options.host, self.options.port), backlog=128)
        self._threads: list[threading.Thread] = []
        if self.options.receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.options.receive_buffer)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.getsockname()[1])

    @property
    def context(self) -> ssl.SSLContext:
        """The TLS side."""
        return self.options.context or authority().server_context(names=("localhost", "127.0.0.1"))

    def on(
        self,
        phase: str,
        action: Action,
        *,
        address: str | None = None,
        after: int = 0,
        times: int | None = None,
    ) -> None:
        """Add a line to the script: from the occurrence `after` on, `times` times (None: for ever).

        `address` limits it to mails whose recipient (at mail: sender) contains this text.
        """
        line = ScriptLine(phase=phase, action=action, address=address, after=after, times=times)
        with self._changed:
            self._script.append(line)

    def forget(self) -> None:
        """Drop the script: from now on the server behaves."""
        with self._changed:
            self._script.clear()

    def accepted(self) -> Counter[str]:
        """Return how often each Message-ID was accepted."""
        with self._changed:
            return Counter(mail.message_id for mail in self.mails)

    def verbs(self) -> list[str]:
        """Return the first word of each command so far."""
        with self._changed:
            return [command.line.split(" ")[0].upper() for command in self.commands]

    def wait_for(self, condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
        """Return when the condition holds; it is looked at whenever something happened here."""
        with self._changed:
            if not self._changed.wait_for(condition, seconds):
                msg = f"the SMTP server waited {seconds} s in vain"
                raise AssertionError(msg)

    def hang_up(self, text: str | None = None) -> None:
        """Close every open connection, with a last word if given; return when they are closed."""
        with self._changed:
            live = list(self._live)
        for conversation in live:
            conversation.break_off(text)
        self.wait_for(lambda: not self._live & set(live))

    def start(self) -> Self:
        """Begin to accept connections."""
        thread = threading.Thread(target=self._accept, name="smtp-server", daemon=True)
        thread.start()
        self._threads.append(thread)
        return self

    def stop(self) -> None:
        """Close everything; returns when every thread has ended."""
        self.stopping.set()
        with self._changed:
            live = list(self._live)
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            self._listener.close()
        for conversation in live:
            conversation.break_off(None)
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            conversation = Conversation(self, sock, next(self._numbers))
            with self._changed:
                self._live.add(conversation)
                self.connections += 1
                self.open_now += 1
                self.most_open = max(self.most_open, self.open_now)
                self._changed.notify_all()
            thread = threading.Thread(target=conversation.run, name="smtp-conversation", daemon=True)
            self._threads.append(thread)
            thread.start()

    def action(self, phase: str, address: str) -> Action | None:
        """Return what the script wants here, the first line that fires."""
        with self._changed:
            return next((line.action for line in self._script if line.fires(phase, address)), None)

    def wait_or_stop(self, event: threading.Event) -> None:
        """Wait for an event of the test, but not beyond the server's end."""
        while not event.wait(0.05):
            if self.stopping.is_set():
                raise HangUp

    def note_command(self, connection: int, line: str, *, encrypted: bool) -> None:
        """Write down a command."""
        with self._changed:
            self.commands.append(
                Command(connection=connection, line=line, encrypted=encrypted, at=time.monotonic())
            )
            self._changed.notify_all()

    def note_mail(
        self,
        *,
        message_id: str,
        mail_from: str,
        rcpt_tos: tuple[str, ...],
        options: tuple[str, ...],
        data: bytes,
        connection: int,
    ) -> None:
        """Write down an accepted mail."""
        mail = Mail(
            message_id=message_id,
            mail_from=mail_from,
            rcpt_tos=rcpt_tos,
            options=options,
            data=data,
            connection=connection,
            at=time.monotonic(),
        )
        with self._changed:
            self.mails.append(mail)
            self._changed.notify_all()

    def note_end(self, conversation: Conversation) -> None:
        """Write down that a connection is closed."""
        with self._changed:
            self._live.discard(conversation)
            self.open_now -= 1
            self._changed.notify_all()
