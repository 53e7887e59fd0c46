from __future__ import annotations

import contextlib
import http.client
import json
import socket
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from notifier import health
from notifier.domain.backlog import Backlog
from notifier.domain.errors import ConfigurationError
from notifier.domain.redaction import Redactor
from notifier.health import HealthServer
from notifier.metrics import Metrics
from notifier.vitals import CHECK_LIMIT, LIVE_LIMIT, Vitals

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKLOG = Backlog(
    pending=5, due=3, oldest_pending_age=61.5, oldest_due_age=2.5, oldest_held_age=0, breakers_open=1
)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.vitals = Vitals(version="1.2.3", clock=self.clock)
        self.server = HealthServer("127.0.0.1", 0, vitals=self.vitals, metrics=Metrics(version="1.2.3"))

    def get(self, path: str, method: str = "GET") -> tuple[int, str, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers

    def ready(self) -> None:
        self.vitals.consumer_is("consuming")
        self.vitals.checked(backlog=BACKLOG)
        self.vitals.dead_letters_are(2)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    site.server.start()
    yield site
    site.server.stop()


def test_live_is_the_age_of_the_last_tick_and_nothing_else(site: Site) -> None:
    assert site.get("/livez")[:2] == (200, "ok\n")
    site.clock.now += LIVE_LIMIT + 1
    assert site.get("/livez")[:2] == (503, "main loop stuck\n")
    site.vitals.tick()
    site.vitals.check_failed("database: connection refused")
    site.vitals.consumer_is("paused")
    assert site.get("/livez")[0] == 200


def test_ready_needs_consumer_database_and_no_drain(site: Site) -> None:
    assert site.get("/readyz")[:2] == (503, "not consuming (connecting)\nnot checked yet\n")
    site.ready()
    assert site.get("/readyz")[:2] == (200, "ok\n")
    site.vitals.consumer_is("paused")
    assert site.get("/readyz")[:2] == (503, "not consuming (paused)\n")
    site.ready()
    site.vitals.check_failed("database: no such table")
    assert site.get("/readyz")[:2] == (503, "database: no such table\n")
    assert json.loads(site.get("/healthz")[1])["database"] is False
    site.ready()
    site.vitals.drain()
    assert site.get("/readyz")[:2] == (503, "draining\n")


def test_what_keeps_the_consumer_from_its_work_is_told_until_it_consumes(site: Site) -> None:
    site.ready()
    site.vitals.consumer_failed("403 ACCESS_REFUSED\nread access refused")
    site.vitals.consumer_is("connecting")
    (obstacle,) = json.loads(site.get("/healthz")[1])["obstacles"]
    assert obstacle == "not consuming (connecting): 403 ACCESS_REFUSED read access refused"
    site.vitals.consumer_is("consuming")
    site.vitals.consumer_is("paused")
    assert site.get("/readyz")[1] == "not consuming (paused)\n"


def test_no_fault_shows_a_secret_or_an_address(site: Site) -> None:
    site.ready()
    site.vitals.clean = Redactor(["hunter22"]).text
    site.vitals.consumer_failed("no connection to amqp://webnet:hunter22@broker/")
    site.vitals.consumer_is("connecting")
    site.vitals.check_failed("database: anna@acme.example " + "x" * 1000)
    told = site.get("/readyz")[1]
    assert "hunter22" not in told
    assert "anna@" not in told
    assert max(map(len, told.splitlines())) <= 350


def test_a_background_check_that_hangs_makes_the_worker_unready(site: Site) -> None:
    site.ready()
    site.clock.now += CHECK_LIMIT + 1
    assert site.get("/readyz")[:2] == (503, "last check too old\n")


def test_open_breakers_do_not_make_it_unready(site: Site) -> None:
    site.ready()
    assert json.loads(site.get("/healthz")[1])["breakers_open"] == 1
    assert site.get("/readyz")[0] == 200


def test_healthz_is_the_whole_summary(site: Site) -> None:
    site.ready()
    site.clock.now += 12.5
    status, body, headers = site.get("/healthz?verbose")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {
        "version": "1.2.3",
        "uptime_seconds": 12.5,
        "live": True,
        "ready": True,
        "obstacles": [],
        "consumer": "consuming",
        "database": True,
        "pending": 5,
        "due": 3,
        "oldest_pending_age_seconds": 61.5,
        "breakers_open": 1,
        "dead_letters": 2,
    }


def test_healthz_says_null_where_nothing_is_known(site: Site) -> None:
    summary = json.loads(site.get("/healthz")[1])
    assert (summary["pending"], summary["dead_letters"], summary["ready"]) == (None, None, False)


def test_metrics_are_served(site: Site) -> None:
    status, body, headers = site.get("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    assert 'notifier_build_info{version="1.2.3"} 1.0' in body


def test_head_is_get_without_the_body(site: Site) -> None:
    status, body, headers = site.get("/livez", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, "", "3")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_every_other_method_is_refused(site: Site, method: str) -> None:
    status, _, headers = site.get("/livez", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_unknown_paths_name_the_known_ones(site: Site) -> None:
    assert site.get("/")[0] == 404
    assert "/readyz" in site.get("/../etc/passwd")[1]


def test_a_kept_connection_answers_at_once(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=10)
    with contextlib.closing(connection):
        taken = []
        for _ in range(51):
            start = time.monotonic()
            connection.request("GET", "/livez")
            assert connection.getresponse().read() == b"ok\n"
            taken.append(time.monotonic() - start)
        # 40 ms each would be Nagle's algorithm meeting delayed acks.
        assert statistics.median(taken) < 0.03


def connect(site: Site) -> socket.socket:
    return socket.create_connection(("127.0.0.1", site.server.port), timeout=10)


def test_over_the_limit_the_one_that_has_asked_nothing_for_longest_makes_room(site: Site) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(site)) for _ in range(health.MAX_CONNECTIONS)]
        held[1].sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (
            held[1].recv(12) == b"HTTP/1.1 200"
        )  # all before it are taken by now, and its clock starts again
        extra = stack.enter_context(connect(site))
        extra.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert extra.recv(12) == b"HTTP/1.1 200"
        assert held[0].recv(1) == b""
        held[-1].sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert held[-1].recv(12) == b"HTTP/1.1 200"


def test_slow_clients_however_many_keep_no_probe_from_its_answer(site: Site) -> None:
    """They send the beginning of a request, and come again when they are dropped."""
    slow: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        for _ in range(25):
            while len(slow) < 24:
                slow.append(stack.enter_context(connect(site)))
                slow[-1].sendall(b"GET /livez HTTP/1.1\r\nX: ")
            assert site.get("/livez")[0] == 200
            slow = slow[4:]


def test_who_is_being_answered_is_not_given_up_for_another(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, asked = threading.Event(), threading.Semaphore(0)
    summary = site.vitals.summary

    def slowly() -> dict[str, object]:
        asked.release()
        assert go_on.wait(10)
        return summary()

    monkeypatch.setattr(site.vitals, "summary", slowly)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(site)) for _ in range(health.MAX_CONNECTIONS)]
        for one in held:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert all(asked.acquire(timeout=10) for _ in held)
        extra = stack.enter_context(connect(site))
        assert extra.recv(1) == b""
        go_on.set()
        assert all(one.recv(12) == b"HTTP/1.1 200" for one in held)


