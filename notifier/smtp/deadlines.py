"""How long each part of an SMTP conversation may take (RFC 5321 4.5.3.2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadlines:
    """Seconds. Each is for a whole step, however its bytes drip in.

    `body` is the longest pause without progress while the mail is written. `setup` bounds everything before
    the first MAIL, `message` one whole mail: 7/8 of the lease. From `slow` on a reply to the dot is slow.
    """

    connect: float = 10.0
    banner: float = 30.0
    ehlo: float = 30.0
    starttls: float = 30.0
    auth: float = 30.0
    setup: float = 120.0
    mail: float = 60.0
    rcpt: float = 60.0
    data: float = 60.0
    body: float = 120.0
    dot: float = 300.0
    message: float = 420.0
    quit: float = 5.0
    slow: float = 1.0
