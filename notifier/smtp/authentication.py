"""AUTH (RFC 4954) by PLAIN, LOGIN or CRAM-MD5.

smtplib's own way refuses passwords outside ASCII and tries one mechanism after another.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from notifier.domain.vocabulary import FaultCause

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.smtp.connection import PhasedSMTP

_ACCEPTED, _CONTINUE = 235, 334
_OTHER_MECHANISM = frozenset({504, 534})  # unrecognised, too weak: the next one may do


def login(smtp: PhasedSMTP, *, username: str, password: str, encrypted: bool) -> None:
    """Log in by the best mechanism both sides know; raises SmtpFault.

    Only an answer that speaks of the mechanism leads to another one: each refused password counts as a try
    at the server.
    """
    offered = smtp.esmtp_features.get("auth", "").upper().split()
    # Under TLS the plain mechanisms work everywhere; without it, do not show the password to the wire.
    order = ("PLAIN", "LOGIN", "CRAM-MD5") if encrypted else ("CRAM-MD5", "PLAIN", "LOGIN")
    common = [name for name in order if name in offered]
    if not common:
        names = " ".join(offered) or "none"
        smtp.fail(
            FaultCause.NO_AUTH_MECHANISM, f"offers no login by PLAIN, LOGIN or CRAM-MD5 (offered: {names})"
        )
    for name in common:
        code, raw = _MECHANISMS[name](smtp, username, password)
        if code == _ACCEPTED:
            return
        if code not in _OTHER_MECHANISM or name == common[-1]:
            smtp.refuse(code, raw)


def _plain(smtp: PhasedSMTP, username: str, password: str) -> tuple[int, bytes]:
    return smtp.docmd("AUTH", "PLAIN " + _encoded(f"\0{username}\0{password}"))


def _login(smtp: PhasedSMTP, username: str, password: str) -> tuple[int, bytes]:
    code, raw = smtp.docmd("AUTH", "LOGIN")
    for answer in (username, password):
        if code != _CONTINUE:
            break
        code, raw = smtp.docmd(_encoded(answer))
    return code, raw


def _cram_md5(smtp: PhasedSMTP, username: str, password: str) -> tuple[int, bytes]:
    code, raw = smtp.docmd("AUTH", "CRAM-MD5")
    if code != _CONTINUE:
        return code, raw
    try:
        challenge = b64decode(raw)
    except ValueError:
        smtp.fail(FaultCause.UNPARSABLE, "sent a CRAM-MD5 challenge that is not base64")
    digest = hmac.new(password.encode(), challenge, "md5").hexdigest()
    return smtp.docmd(_encoded(f"{username} {digest}"))


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


_MECHANISMS: dict[str, Callable[[PhasedSMTP, str, str], tuple[int, bytes]]] = {
    "PLAIN": _plain,
    "LOGIN": _login,
    "CRAM-MD5": _cram_md5,
}
