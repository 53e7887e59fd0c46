"""What leaves the store when a statement is interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg2.extensions
import pytest
import sqlalchemy as sa

from notifier.domain.errors import DatabaseUnavailable, DataRejected, SchemaDamaged
from notifier.store import inbox, migrations
from notifier.store.engine import OwnConnection, plain_rows
from tests.store_rows import add_customer

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class Plain:
    """Statements of `plain_rows` on a thread's own connection, whose cursors can be made to fail."""

    def __init__(self, engine: Engine) -> None:
        self.database = OwnConnection(engine)

    def rows(self, statement: str = "SELECT 1, 'x'") -> list[tuple[object, ...]]:
        return self.database.run(plain_rows, statement, {})

    def fail(self, error: BaseException, *, at: str) -> None:
        """Have the next answer, or the next statement, of this connection fail."""

        class Failing(psycopg2.extensions.cursor):
            pass

        def failing(*_: object) -> None:
            raise error

        setattr(Failing, at, failing)
        self.database.run(lambda c: setattr(c.connection.dbapi_connection, "cursor_factory", Failing))


@pytest.fixture
def plain(engine: Engine) -> Iterator[Plain]:
    made = Plain(engine)
    yield made
    made.database.close()


def test_plain_rows_are_what_the_driver_gives(plain: Plain) -> None:
    assert plain.rows() == [(1, "x")]


@pytest.mark.parametrize("at", ["execute", "fetchall"])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (MemoryError(), DatabaseUnavailable),
        (psycopg2.OperationalError("gone"), DatabaseUnavailable),
        (TypeError("not a row"), DatabaseUnavailable),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_whatever_breaks_plain_rows_is_a_fault_of_the_database_but_for_what_ends_the_process(
    plain: Plain, error: BaseException, raised: type[BaseException], at: str
) -> None:
    """A result that cannot be written now is written later: whoever gave up would send the mail again (F42)."""
    plain.fail(error, at=at)
    with pytest.raises(raised):
        plain.rows()


def test_a_closed_connection_is_replaced_by_a_new_one(plain: Plain) -> None:
    plain.database.run(lambda connection: connection.connection.dbapi_connection.close())  # type: ignore[union-attr]
    with pytest.raises(DatabaseUnavailable, match="closed"):
        plain.rows()
    assert plain.rows() == [(1, "x")]


def test_data_that_the_schema_refuses_are_told_apart_in_plain_rows_too(plain: Plain) -> None:
    with pytest.raises(DataRejected, match="22012"):
        plain.rows("SELECT 1 / 0")
    with pytest.raises(SchemaDamaged):
        plain.rows("SELECT take_nothing()")
    assert plain.rows() == [(1, "x")]


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_a_text_that_the_driver_cannot_write_is_refused_data_and_no_outage(plain: Plain, text: str) -> None:
    """It would be tried for ever: as an outage is."""
    parameters = {"text": text}
    with pytest.raises(DataRejected, match=r"NUL|surrogates"):
        plain.database.run(plain_rows, "SELECT %(text)s", parameters)
    with pytest.raises(DataRejected, match=r"NUL|surrogates"):
        plain.database.run(lambda c: c.exec_driver_sql("SELECT %(text)s", parameters).all())
    assert plain.rows() == [(1, "x")]


def test_an_answer_that_cannot_be_read_says_nothing_about_the_data_of_its_statement(plain: Plain) -> None:
    """The statement was carried out: whoever took its data for refused would write of events that they are lost."""
    plain.fail(ValueError("year 0 is out of range"), at="fetchall")
    with pytest.raises(DatabaseUnavailable, match="year 0"):
        plain.rows()
    plain.fail(ValueError("year 0 is out of range"), at="fetchall")
    with pytest.raises(DatabaseUnavailable, match="year 0"):
        plain.database.run(lambda c: c.exec_driver_sql("SELECT 1").all())


def test_one_lost_connection_costs_one_statement_however_many_lay_idle(
    engine: Engine, connection: Connection
) -> None:
    """A restart of the database ends all of them."""
    idle = [Plain(engine) for _ in range(4)]
    pids = [one.rows("SELECT pg_backend_pid()")[0][0] for one in idle]
    for one in idle:
        one.database.rest()
    connection.exec_driver_sql("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", (pids,))
    with pytest.raises(DatabaseUnavailable):
        idle[0].rows()
    for one in idle:
        assert one.rows() == [(1, "x")]
        one.database.close()
