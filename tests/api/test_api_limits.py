"""Limits: requests of a token, failures of an address, test mails of a user, bytes of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifier.api.parts import TESTS_PER_MINUTE
from notifier.domain.unsubscribe import sign
from tests.support.api_server import PREFIX, SIGNING_KEY, served, settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from notifier.rendering.renderer import Renderer
    from tests.services import Database
    from tests.support.api_server import Api


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def strict(api_database: tuple[Database, Engine], api_renderer: Renderer, clock: Clock) -> Iterator[Api]:
    """An API with small limits and a clock of the test's."""
    database, engine = api_database
    limits = {"requests_per_minute": 6, "failed_logins_per_minute": 3, "max_request_bytes": 16384}
    with served(settings_for(database, api=limits), engine, api_renderer, clock=clock) as running:
        yield running


def test_a_token_has_so_many_requests_a_minute_and_another_its_own(strict: Api, clock: Clock) -> None:
    customer = strict.customer()
    first, second = strict.person("viewer", customer), strict.person("viewer", customer)
    with strict.client(first) as client, strict.client(second) as other:
        assert [client.get("/events/").status_code for _ in range(7)] == [200] * 6 + [429]
        refused = client.get("/events/")
        assert refused.headers["Retry-After"] == "10"
        assert "6 requests in a minute" in refused.json()["detail"]
        assert other.get("/events/").status_code == 200
        clock.now += 10
        assert [client.get("/events/").status_code for _ in range(2)] == [200, 429]


def test_an_address_that_fails_too_often_waits_but_not_who_was_accepted_before(
    strict: Api, clock: Clock
) -> None:
    customer = strict.customer()
    known, new = strict.person("viewer", customer), strict.person("viewer", customer)
    with strict.client(known) as client, strict.client(new) as late:
        assert client.get("/events/").status_code == 200
        wrong = {"Authorization": "Bearer wrong"}
        guesses = [strict.anonymous.get(f"{PREFIX}/events/", headers=wrong).status_code for _ in range(4)]
        assert guesses == [401, 401, 401, 429]
        assert late.get("/events/").status_code == 429
        assert strict.anonymous.post("/u/wrong").status_code == 429
        assert client.get("/events/").status_code == 200
        elsewhere = {"X-Forwarded-For": "203.0.113.7"}  # told by the proxy on this machine
        assert late.get("/events/", headers=elsewhere).status_code == 200
        clock.now += 60
        assert strict.anonymous.get(f"{PREFIX}/events/", headers=wrong).status_code == 401


@pytest.mark.parametrize(
    ("trusted", "forwarded"),
    [([], "198.51.100.{}"), (["loopback"], "198.51.100.{}, 203.0.113.7"), (["loopback"], "{}")],
    ids=["no proxy", "a proxy's own entry is the last", "no address"],
)
def test_an_address_that_a_client_makes_up_does_not_count(
    api_database: tuple[Database, Engine],
    api_renderer: Renderer,
    clock: Clock,
    trusted: list[str],
    forwarded: str,
) -> None:
    database, engine = api_database
    limits = {"failed_logins_per_minute": 3, "trusted_proxies": trusted}
    with served(settings_for(database, api=limits), engine, api_renderer, clock=clock) as running:
        statuses = [
            running.anonymous.get(
                f"{PREFIX}/events/", headers={"X-Forwarded-For": forwarded.format(number)}
            ).status_code
            for number in range(4)
        ]
    assert statuses == [401, 401, 401, 429]


def test_a_token_that_is_revoked_is_a_wrong_one_like_any_other(strict: Api) -> None:
    person = strict.person("viewer", strict.customer())
    with strict.client(person) as client:
        assert client.get("/events/").status_code == 200
        with strict.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE api_tokens SET revoked_at = now() WHERE user_id = %s", (person.id,)
            )
        assert [client.get("/events/").status_code for _ in range(4)] == [401, 401, 401, 429]


def test_a_user_sends_few_test_mails_in_a_minute_with_however_many_tokens(strict: Api) -> None:
    customer = strict.customer()
    path = f"{PREFIX}/smtp/{strict.smtp(customer, enabled=False)}/test_email/"
    person = strict.person("admin", customer)
    answers = [
        strict.anonymous.post(
            path,
            json={"recipient_email": "test@example.com"},
            headers={"Authorization": f"Bearer {strict.token(person.id)}"},
        )
        for _ in range(TESTS_PER_MINUTE + 1)
    ]
    assert [answer.status_code for answer in answers] == [200] * TESTS_PER_MINUTE + [429]
    assert f"{TESTS_PER_MINUTE} test mails in a minute" in answers[-1].json()["detail"]


def test_the_link_of_a_mail_works_as_often_as_a_token(strict: Api) -> None:
    link = sign([SIGNING_KEY], customer_id=1, event_type="job_failed", recipient_key="a@b.example")
    assert [strict.anonymous.post(f"/u/{link}").status_code for _ in range(7)] == [200] * 6 + [429]


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_request_that_is_too_large_is_refused_unread(strict: Api, chunked: bool) -> None:  # noqa: FBT001
    body = b"[" + b" " * 20000 + b"]"
    with strict.client(strict.person("viewer", strict.customer())) as client:
        answer = client.post("/preferences/bulk/", content=iter([body]) if chunked else body)
    assert answer.status_code == 413
    assert "api.max_request_bytes" in answer.json()["detail"]
