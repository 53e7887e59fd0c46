"""What happens on the line: slow and ambiguous requests, small packets."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from notifier.api import connections, guard
from notifier.api.server import listen

if TYPE_CHECKING:
    from tests.support.api_server import Api


def line(api: Api) -> socket.socket:
    address = urlsplit(api.base)
    return socket.create_connection((str(address.hostname), address.port or 0), timeout=20)


def until_closed(connection: socket.socket) -> bytes:
    """Everything the server says until it hangs up; a server that never does is a TimeoutError."""
    said = b""
    while part := connection.recv(65536):
        said += part
    return said


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "], ids=["silent", "half"])
def test_a_connection_without_a_whole_request_head_is_closed(
    api: Api, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    with line(api) as connection:
        connection.sendall(sent)
        assert until_closed(connection) == b""


def test_a_later_request_has_the_same_time_for_its_head(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    with line(api) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /li")
        assert until_closed(connection).count(b"HTTP/1.1") == 0


def test_a_body_that_does_not_come_is_not_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.2)
    with line(api) as connection:
        connection.sendall(b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        said = until_closed(connection)
    assert said.startswith(b"HTTP/1.1 408")


def test_a_request_with_two_lengths_is_refused_and_nothing_after_it_is_served(api: Api) -> None:
    """RFC 9112 section 6.1: a proxy that believes the other length would see another request."""
    with line(api) as connection:
        connection.sendall(
            b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        said = until_closed(connection)
    assert said.startswith(b"HTTP/1.1 400")
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"Transfer-Encoding" in said


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
