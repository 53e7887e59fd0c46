"""What each role of roles.sql may do on the real schema, and that everything each needs works under it."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from notifier import resources
from notifier.domain.errors import DatabaseUnavailable
from notifier.domain.preferences import PreferenceRequest
from notifier.domain.recipients import Rules
from notifier.domain.smtp_settings import SmtpChange
from notifier.encryption import SecretBox
from notifier.store import (
    audience,
    breakers,
    claims,
    event_log,
    inbox,
    log_changes,
    migrations,
    preferences,
    retention,
    smtp_configs,
    sweep,
)
from notifier.store.tables import metadata
from tests.store_rows import add_customer, add_event, add_mail, add_user, number
from tests.store_work import SENT, claim, stuck_rows, take_back

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection, Engine

    from tests.support.command_line import CommandLine


# Roles belong to the whole cluster: two processes that make them at once would be in each other's way.
pytestmark = pytest.mark.xdist_group("database_roles")


@contextlib.contextmanager
def acting_as(engine: Engine, role: str) -> Iterator[Connection]:
    """A connection in autocommit with the rights of this role."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"SET ROLE {role}")
        try:
            yield connection
        finally:
            connection.exec_driver_sql("RESET ROLE")


def _refused(connection: Connection, statement: str) -> bool:
    try:
        connection.exec_driver_sql(statement)
    except DatabaseUnavailable as error:
        return "42501" in str(error)  # insufficient_privilege
    return False


@pytest.fixture
def customer(owned: Engine) -> int:
    with owned.begin() as connection:
        customer = add_customer(connection)
        add_user(connection, role="admin", access_to=customer)
        mail = add_mail(connection, customer, add_event(connection, customer))
        assert mail
        connection.exec_driver_sql("UPDATE delivery_lanes SET next_due_at = now()")
        return customer


TABLES = tuple(table.name for table in metadata.sorted_tables)
REMOVALS = ("DELETE FROM {}", "TRUNCATE {} CASCADE", "ALTER TABLE {} ADD COLUMN x int", "DROP TABLE {}")


def test_the_worker_deletes_truncates_and_redefines_nothing(owned: Engine) -> None:
    with acting_as(owned, "notifier_worker") as connection:
        statements = [removal.format(table) for table in TABLES for removal in REMOVALS]
        allowed = [statement for statement in statements if not _refused(connection, statement)]
        assert allowed == []
        assert _refused(connection, "CREATE TABLE mine (id int)")


def test_the_worker_changes_nothing_that_people_decide(owned: Engine) -> None:
    with acting_as(owned, "notifier_worker") as connection:
        for statement in (
            "UPDATE smtp_configs SET host = 'evil.example'",
            "UPDATE notification_preferences SET enabled = false",
            "INSERT INTO customer_users (customer_id, user_id) VALUES (1, 1)",
            "UPDATE users SET role = 'admin'",
            "SELECT * FROM api_tokens",
        ):
            assert _refused(connection, statement), statement


def test_a_command_whose_login_may_not_says_which_login_may(
    owned: Engine, customer: int, cli: CommandLine
) -> None:
    url = owned.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def refused(role: str, *command: object) -> str:
        cli.configure({"DATABASE__URL": f"{url}?options=-c%20role%3D{role}"})
        result = cli(*command)
        assert result.code == 1, result
        assert "permission denied" in result.err
        return result.err.partition("(42501); ")[2].strip()

    settings: tuple[tuple[object, ...], ...] = (
        ("smtp", "set", customer, "--host", "smtp.acme.example", "--from-email", "a@acme.example"),
        ("tokens", "list"),
        ("preferences", "delete", 1),
    )
    for command in settings:
        cure = "this login may not; use one that is a member of notifier_admin (roles.sql)"
        assert refused("notifier_worker", *command) == cure
    for command in (("maintain",), ("init-db", "--roles")):
        assert refused("notifier_admin", *command).startswith(
            "this login may not; use one that owns the tables"
        )
    assert refused("notifier_admin", "init-db", "--roles").endswith("CREATEROLE (roles.sql)")
    with owned.begin() as connection:
        connection.exec_driver_sql("REVOKE SELECT ON schema_migrations FROM notifier_worker")
    cli.configure({"DATABASE__URL": f"{url}?options=-c%20role%3Dnotifier_worker"})
    told = cli("check").out
    assert "(42501); this login may not; use one that is a member of notifier_worker (roles.sql)" in told
    assert "check database.url" not in told


