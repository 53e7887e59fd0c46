"""Every query of the runbook, and of the page on many workers, runs with the rights that the pages name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.test_schema_roles import acting_as
from tests.store_rows import add_customer, add_event, add_mail
from tests.watch import files

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

pytestmark = pytest.mark.xdist_group("database_roles")


def test_every_query_of_the_runbook_runs_as_a_reader(owned: Engine) -> None:
    with owned.begin() as connection:
        customer = add_customer(connection, "Acme")
        event = add_event(connection, customer)
        add_mail(connection, customer, event)
        add_mail(connection, customer, event, status="failed", failure_reason="auth")
    queries = files.blocks(files.RUNBOOK.read_text("utf-8"), "sql")
    assert len(queries) > 10
    with acting_as(owned, "notifier_reader") as connection:
        found = [connection.exec_driver_sql(query.replace("%", "%%")).all() for query in queries]
    seen = "\n".join(str(rows) for rows in found)
    for fact in ("Acme", "auth", "failed", "pending"):
        assert fact in seen


def test_the_query_that_says_when_to_add_a_worker_counts_customers_that_could_be_served(
    owned: Engine,
) -> None:
    """docs/scaling.md: what waits for a mail server that is down calls for no worker."""
    (query,) = files.blocks((files.RUNBOOK.parent / "scaling.md").read_text("utf-8"), "sql")
    with owned.begin() as connection:
        for name in ("served", "held"):
            customer = add_customer(connection, name)
            add_mail(connection, customer, add_event(connection, customer))
            connection.exec_driver_sql(
                "INSERT INTO smtp_configs (customer_id, host, from_email) VALUES (%s, 'smtp.example', 'a@b.example')",
                (customer,),
            )
        connection.exec_driver_sql("UPDATE delivery_lanes SET next_due_at = now() - interval '1 minute'")
        connection.exec_driver_sql(
            "UPDATE smtp_breakers b SET open_until = now() + interval '1 hour' FROM smtp_configs s"
            " JOIN customers c ON c.id = s.customer_id WHERE s.id = b.server_id AND c.name = 'held'"
        )
    with acting_as(owned, "notifier_reader") as connection:
        ((customers, waiting),) = connection.exec_driver_sql(query).all()
    assert customers == 1
    assert 60 <= waiting.total_seconds() < 120