def test_places_are_free_again_after_their_connections_ended(site: Site) -> None:
    for _ in range(health.MAX_CONNECTIONS * 3):
        assert site.get("/livez")[0] == 200


def test_a_silent_client_is_dropped_after_the_timeout(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health._Handler, "timeout", 0.2)
    with connect(site) as silent:
        assert silent.recv(1) == b""


def test_a_request_sent_drop_by_drop_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "HEAD_LIMIT", 0.3)
    with connect(site) as slow:
        slow.settimeout(0.05)
        deadline = time.monotonic() + 10
        received: bytes | None = None
        while received is None and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError, ConnectionError):
                slow.sendall(b"x")
                received = slow.recv(1)
        assert received == b""


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /livez HTTP/9.9", b"505 HTTP Version Not Supported"),
        (b"GET /livez HTTP/x", b"400 Bad Request"),
        (b"GET", b"400 Bad Request"),
        (b"", b"400 Bad Request"),
        (b"\x16\x03\x01 hello there you", b"400 Bad Request"),
        (bytes(range(128, 256)), b"400 Bad Request"),
        (b"GET /" + b"x" * 70000 + b" HTTP/1.1", b"414"),
    ],
    ids=["version", "no version", "a word", "empty", "TLS", "binary", "too long"],
)
def test_what_is_no_request_is_answered_in_plain_text_with_a_status_line(
    site: Site, line: bytes, status: bytes
) -> None:
    with connect(site) as rude:
        rude.sendall(line + b"\r\n\r\n")
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # not all of it was read
            while received := rude.recv(4096):
                answer += received
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"Content-Type: text/plain; charset=utf-8\r\n" in answer
        assert answer.endswith(b"\n")
        assert b"<" not in answer
    assert site.get("/livez")[0] == 200


def test_a_port_in_use_is_a_configuration_error(site: Site) -> None:
    with pytest.raises(ConfigurationError, match=r"health\.port: cannot listen on 127\.0\.0\.1"):
        HealthServer("127.0.0.1", site.server.port, vitals=site.vitals, metrics=Metrics(version="1"))


def test_a_body_is_not_taken_for_the_next_request(site: Site) -> None:
    for header in (b"Content-Length: 26", b"Transfer-Encoding: chunked"):
        with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\n" + header + b"\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith(b"HTTP/1.1 200 OK\r\nServer: notifier\r\n")
        assert answer.endswith(b"\r\n\r\nok\n")


def test_stop_ends_open_connections() -> None:
    site = Site()
    site.server.start()
    with connect(site) as open_connection:
        open_connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert open_connection.recv(12) == b"HTTP/1.1 200"
        site.server.stop()
        while open_connection.recv(4096):
            pass
    with pytest.raises(ConnectionError):
        connect(site)


def test_a_server_that_never_started_can_be_stopped() -> None:
    Site().server.stop()
