"""A mutation whose place in the program has changed would break nothing and prove nothing."""

from __future__ import annotations

import pytest

from tests.mutations import MUTATIONS, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_what_a_mutation_changes_is_there_once(mutation: Mutation) -> None:
    for name, old, _ in mutation.edits:
        assert (ROOT / name).read_text(encoding="utf-8").count(old) == 1, old
