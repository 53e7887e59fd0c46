"""Role by endpoint by own or other customer: who may do what, each cell checked, on the database's own limits too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from notifier.store import job_events, log_filters, preferences, scope, smtp_configs
from notifier.store.scope import Scope
from tests.integration.conftest import engine_for
from tests.support.api_server import PREFIX

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from tests.services import Database
    from tests.support.api_server import Api, Person

ROLES = ("admin", "operator", "viewer")
SERVER = {"host": "relay.example.com", "from_email": "jobs@example.com"}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One customer with everything in it."""

    customer: int
    smtp: int
    event: int
    mail: int
    other_user: int  # another user's preference and id
    preference: int


def stage(api: Api) -> Stage:
    customer = api.customer()
    other = api.person("admin", customer)
    event, mail = api.mail(customer, status="failed")
    return Stage(
        customer=customer,
        smtp=api.smtp(customer),
        event=event,
        mail=mail,
        other_user=other.id,
        preference=api.preference(customer, other.id),
    )


def call(api: Api, person: Person, there: Stage, what: str) -> int:
    """Do one thing of the table; return the status."""
    own = api.preference(there.customer, person.id, "job_success") if "{own}" in what else 0
    method, _, path = what.partition(" ")
    bodies: dict[str, Any] = {
        "POST /smtp/": {**SERVER, "customer": there.customer},
        "PUT /smtp/{smtp}/": SERVER,
        "PATCH /smtp/{smtp}/": {"enabled": False},
        "POST /smtp/{smtp}/test_email/": {"recipient_email": "not an address"},
        "POST /preferences/": {"user": person.id, "customer": there.customer, "event_type": "job_success"},
        "PUT /preferences/{own}/": {
            "user": person.id,
            "customer": there.customer,
            "event_type": "job_partial",
        },
        "PATCH /preferences/{own}/": {"enabled": False},
        "PUT /preferences/{preference}/": {
            "user": there.other_user,
            "customer": there.customer,
            "event_type": "job_failed",
        },
        "PATCH /preferences/{preference}/": {"enabled": False},
        "POST /preferences/bulk/": [
            {"user": person.id, "customer": there.customer, "event_type": "job_success"}
        ],
    }
    if what == "POST /preferences/ of another":
        body: Any = {"user": there.other_user, "customer": there.customer, "event_type": "job_partial"}
        path = "/preferences/"
    elif what == "POST /preferences/bulk/ of another":
        body = [{"user": there.other_user, "customer": there.customer, "event_type": "job_partial"}]
        path = "/preferences/bulk/"
    else:
        body = bodies.get(what)
    filled = path.format(
        smtp=there.smtp, own=own, preference=there.preference, mail=there.mail, event=there.event
    )
    with api.client(person) as client:
        return client.request(method, filled, json=body).status_code


# What: status for (admin, operator, viewer) of the customer, then for the same roles of another customer.
# 400 for the test mail is its faulty address: the request passed. A second SMTP configuration is a 400 as well.
TABLE: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "GET /smtp/{smtp}/": ((200, 200, 200), (404, 404, 404)),
    "POST /smtp/": ((400, 403, 403), (400, 403, 403)),
    "PUT /smtp/{smtp}/": ((200, 403, 403), (404, 403, 403)),
    "PATCH /smtp/{smtp}/": ((200, 403, 403), (404, 403, 403)),
    "DELETE /smtp/{smtp}/": ((204, 403, 403), (404, 403, 403)),
    "POST /smtp/{smtp}/test_email/": ((400, 403, 403), (404, 403, 403)),
    "GET /preferences/{own}/": ((200, 200, 200), (404, 404, 404)),
    "PUT /preferences/{own}/": ((200, 200, 200), (404, 404, 404)),
    "PATCH /preferences/{own}/": ((200, 200, 200), (404, 404, 404)),
    "DELETE /preferences/{own}/": ((204, 204, 204), (404, 404, 404)),
    "GET /preferences/{preference}/": ((200, 404, 404), (404, 404, 404)),
    "PUT /preferences/{preference}/": ((200, 404, 404), (404, 404, 404)),
    "PATCH /preferences/{preference}/": ((200, 404, 404), (404, 404, 404)),
    "DELETE /preferences/{preference}/": ((204, 404, 404), (404, 404, 404)),
    "POST /preferences/": ((201, 201, 201), (400, 400, 400)),
    "POST /preferences/ of another": ((201, 400, 400), (400, 400, 400)),
    "POST /preferences/bulk/": ((200, 200, 200), (400, 400, 400)),
    "POST /preferences/bulk/ of another": ((200, 400, 400), (400, 400, 400)),
    "GET /events/{mail}/": ((200, 200, 200), (404, 404, 404)),
    "POST /events/{mail}/resend/": ((201, 403, 403), (404, 403, 403)),
    # A viewer may not receive job_failed, so neither its text.
    "GET /job-events/{event}/preview/": ((200, 200, 403), (404, 404, 404)),
    "GET /job-events/{event}/explain/": ((200, 200, 403), (404, 404, 404)),
}


