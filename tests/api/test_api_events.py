"""`/events/` and `/job-events/`: the log with its filters and orders, resends, previews, explanations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from notifier.api import event_shapes
from notifier.domain.unsubscribe import verify
from tests.support.api_server import SIGNING_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.support.api_server import Api, Person


@pytest.fixture
def customer(api: Api) -> int:
    return api.customer()


@pytest.fixture
def person(api: Api, customer: int) -> Person:
    return api.person("admin", customer, email="anna@example.org")


@pytest.fixture
def admin(api: Api, person: Person) -> Iterator[httpx.Client]:
    with api.client(person) as client:
        yield client


def test_the_log_is_filtered_and_ordered_as_asked(api: Api, admin: httpx.Client, customer: int) -> None:
    _, old = api.mail(customer, status="sent", age_days=3, job_id=1)
    _, failed = api.mail(customer, status="failed", age_days=2, job_id=2)
    _, new = api.mail(customer, status="sent", age_days=1, job_id=2)

    def ids(**query: Any) -> list[int]:
        return [one["id"] for one in admin.get("/events/", params=query).json()["results"]]

    assert ids() == [new, failed, old]
    assert ids(ordering="created_at") == [old, failed, new]
    assert ids(ordering="-sent_at") == [new, old, failed]
    assert ids(ordering="sent_at", status="sent") == [old, new]
    assert ids(status="failed") == [failed]
    assert ids(job=2) == [new, failed]
    assert ids(compliance_result=2) == []
    assert ids(event_type="job_failed", customer=customer) == [new, failed, old]
    assert ids(event_type="test") == []
    row = admin.get(f"/events/{failed}/").json()
    assert set(row) == set(event_shapes.MailRow.model_fields)
    assert (row["customer"], row["job"], row["failure_reason"]) == (customer, 2, "permanent_smtp")
    for faulty in ({"ordering": "id"}, {"status": "x"}, {"job": "x"}, {"event_type": "none"}):
        assert admin.get("/events/", params=faulty).status_code == 400, faulty


def test_a_resend_is_a_new_row_that_says_by_whom_and_only_final_mails_get_one(
    api: Api, admin: httpx.Client, customer: int, person: Person
) -> None:
    _, failed = api.mail(customer, status="failed")
    answer = admin.post(f"/events/{failed}/resend/")
    new = answer.json()
    assert answer.status_code == 201
    name = api.one("SELECT username FROM users WHERE id = %s", person.id)
    assert (new["status"], new["generation"], new["resent_by"]) == ("pending", 1, name)
    again = admin.post(f"/events/{failed}/resend/")
    assert (again.status_code, "resent before" in again.json()["detail"]) == (409, True)
    pending = admin.post(f"/events/{new['id']}/resend/")
    assert (pending.status_code, "still pending" in pending.json()["detail"]) == (409, True)
    due = "SELECT next_due_at <= now() FROM delivery_lanes WHERE customer_id = %s"
    assert api.one(due, customer)


def test_a_preview_is_the_mail_in_a_sandbox_and_its_unsubscribe_link_does_nothing(
    api: Api, admin: httpx.Client, customer: int
) -> None:
    event, _ = api.mail(customer)
    page = admin.get(f"/job-events/{event}/preview/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    text = admin.get(f"/job-events/{event}/preview/", params={"format": "text"})
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    for shown in (page.text, text.text):
        assert "SSH login timed out" in shown
        links = re.findall(r"https://notifications\.example\.com/u/([\w-]+)", shown)
        assert links
        assert all(verify([SIGNING_KEY], token) is None for token in links)
    assert admin.get(f"/job-events/{event}/preview/", params={"format": "eml"}).status_code == 400


def test_an_explanation_names_user_rule_and_reason(
    api: Api, admin: httpx.Client, customer: int, person: Person
) -> None:
    event, _ = api.mail(customer)
    operator = api.person("operator", customer, email="bert@example.org")
    api.smtp(customer)
    told = admin.get(f"/job-events/{event}/explain/").json()
    assert (told["customer"], told["event_type"], told["job_type"]) == (
        customer,
        "job_failed",
        "config_backup",
    )
    assert (told["server"]["own"], told["server"]["name"]) == (True, "mail.example.com:587")
    verdicts = {one["user"]: (one["mail"], one["rule"]) for one in told["users"]}
    assert verdicts == {person.id: (True, "role_default"), operator.id: (False, "not_subscribed")}
    one = admin.get(f"/job-events/{event}/explain/", params={"user": operator.id}).json()["users"]
    assert [user["user"] for user in one] == [operator.id]


def test_an_event_that_makes_no_mails_is_not_found(api: Api, admin: httpx.Client, customer: int) -> None:
    event, _ = api.mail(customer)
    with api.engine.begin() as connection:
        connection.exec_driver_sql(
            'UPDATE job_events SET payload = payload || \'{"type": "device_added"}\' WHERE id = %s', (event,)
        )
    assert admin.get(f"/job-events/{event}/explain/").status_code == 404
