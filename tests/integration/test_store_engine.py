"""What leaves the store when a statement is interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from notifier.domain.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


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
