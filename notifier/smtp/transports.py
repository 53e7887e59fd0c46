"""What may stand in for the operator's own server: console, file and dummy, as in Django's EMAIL_BACKEND.

They take every mail and answer like a server, so that rows, log and metrics are the same as in production.
"""

from __future__ import annotations

import os
import sys
import threading
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TextIO

from notifier.domain.errors import SmtpFault
from notifier.domain.outcomes import Reply
from notifier.domain.vocabulary import FaultCause, Phase

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ACCEPTED = 250


class Transport(Protocol):
    """Takes one mail at a time from any thread."""

    def send(self, *, mail_from: str, rcpt_to: str, data: bytes) -> Reply:
        """Put the mail away; return a reply such as a server would give. Raises SmtpFault."""


class ConsoleTransport:
    """Prints every mail, one after the other, with its envelope."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, *, mail_from: str, rcpt_to: str, data: bytes) -> Reply:
        """Print one mail."""
        text = data.decode("utf-8", "replace").replace("\r\n", "\n")
        with self._lock:
            self._stream.write(f"MAIL FROM:<{mail_from}>\nRCPT TO:<{rcpt_to}>\n{text}\n{'-' * 79}\n")
            self._stream.flush()
        return _accepted("printed")


class FileTransport:
    """Writes every mail to a file of its own, `<UTC time>-<random>.eml`, readable by the owner only."""

    def __init__(
        self, folder: Path, *, now: Callable[[], datetime], new_uuid: Callable[[], uuid.UUID]
    ) -> None:
        self._folder = folder
        self._now = now
        self._new_uuid = new_uuid

    def send(self, *, mail_from: str, rcpt_to: str, data: bytes) -> Reply:  # noqa: ARG002 - the file is the mail alone
        """Write one file; it has its name only when it is complete."""
        name = f"{self._now():%Y%m%dT%H%M%S.%fZ}-{self._new_uuid().hex}.eml"
        unfinished = self._folder / f".{name}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            unfinished.rename(self._folder / name)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink()
            raise SmtpFault(
                phase=Phase.CONNECT,
                cause=FaultCause.UNREACHABLE,
                detail=f"the folder {self._folder} of smtp.file_path takes no mail: {error.strerror}",
            ) from error
        return _accepted(f"written to {name}")


class DummyTransport:
    """Takes every mail and forgets it."""

    def send(self, *, mail_from: str, rcpt_to: str, data: bytes) -> Reply:  # noqa: ARG002 - that is its purpose
        """Forget one mail."""
        return _accepted("forgotten")


def transport(name: str, *, file_path: Path | None) -> Transport | None:
    """Return what `smtp.transport` names; None for "smtp", which is no stand-in."""
    match name:
        case "console":
            return ConsoleTransport(sys.stdout)
        case "file" if file_path is not None:
            return FileTransport(file_path, now=lambda: datetime.now(UTC), new_uuid=uuid.uuid4)
        case "dummy":
            return DummyTransport()
        case _:
            return None


def _accepted(how: str) -> Reply:
    return Reply(code=_ACCEPTED, enhanced="2.0.0", text=f"2.0.0 {how}")
