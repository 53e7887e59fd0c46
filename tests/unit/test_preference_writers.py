"""Who may write whose preferences: the operator all, others within their customers, some only their own."""

from __future__ import annotations

import pytest

from notifier.domain.errors import InvalidInput
from notifier.domain.preferences import Owner, PreferenceRequest, Writer, checked
from notifier.domain.recipients import Rules
from notifier.domain.vocabulary import EVENT_TYPES

RULES = Rules(role_defaults={}, role_event_types={"viewer": frozenset(EVENT_TYPES)})
OWNER = Owner(username="anna", role="viewer", has_access=True)
REQUEST = PreferenceRequest(customer_id=1, user_id=7, event_type="job_failed")


@pytest.mark.parametrize(
    "writer",
    [None, Writer(customer_ids=frozenset({1})), Writer(customer_ids=frozenset({1, 2}), only_user=7)],
    ids=["operator", "admin", "oneself"],
)
def test_a_preference_within_the_limits_is_written(writer: Writer | None) -> None:
    assert checked(REQUEST, owner=OWNER, rules=RULES, writer=writer) == REQUEST


@pytest.mark.parametrize(
    ("writer", "field"),
    [
        (Writer(customer_ids=frozenset()), "customer_id"),
        (Writer(customer_ids=frozenset({2}), only_user=7), "customer_id"),
        (Writer(customer_ids=frozenset({1}), only_user=8), "user_id"),
    ],
)
def test_who_may_not_write_it_learns_that_and_nothing_else(writer: Writer, field: str) -> None:
    secretive = Owner(username="anna", role="viewer", has_access=False)
    with pytest.raises(InvalidInput) as refused:
        checked(REQUEST, owner=secretive, rules=RULES, writer=writer)
    assert list(refused.value.problems) == [field]
    assert "anna" not in str(refused.value)
