"""TLS: verified against the configured host, TLS 1.2 or later, never switched off."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from notifier.domain.errors import SmtpFault
from notifier.domain.vocabulary import FaultCause, Phase

if TYPE_CHECKING:
    import socket


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFacts:
    """What was agreed and whom the certificate names; dates are written "Jun  1 12:00:00 2027 GMT"."""

    version: str
    cipher: str
    subject: str
    issuer: str
    names: tuple[str, ...]
    not_after: str

    @property
    def ends(self) -> float | None:
        """The Unix time of `not_after`; None when there is no certificate, or its date is not readable."""
        try:
            return float(ssl.cert_time_to_seconds(self.not_after))
        except ValueError:
            return None


@lru_cache(maxsize=256)
def context(ca_certificate: str | None) -> ssl.SSLContext:
    """Return the client context that trusts the system's authorities and, if given, those of the PEM text.

    Raises SmtpFault (`certificate`) when the PEM cannot be read.
    """
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_certificate:
        try:
            made.load_verify_locations(cadata=ca_certificate)
        except (ssl.SSLError, ValueError, TypeError) as error:  # TypeError: not ASCII
            raise SmtpFault(
                phase=Phase.CONNECT,
                cause=FaultCause.CERTIFICATE,
                detail="the CA certificate of this server is not readable PEM; configure it again",
            ) from error
    return made


def explain(error: OSError | ValueError, host: str) -> tuple[FaultCause, str]:
    """Say what a failed handshake means: its cause, and words that go on from "mail.example.org ..."."""
    match error:
        case ssl.SSLCertVerificationError():
            return FaultCause.CERTIFICATE, f"has a certificate that is not accepted ({error.verify_message})"
        case ssl.SSLEOFError():
            return FaultCause.LOST, "closed the connection during the TLS handshake"
        case ssl.SSLError():
            reason = (error.reason or "no TLS answer").replace("_", " ").lower()
            return FaultCause.HANDSHAKE, f"failed the TLS handshake ({reason})"
        case ValueError():
            return FaultCause.CERTIFICATE, f"has a name no certificate can hold: {host!r}"
        case _:
            return FaultCause.LOST, "broke the connection during the TLS handshake"


def facts(sock: socket.socket | None) -> TlsFacts | None:
    """Return what a connected socket agreed on; None without TLS."""
    if not isinstance(sock, ssl.SSLSocket):
        return None
    certificate = sock.getpeercert() or {}
    cipher = sock.cipher()
    return TlsFacts(
        version=sock.version() or "",
        cipher=cipher[0] if cipher else "",
        subject=_name(certificate.get("subject")),
        issuer=_name(certificate.get("issuer")),
        names=tuple(str(entry[1]) for entry in _entries(certificate.get("subjectAltName"))),
        not_after=str(certificate.get("notAfter", "")),
    )


def _entries(value: object) -> tuple[tuple[object, ...], ...]:
    return value if isinstance(value, tuple) else ()


def _name(value: object) -> str:
    """Return "CN=mail.example.org, O=Example" of a distinguished name as the ssl module gives it."""
    pairs = [pair for group in _entries(value) for pair in group if isinstance(pair, tuple)]
    short = {"commonName": "CN", "organizationName": "O"}
    return ", ".join(f"{short[key]}={text}" for key, text in pairs if key in short)
