"""What a scripted SMTP server can be told to do at a phase, and when.

An action answers for the server. It returns True when the command then counts as accepted, False when not,
and None when it said nothing and the server is to go on as usual.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

    from tests.support.smtp_conversation import Conversation

Action = Callable[["Conversation"], bool | None]


class HangUp(Exception):
    """The connection is to be closed now."""


@dataclass(kw_only=True)
class ScriptLine:
    """An action with the phase, the address and the occurrences it is for."""

    phase: str
    action: Action
    address: str | None
    after: int
    times: int | None

    def fires(self, phase: str, address: str) -> bool:
        """Say whether it is this line's turn, counting the occurrence."""
        if phase != self.phase or (self.address is not None and self.address not in address):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


def say(text: str, *, accept: bool = False) -> Action:
    """Answer with this text (several lines by newline); 421 also closes."""

    def act(conversation: Conversation) -> bool | None:
        conversation.say(text)
        if text.startswith("421"):
            raise HangUp
        return accept

    return act


def drop(*, accept: bool = False) -> Action:
    """Close the line without a word, after taking the mail if `accept`."""

    def act(conversation: Conversation) -> bool | None:
        conversation.accept_now(accepted=accept)
        raise HangUp

    return act


def reset(*, accept: bool = False) -> Action:
    """Break the line by RST."""

    def act(conversation: Conversation) -> bool | None:
        conversation.accept_now(accepted=accept)
        conversation.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise HangUp

    return act


def hang(*, accept: bool = False) -> Action:
    """Say nothing until the client goes away."""

    def act(conversation: Conversation) -> bool | None:
        conversation.accept_now(accepted=accept)
        conversation.wait_for_the_end()
        raise HangUp

    return act


def drip(text: str, *, interval: float) -> Action:
    """Send this text one byte per interval, then close."""

    def act(conversation: Conversation) -> bool:
        for byte in text.encode():
            conversation.raw(bytes([byte]))
            if conversation.server.stopping.wait(interval):
                break
        raise HangUp

    return act


def endless(line: str) -> Action:
    """Repeat this line until the client goes away."""

    def act(conversation: Conversation) -> bool:
        while not conversation.server.stopping.is_set():
            conversation.raw(f"{line}\r\n".encode() * 10)
        raise HangUp

    return act


def raw(data: bytes) -> Action:
    """Send these bytes as they are and go on as if nothing had been asked."""

    def act(conversation: Conversation) -> bool | None:
        conversation.raw(data)
        return False

    return act


def pause(event: threading.Event) -> Action:
    """Wait for the event, then go on as usual."""

    def act(conversation: Conversation) -> bool | None:
        conversation.server.wait_or_stop(event)
        return None

    return act


def after_bytes(count: int, then: Action) -> Action:
    """Read this much of the mail's text, then act (at body)."""

    def act(conversation: Conversation) -> bool | None:
        conversation.skip(count)
        return then(conversation)

    return act


def once_seen(needle: bytes) -> Action:
    """Go on as usual as soon as these bytes have come, too; nothing is answered before."""

    def act(conversation: Conversation) -> bool | None:
        conversation.await_bytes(needle)
        return None

    return act
