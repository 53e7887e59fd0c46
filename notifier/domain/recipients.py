"""Who gets a mail for a job event (docs/contract.md), as a pure function with its reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from notifier.domain.addresses import Mailbox, parse_mailbox
from notifier.domain.errors import InvalidAddress, InvalidEvent
from notifier.domain.vocabulary import SELECTING_RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from notifier.domain.vocabulary import EventType, Role, Rule


MAX_WRITTEN_ADDRESS = 500  # what the log keeps of an address that is none


class Preference(NamedTuple):
    """A row of notification_preferences for the user, customer and event type in question."""

    enabled: bool
    email_address: str | None = None
    job_types: tuple[str, ...] = ()


class Candidate(NamedTuple):
    """A user as far as one event of one customer is concerned. `has_access`: a row in customer_users."""

    user_id: int
    username: str
    role: Role
    email: str | None
    is_active: bool
    has_access: bool
    preference: Preference | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """The [recipients] section. `allowed_domains`: as `addresses.ascii_domain` gives them; empty = any."""

    role_defaults: Mapping[Role, frozenset[EventType]]
    role_event_types: Mapping[Role, frozenset[EventType]]
    allowed_domains: frozenset[str] = frozenset()
    max_per_event: int = 5000

    def types_for(self, role: Role) -> frozenset[EventType]:
        """What a role may receive."""
        return self.role_event_types.get(role, frozenset())


class Recipient(NamedTuple):
    """One mail to write. `problem` says why it can never be sent: its row ends failed/invalid_recipient."""

    user_id: int
    address: str
    recipient_key: str
    rule: Rule
    problem: str | None


class Decision(NamedTuple):
    """What was decided for one user, by which rule; `address` where a mail goes or would have gone."""

    user_id: int
    rule: Rule
    selected: bool
    address: str | None

    def as_json(self) -> dict[str, object]:
        """As kept in job_events.decisions."""
        return {
            "user_id": self.user_id,
            "rule": self.rule,
            "selected": self.selected,
            "address": self.address,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The outcome for one event. `others`: users nothing was decided for one by one, as counts per role."""

    recipients: tuple[Recipient, ...]
    decisions: tuple[Decision, ...]
    others: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """As kept in job_events.decisions."""
        return {"users": [decision.as_json() for decision in self.decisions], "others": dict(self.others)}


def permitted_mailbox(text: str, rules: Rules) -> Mailbox:
    """The one mailbox in `text`, where mails may go. Raises InvalidAddress with the cure."""
    mailbox = parse_mailbox(text.strip())
    problem = _domain_problem(mailbox, rules)
    if problem is not None:
        raise InvalidAddress(f"{problem}; allowed: {', '.join(sorted(rules.allowed_domains))}")
    return mailbox


def default_roles(rules: Rules, event_type: EventType) -> frozenset[Role]:
    """The roles whose users get this type without asking for it."""
    return frozenset(
        role
        for role, types in rules.role_defaults.items()
        if event_type in types and event_type in rules.types_for(role)
    )


def decide(candidate: Candidate, *, event_type: EventType, job_type: str, rules: Rules) -> Decision:
    """One user by himself; the first rule that applies decides. Shared addresses are `select`'s matter."""
    rule = _rule(candidate, event_type=event_type, job_type=job_type, rules=rules)
    if rule not in SELECTING_RULES:
        return Decision(user_id=candidate.user_id, rule=rule, selected=False, address=None)
    written = _written_address(candidate)
    if written is None:
        return Decision(user_id=candidate.user_id, rule="no_address", selected=False, address=None)
    return Decision(user_id=candidate.user_id, rule=rule, selected=True, address=_normal(written))


