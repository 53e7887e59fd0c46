"""One-click unsubscribe (RFC 8058): whoever has the address, whatever the role may write, once and for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifier.domain.unsubscribe import sign
from tests.support.api_server import SIGNING_KEY

if TYPE_CHECKING:
    from notifier.domain.vocabulary import EventType
    from tests.support.api_server import Api

ADDRESS = "shared@example.org"


def path(customer: int, event_type: EventType = "job_failed", *, key: str = SIGNING_KEY) -> str:
    token = sign([key], customer_id=customer, event_type=event_type, recipient_key=ADDRESS)
    return f"/u/{token}"


def off(api: Api, customer: int) -> set[tuple[int, str]]:
    """Who has what switched off."""
    query = (
        "SELECT coalesce(jsonb_agg(jsonb_build_array(user_id, event_type)), '[]') FROM notification_preferences"
        " WHERE customer_id = %s AND NOT enabled"
    )
    return {(int(user), str(event_type)) for user, event_type in api.one(query, customer)}


def test_everybody_with_the_address_is_switched_off_whatever_the_role_and_nobody_else(api: Api) -> None:
    customer, other = api.customer(), api.customer()
    admin = api.person("admin", customer, other, email="shared@EXAMPLE.org")
    viewer = api.person("viewer", customer, email=f" {ADDRESS}")  # may not write a preference for job_failed
    by_override = api.person("operator", customer, email="own@example.org")
    preference = api.preference(customer, by_override.id)
    moved_away = api.person("operator", customer, email=ADDRESS)
    elsewhere = api.preference(customer, moved_away.id)
    api.person("admin", customer, email="bystander@example.org")
    with api.engine.begin() as connection:
        statement = "UPDATE notification_preferences SET email_address = %s, job_types = '{a}' WHERE id = %s"
        connection.exec_driver_sql(statement, (ADDRESS, preference))
        connection.exec_driver_sql(statement, ("new@example.org", elsewhere))
    for _ in range(2):
        answer = api.anonymous.post(path(customer), data={"List-Unsubscribe": "One-Click"})
        assert (answer.status_code, answer.history) == (200, [])
    assert off(api, customer) == {(one.id, "job_failed") for one in (admin, viewer, by_override)}
    assert off(api, other) == set()
    kept = "SELECT email_address || job_types::text FROM notification_preferences WHERE id = %s"
    assert api.one(kept, preference) == f"{ADDRESS}{{a}}"


def test_mails_that_wait_are_stopped_of_that_type_customer_and_address_alone(api: Api) -> None:
    customer, other = api.customer(), api.customer()
    _, waiting = api.mail(customer, address=ADDRESS)
    _, sent = api.mail(customer, address=ADDRESS, status="sent")
    _, bystander = api.mail(customer, address="bystander@example.org")
    _, foreign = api.mail(other, address=ADDRESS)
    assert api.anonymous.post(path(customer)).status_code == 200
    status = "SELECT status || coalesce(' ' || failure_reason, '') FROM notification_events WHERE id = %s"
    found = [api.one(status, row) for row in (waiting, sent, bystander, foreign)]
    assert found == ["failed cancelled", "sent", "pending", "pending"]


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("OPTIONS", 405), ("PUT", 405), ("DELETE", 405)]
)
def test_no_method_but_post_changes_anything(api: Api, method: str, status: int) -> None:
    customer = api.customer()
    api.person("admin", customer, email=ADDRESS)
    answer = api.anonymous.request(method, path(customer), headers={"X-HTTP-Method-Override": "POST"})
    assert answer.status_code == status
    assert off(api, customer) == set()


def test_looking_changes_nothing_and_shows_no_address(api: Api) -> None:
    customer = api.customer()
    api.person("admin", customer, email=ADDRESS)
    looked = api.anonymous.get(path(customer))
    assert looked.status_code == 200
    assert '<form method="post"><button' in looked.text
    assert "failed jobs" in looked.text
    assert ADDRESS not in looked.text
    assert "<script" not in looked.text
    assert "form-action 'self'" in looked.headers["Content-Security-Policy"]
    assert off(api, customer) == set()


def test_the_page_names_the_customer_whose_mails_end(api: Api) -> None:
    customer, other = api.customer("Smith & <b>Sons</b>"), api.customer("Bystander")
    for method in ("GET", "POST"):
        answer = api.anonymous.request(method, path(customer))
        assert "Mails of Webnet about failed jobs of Smith &amp; &lt;b&gt;Sons&lt;/b&gt;" in answer.text
        assert "Bystander" not in answer.text
        assert "failed jobs of Bystander" in api.anonymous.request(method, path(other)).text


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_link_that_we_did_not_sign_is_unknown(api: Api, method: str) -> None:
    customer = api.customer()
    api.person("admin", customer, email=ADDRESS)
    good = path(customer)
    for link in (path(customer, key="k" * 40), good[:-2], f"{good}x", "/u/x", "/u/%00%ff"):
        assert api.anonymous.request(method, link).status_code == 404, link
    assert off(api, customer) == set()


def test_a_link_of_a_customer_or_address_that_is_gone_is_answered_as_ever(api: Api) -> None:
    for method in ("GET", "POST"):
        gone = api.anonymous.request(method, path(2**62))
        assert gone.status_code == 200
        assert "Mails of Webnet about failed jobs" in gone.text
    assert api.anonymous.post(path(api.customer())).status_code == 200
