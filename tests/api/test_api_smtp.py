"""`/smtp/`: the rules of the command line, whole and part changes, passwords that never leave, test mails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from notifier.api import smtp_shapes
from notifier.domain.smtp_settings import MASK
from notifier.encryption import SecretBox
from tests.support.api_server import ENCRYPTION_KEY
from tests.support.smtp_script import say
from tests.support.smtp_server import Options, SmtpServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.support.api_server import Api

SECRET = "canary-Zq7#pw"
SERVER = {
    "host": "mail.example.com",
    "port": 465,
    "use_ssl": True,
    "username": "jobs",
    "password": SECRET,
    "from_email": "jobs@example.com",
    "reply_to_email": "noc@example.com",
}


@pytest.fixture
def customer(api: Api) -> int:
    return api.customer()


@pytest.fixture
def admin(api: Api, customer: int) -> Iterator[httpx.Client]:
    """An admin of the customer; no answer of the test may hold the password."""
    seen: list[str] = []
    with api.client(api.person("admin", customer)) as client:
        client.event_hooks["response"] = [lambda answer: seen.append(answer.read().decode())]
        yield client
    assert SECRET not in "".join(seen)


def create(admin: httpx.Client, customer: int, **changes: Any) -> dict[str, Any]:
    answer = admin.post("/smtp/", json={**SERVER, "customer": customer, **changes})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def stored_password(api: Api, customer: int) -> str | None:
    token = api.one("SELECT password FROM smtp_configs WHERE customer_id = %s", customer)
    box = SecretBox([ENCRYPTION_KEY])
    host = api.one("SELECT host FROM smtp_configs WHERE customer_id = %s", customer)
    return None if token is None else box.decrypt(customer_id=customer, host=host, token=token)


def test_a_new_configuration_is_answered_masked_and_stored_encrypted(
    api: Api, admin: httpx.Client, customer: int
) -> None:
    made = create(admin, customer)
    assert (made["customer"], made["password"], made["use_tls"], made["use_ssl"]) == (
        customer,
        MASK,
        False,
        True,
    )
    assert set(made) == set(smtp_shapes.SmtpConfig.model_fields)
    assert admin.get(f"/smtp/{made['id']}/").json() == made
    assert admin.get("/smtp/").json() == {"count": 1, "next": None, "previous": None, "results": [made]}
    assert stored_password(api, customer) == SECRET
    second = admin.post("/smtp/", json={**SERVER, "customer": customer})
    assert second.json() == {
        "customer": [f"has an SMTP configuration already, {made['id']}; change that one"]
    }


@pytest.mark.parametrize("kept", [{}, {"password": ""}, {"password": MASK}], ids=["absent", "empty", "mask"])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_password_that_is_not_given_stays_and_null_removes_it(
    api: Api, admin: httpx.Client, customer: int, method: str, kept: dict[str, str]
) -> None:
    path = f"/smtp/{create(admin, customer)['id']}/"
    body = {name: value for name, value in SERVER.items() if name != "password"} if method == "PUT" else {}
    changed = admin.request(method, path, json={**body, "from_email": "other@example.com", **kept}).json()
    assert (changed["from_email"], changed["password"], stored_password(api, customer)) == (
        "other@example.com",
        MASK,
        SECRET,
    )
    removed = admin.request(method, path, json={**body, "password": None}).json()
    assert (removed["password"], stored_password(api, customer)) == (None, None)


@pytest.mark.parametrize(
    "change",
    [{"host": "evil.example.com"}, {"port": 25}, {"use_ssl": False}, {"allow_plaintext_auth": True}],
    ids=["host", "port", "encryption", "plaintext"],
)
def test_a_change_of_where_the_password_goes_asks_for_it_again(
    api: Api, admin: httpx.Client, customer: int, change: dict[str, Any]
) -> None:
    path = f"/smtp/{create(admin, customer)['id']}/"
    refused = admin.patch(path, json=change)
    assert (refused.status_code, list(refused.json())) == (400, ["password"])
    assert "give the password again" in refused.json()["password"][0]
    assert admin.patch(path, json={**change, "password": "another-one"}).status_code == 200
    assert stored_password(api, customer) == "another-one"


def test_put_is_the_whole_and_what_was_answered_can_be_put_back(admin: httpx.Client, customer: int) -> None:
    made = create(admin, customer)
    path = f"/smtp/{made['id']}/"
    back = admin.put(path, json=made).json()
    assert {**back, "updated_at": ""} == {**made, "updated_at": ""}
    whole = {"host": SERVER["host"], "port": 465, "use_ssl": True, "from_email": SERVER["from_email"]}
    reset = admin.put(path, json=whole).json()
    assert (reset["username"], reset["reply_to_email"], reset["enabled"]) == (None, None, True)
    missing = admin.put(path, json={"port": 465})
    assert missing.json() == {"host": ["is missing"], "from_email": ["is missing"]}
    assert admin.delete(path).status_code == 204
    assert admin.get(path).status_code == 404


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"use_tls": True, "use_ssl": True}, "use_ssl", "choose one"),
        ({"host": "smtp://x"}, "host", "is not a host name"),
        ({"host": "a\0b"}, "host", "U+0000"),
        ({"port": 70000}, "port", "65535"),
        ({"port": "587"}, "port", "integer"),
        ({"port": None}, "port", "integer"),
        ({"enabled": "yes"}, "enabled", "boolean"),
        ({"from_email": "nobody"}, "from_email", "@"),
        ({"ca_certificate": "x"}, "ca_certificate", "PEM"),
        ({"ca_certificate": "é"}, "ca_certificate", "PEM"),
        ({"use_tsl": True}, "use_tsl", "spelling"),
        ({"customer": 2**63}, "customer", "9223372036854775807"),
    ],
)
def test_a_fault_is_told_with_its_field_and_nothing_is_stored(
    api: Api, admin: httpx.Client, customer: int, change: dict[str, Any], field: str, words: str
) -> None:
    answer = admin.post("/smtp/", json={**SERVER, "use_ssl": False, "customer": customer, **change})
    assert answer.status_code == 400
    assert list(answer.json()) == [field]
    assert words in answer.json()[field][0]
    assert api.one("SELECT count(*) FROM smtp_configs WHERE customer_id = %s", customer) == 0


def test_all_faults_of_a_body_are_told_at_once_whatever_finds_them(
    api: Api, admin: httpx.Client, customer: int
) -> None:
    wrong = {"from_email": "nobody", "use_tls": True, "use_ssl": True, "password": "a\nb"}
    found = {"from_email", "use_ssl", "password"}
    unread = admin.post("/smtp/", json={**wrong, "port": 70000, "customer": "x", "colour": 1})
    assert (unread.status_code, set(unread.json())) == (400, found | {"host", "port", "customer", "colour"})
    body = {**wrong, "host": "smtp://x"}
    foreign = admin.post("/smtp/", json={**body, "customer": api.customer()})
    assert (foreign.status_code, set(foreign.json())) == (400, found | {"host", "customer"})
    path = f"/smtp/{create(admin, customer)['id']}/"
    second = admin.post("/smtp/", json={**body, "customer": customer})
    assert (second.status_code, set(second.json())) == (400, found | {"host", "customer"})
    for method in ("PUT", "PATCH"):
        answer = admin.request(method, path, json={**body, "port": None})
        assert (answer.status_code, set(answer.json())) == (400, found | {"host", "port"})
    assert admin.post("/smtp/", json=[wrong]).json().keys() == {"detail"}


def test_text_that_cannot_be_stored_is_refused_and_no_server_error(
    admin: httpx.Client, customer: int
) -> None:
    body = f'{{"customer": {customer}, "host": "a\\ud800", "from_email": "a@b.example"}}'
    answer = admin.post("/smtp/", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, list(answer.json())) == (400, ["host"])


def test_a_test_mail_is_sent_told_stage_by_stage_and_logged(
    api: Api, admin: httpx.Client, customer: int
) -> None:
    with SmtpServer() as server:
        made = api.smtp(customer, host="127.0.0.1", port=server.port, use_tls=False)
        answer = admin.post(f"/smtp/{made}/test_email/", json={"recipient_email": "test@example.com"})
    told = answer.json()
    assert (answer.status_code, told["status"], told["failure_reason"]) == (200, "sent", None)
    assert [one["stage"] for one in told["stages"]] == ["DNS", "TCP", "TLS", "AUTH", "MAIL", "RCPT", "DATA"]
    assert server.mails[0].rcpt_tos == ("test@example.com",)
    row = admin.get(f"/events/{told['id']}/").json()
    assert (row["event_type"], row["status"], row["customer"]) == ("test", "sent", customer)
    assert admin.post(f"/events/{told['id']}/resend/").status_code == 409


def test_a_failed_test_tells_class_code_and_cure_but_never_what_the_server_said(
    api: Api, admin: httpx.Client, customer: int
) -> None:
    with SmtpServer(Options()) as server:
        server.on("banner", say("554 internal-host-name says no"))
        made = api.smtp(customer, host="127.0.0.1", port=server.port, use_tls=False)
        answer = admin.post(f"/smtp/{made}/test_email/", json={"recipient_email": "test@example.com"})
    told = answer.json()
    last = told["stages"][-1]
    assert (told["status"], last["ok"], last["code"]) == ("failed", False, 554)
    assert last["kind"] is not None
    assert last["cure"]
    row = admin.get(f"/events/{told['id']}/")
    assert row.json()["error_message"].startswith("the test mail failed (")
    assert "internal-host-name" not in answer.text + row.text + admin.get("/events/").text


def test_four_test_mails_at_once_are_enough(api: Api, admin: httpx.Client, customer: int) -> None:
    made = api.smtp(customer)
    held = [api.parts.tests.acquire(blocking=False) for _ in range(4)]
    try:
        answer = admin.post(f"/smtp/{made}/test_email/", json={"recipient_email": "test@example.com"})
    finally:
        for _ in held:
            api.parts.tests.release()
    assert all(held)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
