"""Two requests at once: the second one waits, sees what the first one did, and is answered accordingly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.support.api_server import Api

_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'notifier api' AND wait_event_type = 'Lock'
"""


def overtaken(
    api: Api, statements: list[tuple[str, tuple[object, ...]]], ask: Callable[[], httpx.Response]
) -> Any:
    """Ask while another transaction, which then commits, holds what the request needs."""
    with ThreadPoolExecutor(1) as pool:
        with api.engine.begin() as connection:
            for statement, parameters in statements:
                connection.exec_driver_sql(statement, parameters)
            answer = pool.submit(ask)
            wait_until(lambda: api.one(_WAITING) == 1, 10, "the request to wait")
        return answer.result()


def test_of_two_equal_preferences_made_at_once_the_second_is_a_conflict(api: Api) -> None:
    customer = api.customer()
    person = api.person("admin", customer)
    first = (
        "INSERT INTO notification_preferences (user_id, customer_id, event_type, job_types)"
        " VALUES (%s, %s, 'job_failed', '{first}')"
    )
    body = {"user": person.id, "customer": customer, "event_type": "job_failed", "job_types": ["second"]}
    with api.client(person) as client:
        answer = overtaken(
            api, [(first, (person.id, customer))], lambda: client.post("/preferences/", json=body)
        )
    assert answer.status_code == 409
    assert "look and try again" in answer.json()["detail"]
    kept = "SELECT job_types[1] FROM notification_preferences WHERE user_id = %s"
    assert api.one(kept, person.id) == "first"


def test_a_change_of_a_part_keeps_what_was_switched_off_meanwhile(api: Api) -> None:
    customer = api.customer()
    person = api.person("admin", customer)
    preference = api.preference(customer, person.id)
    off = "UPDATE notification_preferences SET enabled = false WHERE id = %s"
    with api.client(person) as client:
        answer = overtaken(
            api,
            [(off, (preference,))],
            lambda: client.patch(f"/preferences/{preference}/", json={"job_types": ["a"]}),
        )
    assert (answer.json()["enabled"], answer.json()["job_types"]) == (False, ["a"])


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_configuration_that_was_replaced_meanwhile_is_left_alone(api: Api, method: str) -> None:
    customer = api.customer()
    server = api.smtp(customer)
    lock = "SELECT pg_advisory_xact_lock(%s, hashint8(%s))"
    again = (
        "INSERT INTO smtp_configs (customer_id, host, from_email) VALUES (%s, 'new.example', 'a@b.example')"
    )
    statements: list[tuple[str, tuple[object, ...]]] = [
        (lock, (0x534D5450, customer)),
        ("DELETE FROM smtp_configs WHERE id = %s", (server,)),
        (again, (customer,)),
    ]
    body = {"host": "late.example", "from_email": "late@b.example"} if method == "PUT" else None
    with api.client(api.person("admin", customer)) as client:
        answer = overtaken(api, statements, lambda: client.request(method, f"/smtp/{server}/", json=body))
    assert answer.status_code == 404
    assert api.one("SELECT host FROM smtp_configs WHERE customer_id = %s", customer) == "new.example"
