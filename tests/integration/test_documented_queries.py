"""The answers printed in docs/sql.md and the README are what the queries give, to the reader role, on known rows."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest

from notifier.domain.vocabulary import RULES
from notifier.store.dictionary import HIDDEN, dictionary, main, written_into
from tests.support.psql import printed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import cursor as PgCursor  # noqa: N812 - a class in lower case
    from sqlalchemy.engine import Engine

# As in test_schema_roles: roles belong to the whole cluster.
pytestmark = pytest.mark.xdist_group("database_roles")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "sql.md"
README = ROOT / "README.md"
ROWS = Path(__file__).with_name("documented_rows.sql")
README_ROWS = Path(__file__).with_name("readme_rows.sql")
ANSWERED = re.compile(r"```sql\n((?:(?!```).)*)```\n```\n(.*?)```", re.DOTALL)
RENEW = "NOTIFIER_RENEW_ANSWERS"  # set: write the answers into the page instead of comparing them


@contextlib.contextmanager
def reader(owned: Engine, rows: Path) -> Iterator[PgCursor]:
    """A transaction that sees `rows` with the rights of the reader. In one transaction time stands still."""
    with (
        contextlib.closing(
            psycopg2.connect(owned.url.render_as_string(hide_password=False).replace("+psycopg2", ""))
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute(rows.read_text("utf-8"))
        cursor.execute("SET LOCAL ROLE notifier_reader")
        yield cursor


def answers(page: Path, cursor: PgCursor) -> list[tuple[str, str, str]]:
    """Each answered query of a page, the answer printed there, and the one of today."""
    found = []
    for query, answer in ANSWERED.findall(page.read_text("utf-8")):
        cursor.execute(query)
        found.append((query, answer, printed(cursor)))
    return found


def test_every_question_of_the_page_has_the_answer_that_is_printed(owned: Engine) -> None:
    with reader(owned, ROWS) as cursor:
        found = answers(PAGE, cursor)
    if RENEW in os.environ:
        page = PAGE.read_text("utf-8")
        for query, old, new in found:
            page = page.replace(f"```sql\n{query}```\n```\n{old}```", f"```sql\n{query}```\n```\n{new}```")
        PAGE.write_text(page, "utf-8")
        return
    assert len(found) >= 10
    for query, told, true in found:
        assert told == true, query
        assert told.count("\n") > 2, f"no row answers this, so nothing is proved: {query}"


def test_every_query_of_the_page_is_answered_but_the_set_up() -> None:
    queries = re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    unanswered = [query for query in queries if query not in dict(ANSWERED.findall(PAGE.read_text("utf-8")))]
    assert [query.split()[:2] for query in unanswered] == [["CREATE", "ROLE"]]


def test_the_queries_of_the_readme_have_the_answers_that_are_printed(owned: Engine) -> None:
    """On rows such as the demo makes, which the README shows."""
    with reader(owned, README_ROWS) as cursor:
        found = answers(README, cursor)
    assert len(found) == 2
    for query, told, true in found:
        assert told == true, query


def test_a_login_made_as_the_page_says_reads_and_is_limited(owned: Engine) -> None:
    (script,) = re.findall(r"```sql\n(CREATE ROLE .*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    with (
        contextlib.closing(owned.raw_connection()) as connection,
        contextlib.closing(connection.cursor()) as cursor,
    ):
        cursor.execute(script)
        cursor.execute("SELECT unnest(rolconfig) FROM pg_roles WHERE rolname = 'anna_reports'")
        assert {row[0] for row in cursor.fetchall()} == {
            "statement_timeout=60s",
            "idle_in_transaction_session_timeout=15s",
            "default_transaction_read_only=on",
        }
        cursor.execute("SET LOCAL ROLE anna_reports")
        cursor.execute("SELECT count(*) FROM notification_events")
        connection.rollback()


def test_every_rule_is_explained() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|", PAGE.read_text("utf-8").partition("## Data dictionary")[0], re.MULTILINE
    )
    assert sorted(rows) == sorted(RULES)


def test_the_committed_dictionary_is_current_renew_it_with_make_docs(tmp_path: Path) -> None:
    page = PAGE.read_text("utf-8")
    assert page == written_into(page)
    (tmp_path / "page.md").write_text("kept\n", "utf-8")
    assert main([str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text("utf-8") == "kept\n" + dictionary()
    assert main([]) == 2


_TRUTH = """
SELECT c.relname, a.attname, has_column_privilege('notifier_reader', c.oid, a.attnum, 'SELECT')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
"""


def test_the_dictionary_has_every_column_of_a_real_database_and_says_what_readers_see(owned: Engine) -> None:
    told: dict[tuple[str, str], bool] = {}
    relation = ""
    for line in dictionary().splitlines():
        if line.startswith("### "):
            relation = line.removeprefix("### ")
        elif column := re.match(r"\| `(\w+)` \|", line):
            told[relation, column[1]] = HIDDEN not in line
    with owned.connect() as connection:
        true = {(row[0], row[1]): row[2] for row in connection.exec_driver_sql(_TRUTH)}
    assert told == true