def test_a_workers_login_is_enough_for_the_commands_that_change_no_settings(
    owned: Engine, customer: int, cli: CommandLine
) -> None:
    url = owned.url.set(drivername="postgresql").render_as_string(hide_password=False)
    cli.configure({"DATABASE__URL": url})
    cli("smtp", "set", customer, "--host", "smtp.acme.example", "--from-email", "a@acme.example")
    cli.configure({"DATABASE__URL": f"{url}?options=-c%20role%3Dnotifier_worker"})
    for command in (
        ("events", "list"),
        ("events", "show", 1),
        ("events", "cancel", 1),
        ("events", "resend", 1),
        ("smtp", "list"),
        ("smtp", "show", customer),
        ("preferences", "list"),
    ):
        result = cli(*command)
        assert result.code == 0, (command, result)
    trial = cli("smtp", "test", customer, "--to", "you@example.com")
    assert (trial.code, "FAIL  dns" in trial.out.replace("DNS", "dns")) == (1, True), trial


def test_the_worker_can_do_its_whole_work(owned: Engine, customer: int) -> None:
    with acting_as(owned, "notifier_worker") as connection:
        assert migrations.schema_state(connection).problems == ()
        inbox.probe(connection)
        assert set(audience.accounts(connection, [customer])) == {customer}
        inbox.reject(
            connection,
            [
                inbox.Rejection(
                    reason="bad_json", detail="x", event_id=None, body_sha256=b"x" * 32, body_head=b""
                )
            ],
        )
        token = uuid.uuid4()
        batch = claim(connection, token)
        assert batch is not None
        ids = [mail.id for mail in batch.mails]
        assert claims.stamp(connection, token=token, ids=ids, lease=60) == frozenset(ids)
        assert claims.record(
            connection, token=token, settlements=dict.fromkeys(ids, SENT), notes={}
        ) == frozenset(ids)
        claims.release(connection, token=token)
        breakers.success(connection, batch.server_id)
        take_back(connection)
        sweep.expire(connection, stuck=stuck_rows())
        assert sweep.repair_lanes(connection) == 0
        assert sweep.tell_held(connection, stuck=stuck_rows()) == 0
        assert event_log.find(connection, event_log.LogFilter(status="sent")).total == 1


def test_the_admin_can_do_everything_the_commands_do(owned: Engine, customer: int) -> None:
    with acting_as(owned, "notifier_admin") as connection:
        (row,) = event_log.find(connection, event_log.LogFilter(customer_ids=(customer,))).items
        assert log_changes.cancel(connection, [row.id], cancelled_by="anna").cancelled == (row.id,)
        done = log_changes.resend(
            connection,
            [row.id],
            resent_by="anna",
            expire_after=60,
            message_id_for=lambda _: "<new@example.org>",
        )
        assert len(done.created) == 1
        assert event_log.show(connection, row.id).job_event is not None
        change = SmtpChange(
            host="smtp.example.org", from_email="a@example.org", username="u", password="secret"
        )
        box = SecretBox([Fernet.generate_key().decode()])
        assert smtp_configs.save(connection, customer, change, box=box).password is not None
        smtp_configs.delete(connection, customer)
        user = number(connection, "SELECT id FROM users")
        rules = Rules(role_defaults={}, role_event_types={"admin": frozenset({"job_failed"})})
        wanted = PreferenceRequest(customer_id=customer, user_id=user, event_type="job_failed")
        preferences.delete(connection, preferences.save(connection, wanted, rules=rules).id)


