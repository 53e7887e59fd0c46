"""Whether an AMQP broker answers: the first step of the handshake, without a client library."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

_HEADER = b"AMQP\x00\x00\x09\x01"  # AMQP 0-9-1, section 4.2.2
_FRAME_METHOD = 1
_TIMEOUT_SECONDS = 5.0
_PORTS = {"amqp": 5672, "amqps": 5671}


def problem(url: str) -> str | None:
    """Say why no AMQP 0-9-1 broker answers at `url`; None if one does. An open port is not enough."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or parts.hostname is None:
        return "not an AMQP URL (amqp://user:password@host:port/vhost)"
    address = (parts.hostname, parts.port or _PORTS[parts.scheme])
    try:
        with socket.create_connection(address, timeout=_TIMEOUT_SECONDS) as plain:
            if parts.scheme == "amqp":
                return _greet(plain)
            with ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname) as secured:
                return _greet(secured)
    except OSError as error:
        return f"{address[0]}:{address[1]}: {error}"


def _greet(connection: socket.socket) -> str | None:
    """Send the protocol header; a broker answers with the method frame connection.start on channel 0."""
    connection.sendall(_HEADER)
    answer = connection.recv(3)
    if answer == bytes([_FRAME_METHOD, 0, 0]):
        return None
    return "it does not speak AMQP 0-9-1"
