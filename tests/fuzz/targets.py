"""The two doors strangers can knock at. Each target takes any bytes and must survive them."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from notifier.domain.errors import InvalidEvent, SmtpFault
from notifier.domain.events import decode
from notifier.domain.masking import mask_json, mask_text
from notifier.domain.outcomes import classify
from notifier.domain.vocabulary import Phase
from notifier.smtp.connection import PhasedSMTP

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER = 2  # bytes that choose the mode of an event


def event(data: bytes) -> None:
    """A broker message: decoded or refused with a closed reason, and its masked document is storable text."""
    binary, typed = data[:1] > b"\x7f", data[1:_HEADER] > b"\x7f"
    body = data[_HEADER:]
    headers = (
        {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s", "ce-type": "job_failed"} if binary else {}
    )
    try:
        found = decode(
            body,
            content_type="application/cloudevents+json" if typed else None,
            content_encoding=None,
            headers=headers,
        )
    except InvalidEvent:
        mask_text(body[:4096].decode("utf-8", "replace")).encode()
        return
    mask_json(found.document)


def smtp_reply(data: bytes) -> None:
    """A server's answer to the final dot: a reply or an SmtpFault, and either has a verdict."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(0)
        theirs.send(data[:60_000])
        theirs.close()
        smtp = PhasedSMTP(
            host="mail.example", local_hostname="worker.example", secrets=("s3cret",), clock=time.monotonic
        )
        smtp._attach(ours)  # a socket pair instead of a connection
        smtp.begin(Phase.DOT, 5.0)
        try:
            verdict = classify(smtp.read_reply(*smtp.getreply()))
        except SmtpFault as fault:
            verdict = classify(fault)
        assert verdict.reply is None or verdict.reply.text.isprintable()
        assert "s3cret" not in verdict.message


TARGETS: dict[str, Callable[[bytes], None]] = {"event": event, "smtp_reply": smtp_reply}