def test_the_admin_cannot_remove_or_forge_what_happened(owned: Engine) -> None:
    with acting_as(owned, "notifier_admin") as connection:
        for statement in (
            "DELETE FROM notification_events",
            "DELETE FROM job_events",
            "UPDATE job_events SET payload = '{}'",
            "TRUNCATE notification_events",
            "UPDATE users SET role = 'admin'",
            "DROP TABLE rejected_events",
        ):
            assert _refused(connection, statement), statement


def test_the_platform_writes_its_own_tables_and_the_triggers_follow(owned: Engine) -> None:
    with acting_as(owned, "notifier_sync") as connection:
        customer = add_customer(connection)
        user = add_user(connection, role="operator", access_to=customer)
        connection.exec_driver_sql("UPDATE users SET role = 'admin' WHERE id = %(u)s", {"u": user})
        for table in set(TABLES) - {"customers", "users", "customer_users"}:
            assert _refused(connection, f"SELECT * FROM {table}"), table  # noqa: S608 - our own names
        assert _refused(connection, "UPDATE customer_users SET role = 'admin'")
    with owned.connect() as connection:
        counts = connection.exec_driver_sql(
            "SELECT role, users FROM customer_role_counts WHERE users > 0"
        ).all()
        assert [tuple(row) for row in counts] == [("admin", 1)]
        assert number(connection, "SELECT count(*) FROM delivery_lanes") == 1
    with acting_as(owned, "notifier_sync") as connection:
        connection.exec_driver_sql("INSERT INTO customers (id, name) VALUES (%s, 'given')", (customer + 1,))
        assert add_customer(connection) == customer + 2
        connection.exec_driver_sql("DELETE FROM users")
        connection.exec_driver_sql("DELETE FROM customers")


@pytest.mark.usefixtures("customer")
def test_the_reader_sees_everything_but_secrets_and_what_jobs_printed(owned: Engine) -> None:
    with acting_as(owned, "notifier_reader") as connection:
        for readable in (
            "SELECT * FROM notification_events",
            "SELECT * FROM v_notification_daily",
            "SELECT * FROM v_notification_failures",
            "SELECT * FROM v_customer_delivery_health",
            "SELECT id, decisions FROM job_events",
            "SELECT id, host, username FROM smtp_configs",
            "SELECT id, reason, detail FROM rejected_events",
        ):
            connection.exec_driver_sql(readable)
        for secret in (
            "SELECT password FROM smtp_configs",
            "SELECT * FROM smtp_configs",
            "SELECT payload FROM job_events",
            "SELECT body_head FROM rejected_events",
            "SELECT * FROM api_tokens",
            "UPDATE customers SET name = 'x'",
            "DELETE FROM notification_events",
            "SELECT * FROM claim_batch(gen_random_uuid(), 'x', '1 min', 1, 1, true, true, '{}')",
            "SELECT end_batches('{}')",
        ):
            assert _refused(connection, secret), secret


def test_the_reader_cannot_hold_the_database_up(owned: Engine) -> None:
    query = "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = 'notifier_reader'::regrole"
    with owned.connect() as connection:
        settings = set(connection.exec_driver_sql(query).scalars())
    assert {
        "statement_timeout=60s",
        "idle_in_transaction_session_timeout=15s",
        "default_transaction_read_only=on",
    } <= settings


def test_who_ran_init_db_deletes_what_is_old(owned: Engine, customer: int) -> None:
    with owned.begin() as connection:
        event = add_event(connection, customer, age_days=100)
        add_mail(connection, customer, event, status="sent", age_days=100)
    assert retention.purge(owned, days=90).job_events == 1


def test_applying_the_roles_twice_changes_nothing(owned: Engine) -> None:
    report = migrations.init_db(owned, resources.path("schema.sql").parent, roles=True)
    assert (report.result, report.roles) == ("current", True)
