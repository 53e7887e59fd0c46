"""What a person can do about an SMTP fault, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.domain.outcomes import Kind, classify
from notifier.domain.vocabulary import FaultCause, Phase

if TYPE_CHECKING:
    from notifier.domain.errors import SmtpFault
    from notifier.domain.servers import SmtpServer

_NO_ANSWER = (
    "Check host and port, and that no firewall stands between: usual are 587 with STARTTLS (use_tls), 465 with"
    " implicit TLS (use_ssl), 25 for a relay of your own network."
)
_LATER = "The server says this may pass: try again in a few minutes; ask its operator if it stays."
_CONTENT = "The server refuses this mail's content or sender: ask its operator for the rule behind it."
_BY_CAUSE = {
    FaultCause.DNS: "Check the spelling of the host name, and that it resolves on the machine notifier runs on.",
    FaultCause.REFUSED: _NO_ANSWER,
    FaultCause.UNREACHABLE: _NO_ANSWER,
    FaultCause.UNPARSABLE: "What answers there is no mail server, or a broken one: check host and port.",
    FaultCause.POLICY_HOST: (
        "Use a host outside these networks, or let the operator of notifier change delivery.denied_networks."
    ),
    FaultCause.STARTTLS_MISSING: (
        "Ask the server's operator to offer STARTTLS, or use its port with implicit TLS (use_ssl, usually 465);"
        " with use_tls nothing is ever sent unencrypted."
    ),
    FaultCause.PLAINTEXT_AUTH: (
        "Turn on use_tls or use_ssl; only in a network you trust, allow it with allow_plaintext_auth."
    ),
    FaultCause.NO_AUTH_MECHANISM: (
        "Remove username and password if the server needs no login here, else ask its operator to offer PLAIN or"
        " LOGIN (often only under TLS)."
    ),
    FaultCause.SECRET_UNREADABLE: "Set the password again with notifier smtp set.",
    FaultCause.SMTPUTF8_UNSUPPORTED: "Use an address in ASCII, or a server that offers SMTPUTF8.",
    FaultCause.TOO_LARGE: "Ask the server's operator to raise its limit for the size of mails.",
    FaultCause.INVALID_RECIPIENT: "Give exactly one plain address, such as name@example.org.",
    FaultCause.HEADER_INJECTION: "Set from_email to exactly one plain address, such as alerts@example.org.",
}


# What OpenSSL says of a certificate, and what helps.
_BY_CERTIFICATE = {
    "mismatch": (
        "The certificate was made for another name: use the host name that stands in it, or have one made for {host}."
    ),
    "expired": "Ask the server's operator to renew the certificate: its time is over.",
    "issuer": (
        "If the certificate is of your own authority, give that authority's certificate as ca_certificate (--ca-file);"
        " else ask the server's operator to send the whole chain."
    ),
    "self": (
        "If the certificate is your own, give it, or that of your authority, as ca_certificate (--ca-file); else have"
        " one made by a public authority."
    ),
}
_CERTIFICATE = (
    "Use the host name the certificate was made for, have it renewed if it expired, or give the certificate of your"
    " own authority as ca_certificate (--ca-file)."
)


def cure(fault: SmtpFault, server: SmtpServer) -> str:
    """Return what to do about this fault of this server. Total: there is always something to try."""
    if fault.reply is not None:
        return _by_reply(fault, server)
    if fault.cause == FaultCause.HANDSHAKE:
        return _for_handshake(server)
    if fault.cause == FaultCause.CERTIFICATE:
        said = fault.detail.lower()
        text = next((text for word, text in _BY_CERTIFICATE.items() if word in said), _CERTIFICATE)
        return text.format(host=server.host)
    if fault.phase == Phase.CONNECT and fault.cause in {FaultCause.TIMEOUT, FaultCause.LOST}:
        return _NO_ANSWER
    return _BY_CAUSE.get(
        fault.cause,
        "The server broke off or did not answer in time: try again; ask its operator if it stays.",
    )


def _for_handshake(server: SmtpServer) -> str:
    if server.use_ssl:
        return (
            "This port does not seem to speak TLS from the first byte: use use_tls instead of use_ssl"
            " (usually port 587), or the port for implicit TLS (usually 465)."
        )
    return "Ask the server's operator for TLS 1.2 or later."


def _by_reply(fault: SmtpFault, server: SmtpServer) -> str:
    verdict = classify(fault)
    if verdict.failure_reason == "tls":
        return "The server wants an encrypted connection: turn on use_tls."
    if verdict.failure_reason == "auth":
        return (
            "Check username and password; some providers want a password made for this purpose."
            if server.username
            else "The server wants a login: set username and password."
        )
    if verdict.kind == Kind.TRANSIENT and verdict.failure_reason is None:
        return _LATER
    return {
        Phase.MAIL: f"Let the account send as {server.from_email}, or set from_email to what it may use.",
        Phase.RCPT: "Check the recipient's address; if it is right, allow this account or machine to relay.",
        Phase.DATA: _CONTENT,
        Phase.BODY: _CONTENT,
        Phase.DOT: _CONTENT,
    }.get(fault.phase, "The server refuses this machine: ask its operator to allow it.")
