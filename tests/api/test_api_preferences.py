"""`/preferences/`: the rules of docs/contract.md, parts and wholes, many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from notifier.api import preference_shapes
from notifier.api.preference_routes import MAX_LINES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.support.api_server import Api, Person


@pytest.fixture
def customer(api: Api) -> int:
    return api.customer()


@pytest.fixture
def viewer(api: Api, customer: int) -> Person:
    return api.person("viewer", customer)


@pytest.fixture
def admin(api: Api, customer: int) -> Iterator[httpx.Client]:
    with api.client(api.person("admin", customer)) as client:
        yield client


def wanted(customer: int, user: int, /, **changes: Any) -> dict[str, Any]:
    return {"user": user, "customer": customer, "event_type": "job_success", **changes}


def test_a_preference_is_made_shown_changed_and_deleted(
    admin: httpx.Client, customer: int, viewer: Person
) -> None:
    body = wanted(customer, viewer.id, email_address="Noc@EXAMPLE.com", job_types=["a", "b", "a"])
    answer = admin.post("/preferences/", json=body)
    made = answer.json()
    assert answer.status_code == 201
    assert set(made) == set(preference_shapes.Preference.model_fields)
    assert (made["email_address"], made["job_types"], made["enabled"]) == (
        "Noc@example.com",
        ["a", "b"],
        True,
    )
    path = f"/preferences/{made['id']}/"
    assert admin.get(path).json() == made
    part = admin.patch(path, json={"enabled": False}).json()
    assert (part["enabled"], part["job_types"], part["email_address"]) == (
        False,
        ["a", "b"],
        "Noc@example.com",
    )
    assert admin.patch(path, json={"job_types": None}).json()["job_types"] == []
    whole = admin.put(path, json=wanted(customer, viewer.id)).json()
    assert (whole["enabled"], whole["email_address"], whole["id"]) == (True, None, made["id"])
    assert admin.put(path, json=whole).status_code == 200
    assert admin.delete(path).status_code == 204
    assert admin.delete(path).status_code == 404


def test_a_second_preference_for_the_same_is_refused_and_names_the_first(
    admin: httpx.Client, customer: int, viewer: Person
) -> None:
    first = admin.post("/preferences/", json=wanted(customer, viewer.id)).json()["id"]
    again = admin.post("/preferences/", json=wanted(customer, viewer.id))
    assert again.status_code == 400
    assert f"preference {first} is for the same user" in again.json()["event_type"][0]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"event_type": "job_failed"}, "event_type", "may not receive job_failed"),
        ({"event_type": "test"}, "event_type", "job_success"),
        ({"email_address": "nobody"}, "email_address", "@"),
        ({"job_types": [""]}, "job_types", "empty"),
        ({"job_types": "a"}, "job_types", "list"),
        ({"job_types": [1]}, "job_types", "entry 1"),
        ({"enabled": 1}, "enabled", "boolean"),
        ({"user": 0}, "user", "1"),
        ({"emial": "x"}, "emial", "spelling"),
    ],
)
def test_a_fault_is_told_with_its_field(
    admin: httpx.Client, customer: int, viewer: Person, change: dict[str, Any], field: str, words: str
) -> None:
    answer = admin.post("/preferences/", json=wanted(customer, viewer.id, **change))
    assert answer.status_code == 400
    assert list(answer.json()) == [field]
    assert words in answer.json()[field][0]


def test_own_preferences_are_a_bare_array_over_all_customers(api: Api, customer: int) -> None:
    person = api.person("operator", customer, other := api.customer())
    ids = [api.preference(one, person.id) for one in (customer, other)]
    api.preference(customer, api.person("operator", customer).id)
    with api.client(person) as client:
        assert [one["id"] for one in client.get("/preferences/my_preferences/").json()] == ids


def test_lists_are_filtered_and_paged(api: Api, admin: httpx.Client, customer: int, viewer: Person) -> None:
    ids = [api.preference(customer, viewer.id, kind) for kind in ("job_partial", "job_success")]
    admin.patch(f"/preferences/{ids[0]}/", json={"enabled": False})
    for query, found in (
        ({"user": viewer.id}, ids),
        ({"event_type": "job_success"}, ids[1:]),
        ({"enabled": "false"}, ids[:1]),
        ({"enabled": "true"}, ids[1:]),
    ):
        results = admin.get("/preferences/", params=query).json()["results"]
        assert [one["id"] for one in results] == found, query
    first = admin.get("/preferences/", params={"page_size": 1, "enabled": "true"}).json()
    assert (first["count"], first["next"], first["previous"]) == (1, None, None)
    first = admin.get("/preferences/", params={"page_size": 1}).json()
    second = admin.get(first["next"]).json()
    assert (first["count"], [one["id"] for one in second["results"]], second["next"]) == (2, ids[1:], None)
    assert admin.get(second["previous"]).json()["results"] == first["results"]
    assert admin.get("/preferences/", params={"page": 9}).json() == {
        "detail": "there is no page 9; the last one is 1"
    }
    for query in ({"page": 0}, {"page_size": 501}, {"page": "x"}, {"user": 2**63}, {"enabled": "maybe"}):
        assert admin.get("/preferences/", params=query).status_code == 400, query


def test_many_are_written_all_or_none_with_every_fault_by_its_line(
    api: Api, admin: httpx.Client, customer: int, viewer: Person
) -> None:
    good = wanted(customer, viewer.id, job_types=["a"])
    faulty = [
        good,
        wanted(customer, viewer.id, event_type="job_failed", email_address="nobody"),
        {"customer": customer, "enabled": "yes"},
        good,
    ]
    refused = admin.post("/preferences/bulk/", json=faulty)
    assert refused.status_code == 400
    problems = refused.json()
    assert list(problems) == ["line 2", "line 3", "line 4"]
    assert [text.split(":")[0] for text in problems["line 2"]] == ["event_type", "email_address"]
    assert {text.split(":")[0] for text in problems["line 3"]} == {"user", "event_type", "enabled"}
    assert "same user, customer and event type as line 1" in problems["line 4"][0]
    count = "SELECT count(*) FROM notification_preferences WHERE customer_id = %s"
    assert api.one(count, customer) == 0
    lines = [good, wanted(customer, viewer.id, event_type="job_partial")]
    assert admin.post("/preferences/bulk/", json=lines).json() == {"saved": 2}
    assert admin.post("/preferences/bulk/", json=[{**good, "enabled": False}]).json() == {"saved": 1}
    assert api.one(count + " AND NOT enabled", customer) == 1
    assert admin.post("/preferences/bulk/", json={"user": 1}).status_code == 400


def test_many_name_fields_as_the_api_does_and_what_is_no_object_by_its_line(
    admin: httpx.Client, customer: int, viewer: Person
) -> None:
    foreign = [wanted(customer + 10**6, viewer.id), wanted(customer, 2**62)]
    assert admin.post("/preferences/bulk/", json=foreign).json() == {
        "line 1": [f"customer: there is no customer {customer + 10**6} among yours"],
        "line 2": [f"user: there is no user {2**62}"],
    }
    none = admin.post("/preferences/bulk/", json=[wanted(customer, viewer.id), None])
    assert (none.status_code, list(none.json())) == (400, ["line 2"])


def test_more_lines_than_one_request_may_have_are_refused_at_once(admin: httpx.Client) -> None:
    answer = admin.post("/preferences/bulk/", json=[{}] * (MAX_LINES + 1))
    assert answer.status_code == 400
    assert f"at most {MAX_LINES}" in answer.json()["detail"]
