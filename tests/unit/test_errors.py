"""What errors say in words, and in the names that a command or the API has for fields."""

from __future__ import annotations

import pytest

from notifier.domain.errors import (
    DatabaseUnavailable,
    InvalidInput,
    InvalidLines,
    SchemaDamaged,
    told_together,
)

NAMES = {"customer_id": "customer"}


def refuse(field: str, *texts: str) -> None:
    raise InvalidInput({field: texts})


def test_faults_are_a_line_each_and_may_be_told_with_other_names() -> None:
    error = InvalidInput({"customer_id": ["is unknown"], "port": ["is 0", "is odd"]})
    assert str(error).split("\n") == ["customer_id: is unknown", "port: is 0", "port: is odd"]
    assert error.renamed(NAMES).problems == {"customer": ("is unknown",), "port": ("is 0", "is odd")}


def test_faults_of_lines_come_in_the_order_of_the_lines_and_may_be_told_with_other_names() -> None:
    error = InvalidLines({3: {"customer_id": ["is unknown"]}, 2: {"": ["is not JSON"]}})
    assert str(error).split("\n") == ["line 2: is not JSON", "line 3: customer_id: is unknown"]
    renamed = error.renamed(NAMES)
    assert renamed.problems == {"line 2": ("is not JSON",), "line 3": ("customer: is unknown",)}
    assert list(renamed.lines) == [2, 3]


def test_a_damaged_schema_says_what_is_missing_and_the_way_out() -> None:
    error = SchemaDamaged("it lacks the table users")
    assert isinstance(error, DatabaseUnavailable), "a worker that runs waits for it"
    assert "it lacks the table users; restore the database from a backup" in str(error)


def test_the_faults_of_several_checks_are_told_together() -> None:
    told_together(lambda: None)
    with pytest.raises(InvalidInput) as refused:
        told_together(
            lambda: refuse("host", "is missing"),
            lambda: None,
            lambda: refuse("port", "is 0"),
            lambda: refuse("host", "is odd"),
        )
    assert refused.value.problems == {"host": ("is missing", "is odd"), "port": ("is 0",)}
