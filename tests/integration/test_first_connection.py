"""What the first connection to the database tells: a person must change something, or it may pass by itself."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from notifier.domain.errors import ConfigurationError, DatabaseUnavailable
from notifier.store.engine import make_engine
from notifier.store.first_connection import first_connection
from tests.support.descriptors import crowded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notifier.sandbox.postgres import PostgresServer
    from tests.support.command_line import CommandLine

SSL_REQUEST = 80877103
PASSWORD = "hunter22"


def connect(url: str) -> None:
    engine = make_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1), application="tests")
    try:
        with first_connection(engine):
            pass
    finally:
        engine.dispose()


class Refusing(socketserver.BaseRequestHandler):
    """Lets nobody in, in the words and with the SQLSTATE of its server."""

    def handle(self) -> None:
        while self._startup() == SSL_REQUEST:
            self.request.sendall(b"N")
        state, words = self.server.answer  # type: ignore[attr-defined]
        fields = {"S": "ВАЖНО", "V": "FATAL", "C": state, "M": words}
        body = b"".join(f"{kind}{text}\0".encode() for kind, text in fields.items()) + b"\0"
        self.request.sendall(b"E" + struct.pack("!i", len(body) + 4) + body)

    def _startup(self) -> int:
        size, code = struct.unpack("!ii", self.request.recv(8, socket.MSG_WAITALL))
        self.request.recv(size - 8, socket.MSG_WAITALL)
        return int(code)


@contextmanager
def refusing(state: str, words: str) -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
        server.answer = (state, words)  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"postgresql://webnet:{PASSWORD}@127.0.0.1:{server.server_address[1]}/webnet"
        server.shutdown()


@pytest.mark.parametrize("state", ["28000", "28P01", "3D000", "42501"])
def test_a_refusal_is_known_by_its_sqlstate_whatever_the_language_of_the_server(state: str) -> None:
    with (
        refusing(state, "пользователь не прошёл проверку подлинности") as url,
        pytest.raises(ConfigurationError, match=r"проверку.*; correct .*database\.url") as caught,
    ):
        connect(url)
    assert PASSWORD not in str(caught.value)


def test_a_refusal_is_known_however_many_files_are_open() -> None:
    with (
        refusing("28P01", "no") as url,
        crowded(),
        pytest.raises(ConfigurationError, match=r"correct .*database\.url"),
    ):
        connect(url)


@pytest.mark.parametrize("state", ["57P03", "53300", "55000", "08P01", "XX000"])
def test_a_server_that_cannot_take_us_now_is_worth_trying_again(state: str) -> None:
    """Also when its words look like those of a refusal."""
    words = 'password authentication failed for user "webnet"'
    with refusing(state, words) as url, pytest.raises(DatabaseUnavailable, match=r"database\.url and that"):
        connect(url)


def test_a_server_that_hangs_up_or_is_not_there_is_worth_trying_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def accept_twice() -> None:
            for _ in range(2):
                listener.accept()[0].close()

        hang_up = threading.Thread(target=accept_twice)
        hang_up.start()
        with pytest.raises(DatabaseUnavailable):
            connect(f"postgresql://webnet@127.0.0.1:{port}/webnet?sslmode=disable")
        hang_up.join(10)
    with pytest.raises(DatabaseUnavailable, match="Connection refused"):
        connect(f"postgresql://webnet@127.0.0.1:{port}/webnet")


@pytest.mark.xdist_group("own_postgres")
def test_commands_name_a_refused_login_and_a_missing_database_with_78(
    cli: CommandLine, own_postgres: PostgresServer
) -> None:
    right = urlsplit(own_postgres.url)
    host = f"127.0.0.1:{right.port}"
    for url, told in (
        (
            f"postgresql://nobody_x:{PASSWORD}@{host}/postgres",
            'password authentication failed for user "nobody_x"',
        ),
        (
            f"postgresql://postgres:{PASSWORD}@{host}/postgres",
            'password authentication failed for user "postgres"',
        ),
        (f"postgresql://postgres@{host}/postgres", "no password supplied"),
        (right._replace(path="/nowhere").geturl(), 'database "nowhere" does not exist'),
    ):
        cli.configure({"DATABASE__URL": url})
        for command in (("run",), ("init-db",), ("events", "list"), ("explain", "1")):
            result = cli(*command)
            assert result.code == 78, (url, command)
            assert told in result.err
            assert "; correct user, password or database in database.url" in result.err
            assert PASSWORD not in result.err
        result = cli("check")
        assert result.code == 78
        assert "FAIL  database: connection to server" in result.out
        assert "; correct user, password or database in database.url" in result.out


def test_every_command_says_what_to_check_when_the_server_is_away(cli: CommandLine) -> None:
    cli.configure({"DATABASE__URL": "postgresql://a@127.0.0.1:1/n"})
    for command in (("run",), ("init-db",), ("events", "list"), ("explain", "1")):
        result = cli(*command)
        assert result.code == 1
        assert result.err.rstrip().endswith("; check database.url and that the server is up")
