"""`notifier tokens` and `notifier api` on the command line, and what the database keeps of a token."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import cli, connection, engine
from tests.store_rows import add_user, one

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from tests.support.command_line import CommandLine

__all__ = ["cli", "connection", "engine"]  # fixtures


@pytest.fixture
def username(connection: Connection) -> str:
    user = add_user(connection, role="operator")
    return str(one(connection, "SELECT username FROM users WHERE id = %(u)s", u=user))


def test_a_token_is_printed_once_on_the_last_line_and_only_its_hash_is_kept(
    cli: CommandLine, connection: Connection, username: str
) -> None:
    made = cli("tokens", "create", "--user", username, "--name", "import script")
    token = made.out.splitlines()[-1]
    assert (made.code, token.startswith("ntf_"), len(token)) == (0, True, 47)
    stored = one(connection, "SELECT token_hash FROM api_tokens")
    assert bytes(stored) == hashlib.sha256(token.encode()).digest()  # type: ignore[call-overload]
    assert one(connection, "SELECT expires_at::date - created_at::date FROM api_tokens") == 365
    row = str(one(connection, "SELECT to_jsonb(t)::text FROM api_tokens t"))
    assert token not in row
    listed = cli("tokens", "list")
    assert "import script" in listed.out
    assert token not in listed.out + listed.err


def test_tokens_are_listed_by_user_and_revoked_for_good(
    cli: CommandLine, connection: Connection, username: str
) -> None:
    made = cli("tokens", "create", "--user", username, "--never-expires", "--json").json
    assert (made["username"], made["expires_at"]) == (username, None)
    assert [row["id"] for row in cli("tokens", "list", "--user", username, "--json").json] == [made["id"]]
    assert cli("tokens", "revoke", made["id"]).out == f"token {made['id']} of {username} is revoked\n"
    when = one(connection, "SELECT revoked_at FROM api_tokens")
    assert when is not None
    again = cli("tokens", "revoke", made["id"], "--json")
    assert (again.code, json.loads(again.out)[0]["id"]) == (0, made["id"])
    assert one(connection, "SELECT revoked_at FROM api_tokens") == when


def test_who_asks_for_the_impossible_is_told(cli: CommandLine, connection: Connection, username: str) -> None:
    assert cli("tokens", "create", "--user", "nobody").err.startswith("notifier: there is no user 'nobody'")
    assert cli("tokens", "revoke", 99).code == 1
    assert cli("tokens", "create", "--user", username, "--name", "").code == 2
    connection.exec_driver_sql("UPDATE users SET is_active = false")
    assert "is not active" in cli("tokens", "create", "--user", username).err


def test_the_api_without_its_extra_says_how_to_install_it(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    result = cli("api")
    assert result.code == 1
    assert "pip install '.[api]' in notifier's folder" in result.err
