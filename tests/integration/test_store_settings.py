"""Preferences and mail servers as people set them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from notifier.domain.errors import ConfigurationError, InvalidInput, NotFound
from notifier.domain.preferences import PreferenceRequest
from notifier.domain.recipients import Rules
from notifier.domain.smtp_settings import MASK, SmtpChange
from notifier.encryption import SecretBox, generate_key
from notifier.store import breakers, preferences, smtp_configs
from tests.store_rows import add_customer, add_user, one

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

RULES = Rules(
    role_defaults={},
    role_event_types={
        "admin": frozenset({"job_failed", "job_success"}),
        "viewer": frozenset({"job_success"}),
    },
)
SERVER = SmtpChange(
    host="smtp.example.org", username="acme", password="correct horse", from_email="alerts@example.org"
)


def _wish(customer: int, user: int, event_type: str = "job_failed", **values: object) -> PreferenceRequest:
    plain = PreferenceRequest(customer_id=customer, user_id=user, event_type=event_type)
    return replace(plain, **values)  # type: ignore[arg-type]


@pytest.fixture
def customer(connection: Connection) -> int:
    return add_customer(connection, "Acme")


@pytest.fixture
def admin(connection: Connection, customer: int) -> int:
    return add_user(connection, role="admin", access_to=customer)


@pytest.fixture
def box() -> SecretBox:
    return SecretBox([generate_key()])


def test_a_preference_is_written_once_and_then_replaced(
    connection: Connection, customer: int, admin: int
) -> None:
    wish = _wish(customer, admin, email_address="Anna@BÜCHER.example", job_types=("b", "a", "b"))
    first = preferences.save(connection, wish, rules=RULES)
    assert (first.email_address, first.job_types) == ("Anna@xn--bcher-kva.example", ("b", "a"))
    second = preferences.save(connection, _wish(customer, admin, enabled=False), rules=RULES)
    assert second.id == first.id
    assert (second.enabled, second.email_address, second.job_types) == (False, None, ())
    assert second.updated_at > first.updated_at == first.created_at == second.created_at


@pytest.mark.parametrize("write", [preferences.save, preferences.add])
def test_a_preference_that_the_role_may_not_have_is_refused(
    connection: Connection, customer: int, write: object
) -> None:
    viewer = add_user(connection, role="viewer", access_to=customer)
    with pytest.raises(InvalidInput, match=r"role viewer .* may not receive job_failed, only job_success"):
        write(connection, _wish(customer, viewer), rules=RULES)  # type: ignore[operator]
    assert one(connection, "SELECT count(*) FROM notification_preferences") == 0


def test_a_preference_without_access_or_user_is_refused(connection: Connection, customer: int) -> None:
    stranger = add_user(connection, role="admin")
    with pytest.raises(InvalidInput, match="has no access to customer"):
        preferences.save(connection, _wish(customer, stranger), rules=RULES)
    with pytest.raises(InvalidInput, match="there is no user 99"):
        preferences.save(connection, _wish(customer, 99), rules=RULES)


def test_adding_and_moving_a_preference_never_overwrites_another(
    connection: Connection, customer: int, admin: int
) -> None:
    failed = preferences.add(connection, _wish(customer, admin), rules=RULES)
    success = preferences.add(connection, _wish(customer, admin, "job_success"), rules=RULES)
    with pytest.raises(InvalidInput, match=f"preference {failed.id} is for the same user"):
        preferences.add(connection, _wish(customer, admin), rules=RULES)
    with pytest.raises(InvalidInput, match=f"preference {failed.id} is for the same user"):
        preferences.replace(connection, success.id, _wish(customer, admin), rules=RULES)
    moved = preferences.replace(
        connection, success.id, _wish(customer, admin, "job_success", job_types=("x",)), rules=RULES
    )
    assert (moved.id, moved.job_types) == (success.id, ("x",))
    other = add_user(connection, role="admin", access_to=customer)
    with pytest.raises(NotFound):
        preferences.replace(connection, 999, _wish(customer, other), rules=RULES)


def test_preferences_are_listed_by_filter_and_deleted(
    connection: Connection, customer: int, admin: int
) -> None:
    failed = preferences.save(connection, _wish(customer, admin), rules=RULES)
    success = preferences.save(connection, _wish(customer, admin, "job_success", enabled=False), rules=RULES)

    def found(wanted: preferences.PreferenceFilter) -> list[int]:
        listed = [p.id for p in preferences.find(connection, wanted).items]
        assert [p.id for p in preferences.every(connection, wanted)] == listed
        return listed

    assert found(preferences.PreferenceFilter()) == [failed.id, success.id]
    assert found(preferences.PreferenceFilter(customer_ids=(customer + 1,))) == []
    assert found(preferences.PreferenceFilter(user_id=admin, event_type="job_success")) == [success.id]
    assert found(preferences.PreferenceFilter(enabled=True)) == [failed.id]
    assert found(preferences.PreferenceFilter(ids=(success.id,))) == [success.id]
    preferences.delete(connection, failed.id)
    assert preferences.id_of(connection, customer_id=customer, user_id=admin, event_type="job_failed") is None
    with pytest.raises(NotFound):
        preferences.get(connection, success.id, customer_ids=(customer + 1,))
    with pytest.raises(NotFound):
        preferences.delete(connection, failed.id)


def test_an_import_with_one_fault_writes_nothing_and_names_every_line(
    engine: Engine, connection: Connection, customer: int, admin: int
) -> None:
    lines = {
        2: _wish(customer, admin),
        3: _wish(customer, admin, email_address="nonsense"),
        4: _wish(customer, 99, "job_success"),
        5: _wish(customer, admin, "job_success", job_types=("",)),
    }
    with pytest.raises(InvalidInput) as caught, engine.begin() as transaction:
        preferences.save_many(transaction, lines, rules=RULES)
    assert set(caught.value.problems) == {"line 3", "line 4", "line 5"}
    assert "same user, customer and event type as line 2" in caught.value.problems["line 3"][0]
    assert one(connection, "SELECT count(*) FROM notification_preferences") == 0


def test_an_import_of_many_lines_tells_its_progress(
    engine: Engine, connection: Connection, customer: int
) -> None:
    users = [add_user(connection, role="admin", access_to=customer) for _ in range(30)]
    lines = {n: _wish(customer, user) for n, user in enumerate(users)}
    lines |= {n + 100: _wish(customer, user, "job_success") for n, user in enumerate(users)}
    told: list[int] = []
    with engine.begin() as transaction:
        assert preferences.save_many(transaction, lines, rules=RULES, progress=told.append) == 60
    assert told[-1] == 60
    assert one(connection, "SELECT count(*) FROM notification_preferences") == 60


def test_a_password_is_stored_encrypted_and_bound_to_its_customer(
    connection: Connection, customer: int, box: SecretBox
) -> None:
    stored = smtp_configs.save(connection, customer, SERVER, box=box)
    assert stored.password is not None
    assert "correct horse" not in stored.password
    assert "correct horse" not in repr(SERVER) + repr(stored)
    assert stored.password not in repr(stored)
    assert box.decrypt(customer_id=customer, host=stored.host, token=stored.password) == "correct horse"
    assert (stored.port, stored.use_tls, stored.use_ssl, stored.enabled) == (587, True, False, True)


@pytest.mark.parametrize("password", [MASK, ""])
def test_an_empty_or_masked_password_keeps_the_stored_one_and_null_removes_it(
    connection: Connection, customer: int, box: SecretBox, password: str
) -> None:
    first = smtp_configs.save(connection, customer, SERVER, box=box)
    kept = smtp_configs.save(connection, customer, SmtpChange(password=password, enabled=False), box=box)
    assert (kept.password, kept.enabled) == (first.password, False)
    assert smtp_configs.save(connection, customer, SmtpChange(password=None), box=box).password is None


def test_a_stored_password_is_not_led_to_another_server(
    connection: Connection, customer: int, box: SecretBox
) -> None:
    smtp_configs.save(connection, customer, SERVER, box=box)
    with pytest.raises(InvalidInput, match="host changed: give the password again"):
        smtp_configs.save(connection, customer, SmtpChange(host="evil.example.org"), box=box)
    assert smtp_configs.get(connection, customer).host == "smtp.example.org"
    moved = smtp_configs.save(
        connection, customer, SmtpChange(host="new.example.org", password="again"), box=box
    )
    assert moved.password is not None
    assert box.decrypt(customer_id=customer, host="new.example.org", token=moved.password) == "again"


def test_every_change_of_a_server_changes_its_version(
    connection: Connection, customer: int, box: SecretBox
) -> None:
    first = smtp_configs.save(connection, customer, SERVER, box=box)
    second = smtp_configs.save(connection, customer, SmtpChange(enabled=False), box=box)
    assert (second.server_id, second.version != first.version) == (first.server_id, True)
    assert smtp_configs.read(connection, first.server_id) == second
    assert one(connection, "SELECT updated_at::text FROM smtp_configs") == second.version


def test_a_server_of_nobody_and_a_password_without_key_are_refused(
    connection: Connection, customer: int
) -> None:
    with pytest.raises(NotFound, match="there is no customer 99"):
        smtp_configs.save(connection, 99, SERVER, box=SecretBox([generate_key()]))
    with pytest.raises(ConfigurationError, match="generate-key"):
        smtp_configs.save(connection, customer, SERVER, box=SecretBox([]))
    for function in (smtp_configs.get, smtp_configs.delete):
        with pytest.raises(NotFound, match="has no SMTP configuration"):
            function(connection, customer)
    assert smtp_configs.read(connection, 5) is None


def test_servers_are_listed_by_customer(connection: Connection, customer: int, box: SecretBox) -> None:
    smtp_configs.save(connection, customer, SERVER, box=box)
    assert [s.customer_name for s in smtp_configs.find(connection).items] == ["Acme"]
    assert smtp_configs.find(connection, customer_ids=(customer + 1,)).total == 0
    smtp_configs.delete(connection, customer)
    assert smtp_configs.find(connection).total == 0


def test_rotating_encrypts_with_the_newest_key_and_reports_what_no_key_reads(connection: Connection) -> None:
    old, new = generate_key(), generate_key()
    ours, lost = add_customer(connection), add_customer(connection)
    smtp_configs.save(connection, ours, SERVER, box=SecretBox([old]))
    smtp_configs.save(connection, lost, SERVER, box=SecretBox([generate_key()]))
    told: list[tuple[int, int]] = []
    done = smtp_configs.rotate(
        connection, SecretBox([new, old]), progress=lambda n, total: told.append((n, total))
    )
    assert (done.rotated, set(done.unreadable), told) == (1, {lost}, [(1, 2), (2, 2)])
    server = smtp_configs.get(connection, ours)
    assert server.password is not None
    assert (
        SecretBox([new]).decrypt(customer_id=ours, host=server.host, token=server.password) == "correct horse"
    )
    assert smtp_configs.rotate(connection, SecretBox([new, old])).rotated == 0


def test_a_default_server_has_changed_only_where_another_was_known(connection: Connection) -> None:
    connection.exec_driver_sql("UPDATE smtp_breakers SET open_until = 'infinity' WHERE server_id = 0")
    closed = "SELECT open_until = '-infinity' FROM smtp_breakers WHERE server_id = 0"
    assert breakers.adopt_default(connection, b"first") is False
    assert one(connection, closed) is True
    connection.exec_driver_sql("UPDATE smtp_breakers SET open_until = 'infinity' WHERE server_id = 0")
    assert breakers.adopt_default(connection, b"first") is False
    assert one(connection, closed) is False
    assert breakers.adopt_default(connection, b"second") is True
    assert one(connection, closed) is True
