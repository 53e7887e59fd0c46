"""What holds for every request: headers, methods, documents, faults of the database, an orderly log."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
import structlog

from notifier.api import openapi
from notifier.api.application import endpoints
from notifier.api.server import listen
from notifier.domain.errors import ConfigurationError
from tests.integration.conftest import engine_for
from tests.services import drop_database
from tests.support.api_server import PREFIX, served, settings_for

if TYPE_CHECKING:
    from notifier.rendering.renderer import Renderer
    from tests.services import Database
    from tests.support.api_server import Api

DOCUMENT = Path(__file__).parents[2] / "docs" / "schema" / "openapi.json"


def test_every_answer_has_the_security_headers_and_names_no_server(api: Api) -> None:
    for path in ("/docs", "/openapi.json", "/livez", "/nowhere/", f"{PREFIX}/smtp/", "/u/x"):
        headers = api.anonymous.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "server" not in headers


def test_a_path_without_its_slash_is_not_found_and_says_so(api: Api) -> None:
    answer = api.anonymous.post(f"{PREFIX}/smtp", json={})
    assert (answer.status_code, answer.history) == (404, [])
    assert "end in a slash" in answer.json()["detail"]


def test_a_wrong_method_is_told_all_the_right_ones(api: Api) -> None:
    for method, path, allowed in (
        ("DELETE", f"{PREFIX}/smtp/", "GET, HEAD, POST"),
        ("POST", f"{PREFIX}/smtp/1/", "DELETE, GET, HEAD, PATCH, PUT"),
        ("GET", f"{PREFIX}/preferences/bulk/x/", None),
        ("PUT", "/u/token", "GET, HEAD, POST"),
        ("POST", "/docs", "GET, HEAD"),
    ):
        answer = api.anonymous.request(method, path)
        assert answer.status_code == (405 if allowed else 404)
        assert answer.headers.get("Allow") == allowed


@pytest.mark.parametrize(
    "text", ["1.0", "+1", "%201", "01", "1_0", "%D9%A1", "-1", "0", str(2**63), "9" * 5000]
)
def test_an_id_has_one_spelling(api: Api, text: str) -> None:
    with api.client(api.person("admin", api.customer())) as client:
        for path in (f"/smtp/{text}/", f"/smtp/?customer={text}", f"/events/?page={text}"):
            assert client.get(path).status_code == 400, path


def test_head_is_get_without_the_body(api: Api) -> None:
    got, head = api.anonymous.get("/openapi.json"), api.anonymous.head("/openapi.json")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


@pytest.mark.parametrize("body", [b"{", b"", b"[" * 100_000, b"\xff", b"null", b"1e999"])
def test_a_body_that_is_no_json_object_is_a_fault_of_the_client(api: Api, body: bytes) -> None:
    with api.client(api.person("admin", api.customer())) as client:
        for path in ("/smtp/", "/preferences/", "/preferences/bulk/"):
            answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400, (path, answer.text)
            assert "application/json" in answer.json()["detail"]


def test_the_committed_document_is_current_renew_it_with_make_docs(tmp_path: Path) -> None:
    assert DOCUMENT.read_text("utf-8") == openapi.text(endpoints())
    assert openapi.main([str(tmp_path / "openapi.json")]) == 0
    assert (tmp_path / "openapi.json").read_text("utf-8") == DOCUMENT.read_text("utf-8")
    assert openapi.main([]) == 2


def test_the_document_is_served_and_bounds_every_integer_that_is_sent(api: Api) -> None:
    document = api.anonymous.get("/openapi.json").json()
    assert document == json.loads(DOCUMENT.read_text("utf-8"))
    for path in document["paths"].values():
        for operation in path.values():
            assert "422" not in operation["responses"]
            for parameter in operation.get("parameters", ()):
                schema = parameter["schema"]
                for one in schema.get("anyOf", [schema]):
                    assert one.get("type") != "integer" or one["maximum"] <= 2**63 - 1, parameter


def test_the_documentation_page_needs_nothing_from_elsewhere(api: Api) -> None:
    page = api.anonymous.get("/docs")
    assert page.status_code == 200
    assert "POST /api/v1/notifications/smtp/{id}/test_email/" in page.text
    for outside in ("<script", "<link", "<img", "@import", "http://", "https://", "url("):
        assert outside not in page.text, outside


def test_without_its_schema_it_does_not_start(empty_database: Database, api_renderer: Renderer) -> None:
    settings = settings_for(empty_database)
    engine = engine_for(empty_database)
    with (
        pytest.raises(ConfigurationError, match="no notifier schema"),
        served(settings, engine, api_renderer),
    ):
        pass
    engine.dispose()


def test_without_its_database_it_lives_and_is_not_ready(
    database: Database, postgres_url: str, api_renderer: Renderer
) -> None:
    engine = engine_for(database)
    with served(settings_for(database), engine, api_renderer) as running:
        assert running.anonymous.get("/readyz").text == "ok\n"
        drop_database(postgres_url, database.name)
        assert running.anonymous.get("/readyz").status_code == 503
        assert running.anonymous.get("/livez").text == "ok\n"
    engine.dispose()


def test_a_database_that_goes_away_is_told_as_503_without_details(
    database: Database, api_renderer: Renderer
) -> None:
    engine = engine_for(database)
    with served(settings_for(database), engine, api_renderer) as running:
        person = running.person("viewer", running.customer())
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE api_tokens RENAME TO hidden")
        with running.client(person) as client:
            answer = client.get("/events/")
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE hidden RENAME TO api_tokens")
        assert running.anonymous.get("/readyz").status_code == 200
    engine.dispose()
    assert answer.status_code == 503
    assert answer.json() == {"detail": "the database cannot do this now; try again in a moment"}
    assert answer.headers["Retry-After"] == "5"


def test_a_request_is_one_line_of_the_log_without_token_or_unsubscribe_link(api: Api) -> None:
    person = api.person("viewer", customer := api.customer())
    mail = api.mail(customer)[1]
    with structlog.testing.capture_logs() as lines, api.client(person) as client:
        client.get(f"/events/{mail}/")
        api.anonymous.post("/u/secret-token")
        client.get("/events/")  # when it is answered, the lines before are written
    told = [line for line in lines if line["event"] == "api_request"]
    first = told[0]
    assert (first["status"], first["user_id"], first["path_id"]) == (200, person.id, str(mail))
    assert (first["method"], first["route"]) == ("GET", "/events/{id}/")
    assert "secret-token" not in str(lines)
    assert person.token not in str(lines)


def test_an_address_that_is_taken_is_a_fault_of_the_configuration(api: Api) -> None:
    port = urlsplit(api.base).port
    assert port is not None
    with pytest.raises(ConfigurationError, match=f"api.port: cannot listen on 127.0.0.1, port {port}"):
        listen("127.0.0.1", port)


def test_a_client_that_hangs_up_in_the_middle_of_its_body_harms_nobody(api: Api) -> None:
    address = urlsplit(api.base)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=10) as line:
        line.sendall(b"POST /docs HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    assert api.anonymous.get("/livez").status_code == httpx.codes.OK
