"""Who gets a mail: docs/contract.md, every combination, and what must hold for any audience."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.errors import InvalidEvent
from notifier.domain.recipients import (
    Candidate,
    Preference,
    Rules,
    Selection,
    decide,
    default_roles,
    select,
)
from notifier.domain.vocabulary import EVENT_TYPES, ROLES, EventType, Role, Rule
from tests.properties import examples

VIEWER_TYPES: frozenset[EventType] = frozenset(
    {"job_success", "job_partial", "scheduled_backup_complete", "compliance_violation"}
)
ALL_TYPES: frozenset[EventType] = frozenset(EVENT_TYPES)
RULES = Rules(
    role_defaults={"admin": frozenset({"job_failed"})},
    role_event_types={"admin": ALL_TYPES, "operator": ALL_TYPES, "viewer": VIEWER_TYPES},
)
JOB_TYPE = "config_backup"


def user(user_id: int = 1, role: Role = "operator", **facts: Any) -> Candidate:
    defaults: dict[str, Any] = {
        "username": f"user{user_id}",
        "email": f"user{user_id}@example.org",
        "is_active": True,
        "has_access": True,
        "preference": None,
    }
    return Candidate(user_id=user_id, role=role, **(defaults | facts))


def choose(
    *users: Candidate,
    event_type: EventType = "job_failed",
    rules: Rules = RULES,
    others: dict[str, int] | None = None,
) -> Selection:
    return select(users, event_type=event_type, job_type=JOB_TYPE, rules=rules, others=others or {})


def rules_by_user(selection: Selection) -> dict[int, Rule]:
    return {decision.user_id: decision.rule for decision in selection.decisions}


# --- every combination --------------------------------------------------------------------------------------

PREFERENCES = {
    "no row": None,
    "enabled": Preference(enabled=True),
    "disabled": Preference(enabled=False),
    "disabled, job type listed": Preference(enabled=False, job_types=(JOB_TYPE,)),
    "job type listed": Preference(enabled=True, job_types=("config_deploy_commit", JOB_TYPE)),
    "job type not listed": Preference(enabled=True, job_types=("config_deploy_commit",)),
}


def expected_rule(
    *, role: Role, preference: str, event_type: EventType, active: bool, access: bool, address: bool
) -> Rule:
    """docs/contract.md, "Who gets a mail", once more, as a plain decision table."""
    if not active:
        return "inactive"
    if not access:
        return "no_access"
    if role == "viewer" and event_type == "job_failed":
        return "role_not_allowed"
    by_preference: dict[str, Rule] = {
        "no row": "role_default" if role == "admin" and event_type == "job_failed" else "not_subscribed",
        "enabled": "preference_enabled",
        "disabled": "preference_disabled",
        "disabled, job type listed": "preference_disabled",
        "job type listed": "preference_enabled",
        "job type not listed": "job_type_filtered",
    }
    rule = by_preference[preference]
    return rule if address or rule not in {"preference_enabled", "role_default"} else "no_address"


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@pytest.mark.parametrize("preference", PREFERENCES)
@pytest.mark.parametrize("role", ROLES)
def test_the_recipient_table_of_the_contract_holds(
    role: Role, preference: str, event_type: EventType
) -> None:
    row = PREFERENCES[preference]
    for active, access, own, override in itertools.product([True, False], repeat=4):
        if row is None and override:
            continue
        chosen = row and Preference(
            enabled=row.enabled,
            job_types=row.job_types,
            email_address="other@example.net" if override else None,
        )
        candidate = user(
            role=role,
            is_active=active,
            has_access=access,
            email="own@example.org" if own else None,
            preference=chosen,
        )
        rule = expected_rule(
            role=role,
            preference=preference,
            event_type=event_type,
            active=active,
            access=access,
            address=own or override,
        )
        decision = decide(candidate, event_type=event_type, job_type=JOB_TYPE, rules=RULES)
        selected = rule in {"preference_enabled", "role_default"}
        address = ("other@example.net" if override else "own@example.org") if selected else None
        assert (decision.rule, decision.selected, decision.address) == (rule, selected, address)
        recipients = choose(candidate, event_type=event_type).recipients
        assert [(mail.user_id, mail.address, mail.rule, mail.problem) for mail in recipients] == (
            [(1, address, rule, None)] if selected else []
        )


def test_every_rule_of_the_closed_list_can_be_reached() -> None:
    users = [
        user(1, preference=Preference(enabled=True, email_address="shared@example.org")),
        user(2, preference=Preference(enabled=True, email_address="shared@EXAMPLE.org")),
        user(3, preference=Preference(enabled=False)),
        user(4, preference=Preference(enabled=True, job_types=("other",))),
        user(5, "admin"),
        user(6, "admin", email=None),
        user(7, "viewer", preference=Preference(enabled=True)),
    ]
    reached = set(rules_by_user(choose(*users)).values())
    for outsider in (user(8), user(9, is_active=False), user(10, has_access=False)):
        reached.add(decide(outsider, event_type="job_failed", job_type=JOB_TYPE, rules=RULES).rule)
    assert reached == set(get_args(Rule))


# --- addresses ----------------------------------------------------------------------------------------------


def test_users_who_share_an_address_get_one_mail_in_the_lowest_users_name() -> None:  # B36
    selection = choose(
        user(9, "admin", email="team@X.org"),
        user(4, preference=Preference(enabled=True, email_address="team@x.ORG")),
        user(7, "admin", email="Team@x.org"),
    )
    assert [(mail.user_id, mail.recipient_key) for mail in selection.recipients] == [
        (4, "team@x.org"),
        (7, "Team@x.org"),
    ]
    assert rules_by_user(selection) == {4: "preference_enabled", 7: "role_default", 9: "same_address"}
    assert selection.decisions[2].as_json() == {
        "user_id": 9,
        "rule": "same_address",
        "selected": False,
        "address": "team@x.org",
    }


def test_an_address_that_is_none_becomes_a_recipient_with_its_problem() -> None:  # B28-B35
    selection = choose(
        user(1, "admin", email="b@x.org, evil@y.org"), user(2, "admin", email="b@x.org, evil@y.org")
    )
    (mail,) = selection.recipients
    assert (mail.user_id, mail.address) == (1, "b@x.org, evil@y.org")
    assert mail.recipient_key == "b@x.org, evil@y.org"
    assert mail.problem is not None
    assert "space" in mail.problem
    assert rules_by_user(selection) == {1: "role_default", 2: "same_address"}


def test_an_endless_address_is_cut_to_what_the_log_keeps() -> None:
    (mail,) = choose(user(1, "admin", email="x" * 10_000)).recipients
    assert len(mail.address) == len(mail.recipient_key) == 500
    assert mail.problem


@pytest.mark.parametrize("override", ["", " \t", None])
def test_a_blank_override_counts_as_none(override: str | None) -> None:
    (mail,) = choose(user(preference=Preference(enabled=True, email_address=override))).recipients
    assert mail.address == "user1@example.org"


def test_blanks_around_an_address_are_forgiven() -> None:
    (mail,) = choose(user(1, "admin", email=" anna@example.org ")).recipients
    assert (mail.address, mail.problem) == ("anna@example.org", None)


def test_domains_that_are_not_allowed_make_a_recipient_with_its_problem() -> None:
    rules = Rules(
        role_defaults=RULES.role_defaults,
        role_event_types=RULES.role_event_types,
        allowed_domains=frozenset({"xn--bcher-kva.example"}),
    )
    selection = choose(
        user(1, "admin", email="a@bücher.example"),
        user(2, "admin", email="a@sub.bücher.example"),
        rules=rules,
    )
    assert [mail.problem for mail in selection.recipients] == [
        None,
        "the domain sub.xn--bcher-kva.example is not in recipients.allowed_domains",
    ]


# --- limits, counts, roles ----------------------------------------------------------------------------------


def limited(count: int) -> Rules:
    return Rules(
        role_defaults=RULES.role_defaults, role_event_types=RULES.role_event_types, max_per_event=count
    )


def test_too_many_recipients_refuse_the_event() -> None:  # B37
    users = [user(number, "admin", email=f"user{number // 2}@example.org") for number in range(2, 10)]
    assert len(choose(*users, rules=limited(4)).recipients) == 4
    with pytest.raises(InvalidEvent) as caught:
        choose(*users, rules=limited(3))
    assert caught.value.reason == "too_many_recipients"
    assert "max_per_event" in caught.value.detail


def test_users_without_a_preference_or_a_default_are_counts_per_role() -> None:
    users = (user(1), user(2), user(3, "viewer"), user(4, has_access=False), user(5, is_active=False))
    selection = choose(*users, others={"viewer": 120})
    assert selection.as_json() == {"users": [], "others": {"viewer": 121, "operator": 2}}


def test_a_role_default_outside_what_the_role_may_get_selects_nobody() -> None:
    rules = Rules(
        role_defaults={"viewer": ALL_TYPES, "admin": ALL_TYPES}, role_event_types={"viewer": VIEWER_TYPES}
    )
    assert default_roles(rules, "job_failed") == frozenset()
    assert default_roles(rules, "job_success") == {"viewer"}
    viewer = decide(user(1, "viewer"), event_type="job_failed", job_type=JOB_TYPE, rules=rules)
    assert viewer.rule == "role_not_allowed"
    assert choose(user(2, "admin"), rules=rules).others == {"admin": 1}


def test_nobody_gets_a_mail_when_there_is_nobody() -> None:
    assert choose() == Selection(recipients=(), decisions=(), others={})


# --- properties ---------------------------------------------------------------------------------------------

ADDRESSES = st.sampled_from([None, "", "a@x.org", "A@x.org", "a@X.ORG", "b@y.org", "team@x.org", "broken"])
PREFERENCE_ROWS = st.none() | st.builds(
    Preference,
    enabled=st.booleans(),
    email_address=ADDRESSES,
    job_types=st.sampled_from([(), (JOB_TYPE,), ("other",)]),
)
AUDIENCES = st.lists(
    st.builds(
        Candidate,
        user_id=st.integers(1, 40),
        username=st.just("u"),
        role=st.sampled_from(ROLES),
        email=ADDRESSES,
        is_active=st.booleans(),
        has_access=st.booleans(),
        preference=PREFERENCE_ROWS,
    ),
    max_size=12,
    unique_by=lambda one: one.user_id,
)


@examples(60)
@given(users=AUDIENCES, event_type=st.sampled_from(EVENT_TYPES))
def test_nobody_inactive_or_without_access_or_right_is_ever_chosen(
    users: list[Candidate], event_type: EventType
) -> None:
    by_id = {one.user_id: one for one in users}
    selection = choose(*users, event_type=event_type)
    for decision in selection.decisions:
        one = by_id[decision.user_id]
        assert one.is_active
        assert one.has_access
    for mail in selection.recipients:
        one = by_id[mail.user_id]
        assert event_type in RULES.role_event_types[one.role]
        assert one.preference is None or one.preference.enabled


@examples(60)
@given(users=AUDIENCES, event_type=st.sampled_from(EVENT_TYPES))
def test_no_two_mails_share_a_key_and_each_selected_user_is_one_mail(
    users: list[Candidate], event_type: EventType
) -> None:
    selection = choose(*users, event_type=event_type)
    keys = [mail.recipient_key for mail in selection.recipients]
    assert len(set(keys)) == len(keys)
    selected = [decision.user_id for decision in selection.decisions if decision.selected]
    assert selected == [mail.user_id for mail in selection.recipients]
    assert selected == sorted(selected)
    addresses = {mail.address for mail in selection.recipients}
    assert all(d.address in addresses for d in selection.decisions if d.rule == "same_address")


@examples(60)
@given(users=AUDIENCES, event_type=st.sampled_from(EVENT_TYPES), order=st.randoms(use_true_random=False))
def test_choosing_among_candidates_equals_choosing_among_all(
    users: list[Candidate], event_type: EventType, order: Any
) -> None:
    roles = default_roles(RULES, event_type)
    considered = [one for one in users if one.is_active and one.has_access]
    candidates = [one for one in considered if one.preference is not None or one.role in roles]
    rest = [one.role for one in considered if one not in candidates]
    order.shuffle(candidates)
    counts: dict[str, int] = {role: rest.count(role) for role in set(rest)}
    assert choose(*candidates, event_type=event_type, others=counts) == choose(*users, event_type=event_type)


@examples(60)
@given(users=AUDIENCES)
def test_every_considered_user_is_decided_for_or_counted_once(users: list[Candidate]) -> None:
    selection = choose(*users)
    considered = [one for one in users if one.is_active and one.has_access]
    assert len(selection.decisions) + sum(selection.others.values()) == len(considered)
