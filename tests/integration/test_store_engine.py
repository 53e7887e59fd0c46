"""What leaves the store when a statement is interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from notifier.domain.errors import DatabaseUnavailable, SchemaDamaged
from notifier.store import inbox, migrations
from tests.store_rows import add_customer

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_is_not_taken_for_a_fault_of_the_database(
    engine: Engine, kind: type[BaseException]
) -> None:
    """Ctrl-C in the middle of a query ended the demo with "notifier: database: " and exit code 1."""

    def interrupted(*_: object) -> None:
        raise kind

    with engine.connect() as connection:
        sa.event.listen(engine, "do_execute", interrupted)
        with pytest.raises(kind):
            connection.exec_driver_sql("SELECT 1")
        sa.event.remove(engine, "do_execute", interrupted)


def test_a_fault_of_the_database_is_one(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(DatabaseUnavailable, match="42P01"):
        connection.exec_driver_sql("SELECT * FROM nowhere")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT * FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELECT nothing FROM customers", 'column "nothing" does not exist'),
        ("SELECT take_nothing()", r"function take_nothing\(\) does not exist"),
    ],
)
def test_what_the_schema_lacks_is_told_with_its_own_cure(engine: Engine, statement: str, told: str) -> None:
    with engine.connect() as connection, pytest.raises(SchemaDamaged, match=told) as caught:
        connection.exec_driver_sql(statement)
    assert "restore the database from a backup" in str(caught.value)
    assert "notifier init-db" in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "lacking"),
    [
        ("ALTER TABLE smtp_configs RENAME TO x", "the table smtp_configs"),
        ("DROP TABLE api_tokens, rejected_events", "the table rejected_events, the table api_tokens"),
        ("ALTER FUNCTION take_in RENAME TO x", "the function take_in"),
    ],
)
def test_a_schema_that_lacks_a_part_is_of_no_use_and_no_batch_could_be_committed(
    connection: Connection, statement: str, lacking: str
) -> None:
    add_customer(connection)
    inbox.probe(connection)
    connection.exec_driver_sql(statement)
    (problem,) = migrations.schema_state(connection).problems
    assert f"it lacks {lacking};" in problem
    with pytest.raises(SchemaDamaged, match=lacking):
        inbox.probe(connection)
