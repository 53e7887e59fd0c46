"""The private PostgreSQL: durable through a crash, closed to strangers, gone without a trace."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg2
import pytest

from notifier.domain.errors import ConfigurationError
from notifier.sandbox import postgres, postgres_binaries, processes
from tests.orphans import family, launcher, living
from tests.services import Database, execute
from tests.waiting import wait_until

if TYPE_CHECKING:
    from notifier.sandbox.postgres import PostgresServer

pytestmark = [pytest.mark.services, pytest.mark.xdist_group("own_postgres")]


def count(url: str, table: str) -> object:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - a name of this module
        row = cursor.fetchone()
        assert row is not None
        return row[0]


def test_a_killed_server_comes_back_with_every_committed_row(own_postgres: PostgresServer) -> None:
    url = own_postgres.url
    execute(url, "CREATE TABLE kept AS SELECT generate_series(1, 100)")
    execute(url, "INSERT INTO kept SELECT 101")
    try:
        own_postgres.kill()
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(url)
        own_postgres.start()

        assert own_postgres.url == url
        assert count(url, "kept") == 101
    finally:
        own_postgres.start()
        execute(url, "DROP TABLE kept")


def test_a_stopped_server_is_down_and_starts_again(own_postgres: PostgresServer) -> None:
    own_postgres.stop()
    assert own_postgres.pid is None

    own_postgres.start()

    assert count(own_postgres.url, "pg_class") != 0


def test_a_stranger_without_the_password_is_refused(own_postgres: PostgresServer) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(
            host="127.0.0.1", port=own_postgres.port, user="postgres", dbname="postgres", password="x"
        )


def accounts() -> list[postgres_binaries.Account]:
    """Every way in which this user can run PostgreSQL."""
    if os.geteuid() != 0:
        return [postgres_binaries.usable_account()]
    return [way for way in (postgres_binaries.in_user_namespace(), postgres_binaries.as_nobody()) if way]


@pytest.mark.parametrize("account", accounts(), ids=lambda account: Path((*account.prefix, "own")[0]).name)
def test_every_account_can_run_the_server_and_leaves_nothing_behind(
    account: postgres_binaries.Account,
) -> None:
    binaries = postgres_binaries.from_wheel()
    with postgres.PostgresServer(binaries, durable=False, account=account) as server:
        assert server.pid is not None
        running = family(psutil.Process(server.pid))
        folder = server._root
        assert count(server.url, "pg_class") != 0

    assert living(running) == []
    assert not folder.exists()


def test_data_in_a_folder_of_ones_own_outlives_the_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cluster")
    for expected in (1, 2):
        with postgres.private(durable=True, directory=folder) as server:
            execute(server.url, "CREATE TABLE IF NOT EXISTS kept (id int)")
            execute(server.url, "INSERT INTO kept VALUES (1)")
            assert count(server.url, "kept") == expected

    assert (folder / "data" / "PG_VERSION").exists()


def test_a_launcher_killed_with_sigkill_leaves_no_process_and_no_folder() -> None:
    with launcher("postgres.private(durable=False)") as (process, server, folder):
        running = family(server)
        process.kill()

        wait_until(lambda: not living(running), 15, "the orphaned server to end")
        wait_until(lambda: not Path(folder).exists(), 5, f"{folder} to be removed")


def test_even_without_its_guardian_the_server_does_not_outlive_the_launcher() -> None:
    if processes.dying_with_parent(["x"], "INT") == ["x"]:
        return  # only Linux ends a process with its parent
    with launcher("postgres.private(durable=False)") as (process, server, folder):
        guardian, *others = family(server)
        guardian.kill()
        process.kill()

        wait_until(lambda: not living(others), 15, "the orphaned server to end")
        shutil.rmtree(folder)  # nobody is left to do it


def test_a_given_url_that_does_not_answer_is_an_error_and_nothing_is_started_instead() -> None:
    (port,) = processes.free_ports(1)

    with pytest.raises(ConfigurationError, match="given PostgreSQL does not answer"):
        postgres.obtain(url=f"postgresql://nobody@127.0.0.1:{port}/x", durable=False)


def test_a_server_that_cannot_start_shows_the_end_of_its_log() -> None:
    with postgres.private(durable=False) as first:
        data = first._data
        (data / "postgresql.conf").write_text("no_such_setting = 1\n", encoding="utf-8")
        first.stop()

        with pytest.raises(processes.SandboxError, match="no_such_setting"):
            first.start()


def test_each_test_has_the_whole_schema_to_itself(database: Database, empty_database: Database) -> None:
    database.execute("INSERT INTO customers (name) VALUES ('only here')")

    assert database.rows("SELECT name FROM customers") == [("only here",)]
    assert empty_database.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
