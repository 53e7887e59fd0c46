"""Opening and closing connections; pika's exceptions become ours here. Needs nothing but pika."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pika
from pika.adapters.blocking_connection import BlockingConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelError,
    ReentrancyError,
)

from notifier.domain.errors import BrokerRefused, BrokerUnavailable, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCKET_TIMEOUT = 10.0  # s, to open the TCP connection
ERRAND_HEARTBEAT = 30  # s, for connections that are not the worker's own
STACK_TIMEOUT = 15.0  # s, TCP, TLS and AMQP handshake together
BLOCKED_TIMEOUT = 60.0  # s, how long a broker under alarm may hold a publisher
UNACKNOWLEDGED_TIMEOUT = 20_000  # ms that sent bytes may stay without a TCP acknowledgement
# pika looks for silence every heartbeat + 5 s, and needs two looks in the worst case. Asking for 3 s less
# keeps the time to notice a dead link within 2 x heartbeat + 5 s (F18).
HEARTBEAT_MARGIN = 3

ACCESS_REFUSED = 403  # AMQP 0-9-1: the login
NOT_ALLOWED = 530  # AMQP 0-9-1: the virtual host does not exist, or is closed to this user

_CLOSED_BY_BROKER = re.compile(r"ConnectionClosedByBroker: \((\d+)\)")

PROTOCOL_FAULTS = (AMQPError, AMQPConnectorException, ChannelError, ReentrancyError)
# The last four are how pika fails when the connection goes away in the middle of one of its own calls.
PIKA_FAULTS = (*PROTOCOL_FAULTS, OSError, AssertionError, AttributeError, IndexError, KeyError)


def parameters(url: str, *, heartbeat: int, name: str) -> pika.URLParameters:
    """Turn an amqp(s) URL into connection parameters. `heartbeat` in seconds; `name` shows in the broker's
    list of connections.

    Raises ConfigurationError when the URL cannot be read; the message never quotes it, for it may hold a
    password.
    """
    try:
        found = pika.URLParameters(url)
    except (ValueError, TypeError, SyntaxError) as exc:
        raise ConfigurationError(
            [
                (
                    "rabbitmq.url is not a usable AMQP URL:"
                    " write amqp://USER:PASSWORD@HOST:5672/VHOST, or amqps:// for TLS"
                    " (special characters percent-encoded, the default virtual host is %2F)"
                )
            ]
        ) from exc
    found.heartbeat = max(heartbeat - HEARTBEAT_MARGIN, 1)
    found.blocked_connection_timeout = BLOCKED_TIMEOUT
    found.socket_timeout = SOCKET_TIMEOUT
    found.stack_timeout = STACK_TIMEOUT
    found.tcp_options = {"TCP_USER_TIMEOUT": UNACKNOWLEDGED_TIMEOUT, "TCP_KEEPIDLE": 60}
    found.client_properties = {**(found.client_properties or {}), "connection_name": name}
    return found


def open_connection(params: pika.URLParameters) -> BlockingConnection:
    """Connect once. Raises BrokerRefused (login, virtual host) or BrokerUnavailable (everything else)."""
    where = f"{params.host}:{params.port}"
    try:
        return BlockingConnection(params)
    except PIKA_FAULTS as exc:
        code = _reason(exc)
        if code == ACCESS_REFUSED:
            raise BrokerRefused(
                [f"the broker at {where} refused the login: check user and password in rabbitmq.url"]
            ) from exc
        if code == NOT_ALLOWED:
            raise BrokerRefused([_no_virtual_host(params, where)]) from exc
        raise BrokerUnavailable(f"no connection to the broker at {where}: {describe(exc)}") from exc


def _reason(exc: BaseException) -> int | None:
    """Return the code with which the broker itself closed the connection.

    pika takes every end of a connection during the login for a refused one, also that of a broker which dies just
    then; only the text of its exception keeps the code. A worker that took it for a refusal would give up for good.
    """
    if isinstance(exc, AuthenticationError):  # no mechanism in common
        return ACCESS_REFUSED
    said = _CLOSED_BY_BROKER.search(repr(exc))
    return int(said[1]) if said else None


@contextmanager
def connected(url: str, *, name: str) -> Iterator[BlockingConnection]:
    """A connection for a short errand; raises as `parameters` and `open_connection` do."""
    connection = open_connection(parameters(url, heartbeat=ERRAND_HEARTBEAT, name=name))
    try:
        yield connection
    finally:
        close_connection(connection)


def close_connection(connection: BlockingConnection) -> None:
    """Close without complaint: what is unacknowledged goes back to its queue either way."""
    try:
        if connection.is_open:
            connection.close()
    except PIKA_FAULTS:
        # A connection that breaks while closing is closed.
        return


@contextmanager
def broker_faults(doing: str, *, faults: tuple[type[Exception], ...] = PIKA_FAULTS) -> Iterator[None]:
    """Turn pika's faults into BrokerUnavailable; `doing` says what was tried. Where code that is not
    pika's runs inside, pass PROTOCOL_FAULTS, so that its mistakes keep their names. Raises MemoryError when that
    was behind it: to connect again pika starts a thread, and Python waits for ever for one that gets no memory.
    """
    try:
        yield
    except faults as exc:
        if MemoryError.__name__ in repr(exc):
            raise MemoryError(f"{doing}: no memory left") from exc
        raise BrokerUnavailable(f"{doing}: {describe(exc)}") from exc


def describe(exc: BaseException) -> str:
    """Say in one line what went wrong: the broker's own words if it gave any."""
    code, text = getattr(exc, "reply_code", None), getattr(exc, "reply_text", None)
    if code and text:
        return f"{code} {text}"
    inner = next((arg for arg in exc.args if isinstance(arg, BaseException)), getattr(exc, "exception", None))
    if isinstance(inner, BaseException):
        return describe(inner)
    return " ".join(str(exc).split()) or type(exc).__name__


def _no_virtual_host(params: pika.URLParameters, where: str) -> str:
    return (
        f"the broker at {where} has no virtual host {params.virtual_host!r} for this user:"
        " create it, grant access, or correct the path of rabbitmq.url"
    )