@pytest.fixture(scope="module")
def foreign_stage(api: Api) -> Stage:
    """Another customer: nothing may ever change there, so one is enough."""
    return stage(api)


@pytest.mark.parametrize("what", TABLE)
@pytest.mark.parametrize("role", ROLES)
def test_each_role_does_what_the_table_says_and_nothing_with_another_customer(
    api: Api, foreign_stage: Stage, role: str, what: str
) -> None:
    own, foreign = (answers[ROLES.index(role)] for answers in TABLE[what])
    before = _state(api, there := stage(api))
    assert call(api, api.person(role, there.customer), there, what) == own
    assert own < 400 or _state(api, there) == before
    before = _state(api, foreign_stage)
    assert call(api, api.person(role, api.customer()), foreign_stage, what) == foreign
    assert _state(api, foreign_stage) == before


def _state(api: Api, there: Stage) -> Any:
    """Everything of a customer that a request could change, but for the preferences of the one who asks."""
    return api.one(
        "SELECT jsonb_build_array((SELECT jsonb_agg(s) FROM smtp_configs s WHERE customer_id = %(c)s),"
        " (SELECT jsonb_agg(p) FROM notification_preferences p WHERE customer_id = %(c)s AND user_id = %(u)s),"
        " (SELECT jsonb_agg(n) FROM notification_events n WHERE customer_id = %(c)s))".replace(
            "%(c)s", str(there.customer)
        ).replace("%(u)s", str(there.other_user))
    )


@pytest.mark.parametrize("role", ROLES)
def test_lists_hold_the_own_customers_alone_and_filters_open_nothing(api: Api, role: str) -> None:
    own, foreign = stage(api), stage(api)
    person = api.person(role, own.customer)
    with api.client(person) as client:
        for path, expected in (("/smtp/", own.smtp), ("/events/", own.mail)):
            for query in ({}, {"customer": own.customer}, {"page_size": 500}):
                assert [one["id"] for one in client.get(path, params=query).json()["results"]] == [expected]
            assert client.get(path, params={"customer": foreign.customer}).json()["count"] == 0
        for ordering in ("created_at", "-created_at", "sent_at", "-sent_at"):
            found = client.get("/events/", params={"ordering": ordering, "job": 4812}).json()["results"]
            assert {one["customer"] for one in found} == {own.customer}
        seen = {one["id"] for one in client.get("/preferences/").json()["results"]}
        assert seen == ({own.preference} if role == "admin" else set())
        for user in (own.other_user, foreign.other_user):
            found = client.get("/preferences/", params={"user": user}).json()["results"]
            assert len(found) == (role == "admin" and user == own.other_user)
        assert client.get("/preferences/my_preferences/").json() == []


def test_a_body_cannot_lead_to_another_customer_and_tells_nothing_of_its_users(api: Api) -> None:
    own, foreign = stage(api), stage(api)
    stranger = api.person("viewer", foreign.customer)
    with api.client(api.person("admin", own.customer)) as client:
        before = _state(api, foreign)
        moved = client.patch(f"/preferences/{own.preference}/", json={"customer": foreign.customer})
        assert (moved.status_code, list(moved.json())) == (400, ["customer"])
        assert client.patch(f"/smtp/{own.smtp}/", json={"customer": foreign.customer}).status_code == 400
        unknown, known = (
            client.post(
                "/preferences/", json={"user": user, "customer": own.customer, "event_type": "job_failed"}
            )
            for user in (2**62, stranger.id)
        )
        assert unknown.json() == {"user": [f"there is no user {2**62}"]}
        assert known.json() == {"user": [f"there is no user {stranger.id}"]}
        bulk = client.post(
            "/preferences/bulk/",
            json=[
                {"user": own.other_user, "customer": own.customer, "event_type": "job_success"},
                {"user": foreign.other_user, "customer": foreign.customer, "event_type": "job_failed"},
                {"user": stranger.id, "customer": own.customer, "event_type": "job_success"},
            ],
        )
        assert bulk.status_code == 400
        assert list(bulk.json()) == ["line 2", "line 3"]
        assert _state(api, foreign) == before
        assert client.get(f"/job-events/{own.event}/explain/?user={stranger.id}").status_code == 404
        assert client.get(f"/job-events/{own.event}/preview/?user={stranger.id}").status_code == 404


