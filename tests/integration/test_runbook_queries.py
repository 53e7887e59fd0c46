"""Every query of the runbook runs, with the rights that the runbook names."""

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