def select(
    candidates: Iterable[Candidate],
    *,
    event_type: EventType,
    job_type: str,
    rules: Rules,
    others: Mapping[str, int],
) -> Selection:
    """Choose the recipients of one event and say why, for everybody with a preference row or a role default.

    Choosing among all users gives the same as choosing among those, with the rest counted in `others`; users
    who are inactive or without access are in neither. Raises InvalidEvent(too_many_recipients) (B37).
    """
    counts = dict(others)
    decisions: list[Decision] = []
    recipients: dict[str, Recipient] = {}
    roles = default_roles(rules, event_type)
    for candidate in sorted(candidates, key=lambda one: one.user_id):
        if not (candidate.is_active and candidate.has_access):
            continue
        if candidate.preference is None and candidate.role not in roles:
            counts[candidate.role] = counts.get(candidate.role, 0) + 1
            continue
        decision = decide(candidate, event_type=event_type, job_type=job_type, rules=rules)
        decisions.append(_without_twin(decision, recipients, rules))
    if len(recipients) > rules.max_per_event:
        raise InvalidEvent(
            "too_many_recipients",
            f"{len(recipients)} recipients; recipients.max_per_event allows {rules.max_per_event}",
        )
    return Selection(recipients=tuple(recipients.values()), decisions=tuple(decisions), others=counts)


def _rule(candidate: Candidate, *, event_type: EventType, job_type: str, rules: Rules) -> Rule:
    for rule, applies in _rules(candidate, event_type, job_type, rules):
        if applies:
            return rule
    return "not_subscribed"


def _rules(
    candidate: Candidate, event_type: EventType, job_type: str, rules: Rules
) -> Iterator[tuple[Rule, bool]]:
    """The first four rules of docs/contract.md, "Who gets a mail", in their order."""
    yield "inactive", not candidate.is_active
    yield "no_access", not candidate.has_access
    yield "role_not_allowed", event_type not in rules.types_for(candidate.role)
    preference = candidate.preference
    if preference is not None:
        yield "preference_disabled", not preference.enabled
        yield "job_type_filtered", bool(preference.job_types) and job_type not in preference.job_types
        yield "preference_enabled", True
    yield "role_default", event_type in rules.role_defaults.get(candidate.role, frozenset())


def _written_address(candidate: Candidate) -> str | None:
    """The preference's address, else the user's; blanks around it are forgiven, blank counts as none."""
    override = candidate.preference.email_address if candidate.preference else None
    return next(
        (text for text in ((override or "").strip(" \t"), (candidate.email or "").strip(" \t")) if text), None
    )


def _normal(written: str) -> str:
    try:
        return parse_mailbox(written).address
    except InvalidAddress:
        return written[:MAX_WRITTEN_ADDRESS]


def _without_twin(decision: Decision, recipients: dict[str, Recipient], rules: Rules) -> Decision:
    """Add the selected user's mail, unless somebody with a lower user id has it already."""
    if not decision.selected or decision.address is None:
        return decision
    recipient = _recipient(decision, decision.address, rules)
    if recipient.recipient_key in recipients:
        return Decision(
            user_id=decision.user_id, rule="same_address", selected=False, address=decision.address
        )
    recipients[recipient.recipient_key] = recipient
    return decision


def _recipient(decision: Decision, address: str, rules: Rules) -> Recipient:
    try:
        mailbox = parse_mailbox(address)
    except InvalidAddress as exc:
        # The text itself is the key: no valid address has the same one, and equal mistakes make one row.
        return Recipient(
            user_id=decision.user_id,
            address=address,
            recipient_key=address,
            rule=decision.rule,
            problem=str(exc),
        )
    return Recipient(
        user_id=decision.user_id,
        address=mailbox.address,
        recipient_key=mailbox.key,
        rule=decision.rule,
        problem=_domain_problem(mailbox, rules),
    )


def _domain_problem(mailbox: Mailbox, rules: Rules) -> str | None:
    if not rules.allowed_domains or mailbox.domain in rules.allowed_domains:
        return None
    return f"the domain {mailbox.domain} is not in recipients.allowed_domains"