def test_operators_ask_about_themselves_alone(api: Api) -> None:
    there = stage(api)
    person = api.person("operator", there.customer)
    with api.client(person) as client:
        users = client.get(f"/job-events/{there.event}/explain/").json()["users"]
        assert [one["user"] for one in users] == [person.id]
        for path in ("explain", "preview"):
            answer = client.get(f"/job-events/{there.event}/{path}/?user={there.other_user}")
            assert answer.status_code == 403


@pytest.mark.parametrize("token", ["", "ntf_unknown", "x" * 5000], ids=["none", "unknown", "overlong"])
def test_without_a_valid_token_everything_is_401(api: Api, token: str) -> None:
    """Also with a body that is no JSON: who has no token is not told what is wrong with it."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers["Content-Type"] = "application/json"
    for path, operations in api.anonymous.get("/openapi.json").json()["paths"].items():
        if path.startswith(PREFIX):
            for method in operations:
                filled = path.replace("{id}", "x")
                answer = api.anonymous.request(method, filled, headers=headers, content=b"{")
                assert answer.status_code == 401, (method, path)
                assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_expired_and_revoked_tokens_and_those_of_inactive_users_are_refused(api: Api) -> None:
    customer = api.customer()
    person = api.person("admin", customer)
    now = datetime.now(UTC)
    with api.client(person) as client:

        def status(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return client.get("/events/", headers=headers).status_code

        assert status(api.token(person.id, expires_at=now + timedelta(hours=1))) == 200
        assert status(api.token(person.id, expires_at=now - timedelta(seconds=1))) == 401
        assert status(person.token) == 200
        assert (
            api.one(
                "SELECT count(*) FROM api_tokens WHERE last_used_at IS NOT NULL AND user_id = %s", person.id
            )
            == 2
        )
        revoked = api.token(person.id)
        with api.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE api_tokens SET revoked_at = now() WHERE id = (SELECT max(id) FROM api_tokens)"
            )
        assert status(revoked) == 401
        with api.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE users SET is_active = false WHERE id = %s", (person.id,))
        assert status(person.token) == 401


def test_access_taken_away_counts_from_the_next_request_on(api: Api) -> None:
    there = stage(api)
    person = api.person("admin", there.customer)
    with api.client(person) as client:
        assert client.get(f"/smtp/{there.smtp}/").status_code == 200
        with api.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM customer_users WHERE user_id = %s", (person.id,))
        assert client.get(f"/smtp/{there.smtp}/").status_code == 404


LIMITED = {
    "customers": "id",
    "customer_users": "customer_id",
    "smtp_configs": "customer_id",
    "notification_preferences": "customer_id",
    "job_events": "customer_id",
    "notification_events": "customer_id",
    "delivery_lanes": "customer_id",
}


@pytest.mark.parametrize("table", LIMITED)
def test_a_query_without_its_where_finds_the_own_customers_alone(api: Api, table: str) -> None:
    own, foreign = stage(api), stage(api)
    query = f"SELECT DISTINCT {LIMITED[table]} FROM {table}"  # noqa: S608 - our own names
    with api.parts.begin(Scope(customer_ids=(own.customer,))) as connection:
        assert list(connection.exec_driver_sql(query).scalars()) == [own.customer]
    with api.parts.begin(Scope()) as connection:
        assert list(connection.exec_driver_sql(query).scalars()) == []
    with api.engine.connect() as connection:
        assert foreign.customer in set(connection.exec_driver_sql(query).scalars())


@pytest.mark.parametrize("role", ROLES)
def test_endpoints_that_forget_their_where_still_find_the_own_customers_alone(
    api: Api, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    own, foreign = stage(api), stage(api)
    for module in (log_filters.LogFilter, preferences.PreferenceFilter, job_events.EventFilter):
        conditions = module.conditions

        def forgetful(self: Any, conditions: Any = conditions) -> Any:
            return conditions(replace(self, customer_ids=None))

        monkeypatch.setattr(module, "conditions", forgetful)
    monkeypatch.setattr(smtp_configs, "_of", lambda query, _customer_ids: query)
    person = api.person(role, own.customer)
    with api.client(person) as client:
        for path in ("/smtp/", "/events/", "/preferences/"):
            found = client.get(path, params={"customer": foreign.customer}).json()["results"]
            assert {one["customer"] for one in found} <= {own.customer}
        assert [one["id"] for one in client.get("/smtp/").json()["results"]] == [own.smtp]
    before = _state(api, foreign)
    for what, (_, answers) in TABLE.items():
        if "{own}" not in what and what != "POST /smtp/":
            assert call(api, person, foreign, what) == answers[ROLES.index(role)], what
    assert _state(api, foreign) == before


def test_nothing_is_written_for_another_customer_whatever_the_statement(api: Api) -> None:
    own, foreign = stage(api), stage(api)
    with api.parts.begin(Scope(customer_ids=(own.customer,))) as connection:
        for statement in (
            "UPDATE smtp_configs SET host = 'evil.example'",
            "UPDATE notification_preferences SET enabled = false",
            "DELETE FROM notification_preferences",
            "UPDATE delivery_lanes SET next_due_at = now()",
        ):
            assert connection.exec_driver_sql(statement).rowcount == 1, statement
    with (
        pytest.raises(Exception, match="row-level security"),
        api.parts.begin(Scope(customer_ids=(own.customer,))) as connection,
    ):
        connection.exec_driver_sql(
            "INSERT INTO smtp_configs (customer_id, host, from_email) VALUES (%s, 'x', 'a@b.example')",
            (api.customer(),),
        )
    assert api.one("SELECT host FROM smtp_configs WHERE id = %s", foreign.smtp) == "mail.example.com"


def test_the_role_of_the_api_sees_one_token_the_users_of_its_customers_and_no_rejected_bodies(
    api: Api,
) -> None:
    own, foreign = stage(api), stage(api)
    with api.parts.begin(Scope(customer_ids=(own.customer,))) as connection:
        assert list(connection.exec_driver_sql("SELECT id FROM users").scalars()) == [own.other_user]
        assert list(connection.exec_driver_sql("SELECT id FROM api_tokens").scalars()) == []
        servers = set(connection.exec_driver_sql("SELECT server_id FROM smtp_breakers").scalars())
        assert servers == {0, own.smtp}
        assert foreign.smtp not in servers
    for statement in (
        "SELECT * FROM rejected_events",
        "UPDATE users SET role = 'admin'",
        "DELETE FROM job_events",
    ):
        with pytest.raises(Exception, match="42501"), api.parts.begin(Scope()) as connection:
            connection.exec_driver_sql(statement)


def test_whether_the_database_limits_the_login_is_known(
    api: Api, api_database: tuple[Database, Engine], database: Database
) -> None:
    assert scope.in_force(api.engine)
    no_member = replace(api_database[0], url=f"{api_database[0].url}?options=-crole%3Dnotifier_worker")
    for without_limits in (database, no_member):
        engine = engine_for(without_limits)
        try:
            assert not scope.in_force(engine)
        finally:
            engine.dispose()


def test_the_table_has_every_endpoint_that_names_one_thing(api: Api) -> None:
    document = api.anonymous.get("/openapi.json").json()["paths"]
    there = {
        f"{method.upper()} {path.removeprefix(PREFIX)}"
        for path, operations in document.items()
        for method in operations
        if path.startswith(PREFIX)
    }
    names = ("{smtp}", "{own}", "{preference}", "{mail}", "{event}")
    checked = set()
    for what in TABLE:
        for name in names:
            what = what.replace(name, "{id}")  # noqa: PLW2901 - step by step
        checked.add(what.removesuffix(" of another"))
    lists = {
        f"GET {path}" for path in ("/smtp/", "/events/", "/preferences/", "/preferences/my_preferences/")
    }
    assert there == checked | lists
