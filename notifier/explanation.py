"""Who would get a mail about an event, and why or why not: for support people, and for the API."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from notifier.domain.errors import NotFound, SmtpFault
from notifier.domain.recipients import Rules, Selection, decide, select
from notifier.routes import no_server, usable_server
from notifier.store import audience, event_log, smtp_configs
from notifier.store.log_filters import LogFilter
from notifier.store.pages import Slice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from notifier.domain.recipients import Candidate, Decision, Recipient
    from notifier.domain.servers import SmtpServer
    from notifier.domain.vocabulary import EventType, Role
    from notifier.encryption import SecretBox
    from notifier.store.audience import Account
    from notifier.store.event_log import LogRow
    from notifier.store.job_events import StoredEvent

_MOST_MAILS = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """The event in question; `stored` when it is in the inbox."""

    customer_id: int
    event_type: EventType
    job_type: str
    stored: StoredEvent | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerState:
    """The server mails of the customer go through. `problem`: why nothing can be sent through it at all.

    `held_until`: its breaker is open until then, because of `held_because`.
    """

    name: str | None
    own: bool
    problem: str | None
    held_until: datetime | None
    held_because: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One user. `mail`: would a mail leave now; `why` in plain words; `then`: what was decided when the event came.

    `log_row` is the newest mail of this event to the user, if any.
    """

    user_id: int
    username: str
    role: Role
    mail: bool
    address: str | None
    rule: str
    why: str
    then: Mapping[str, object] | None
    log_row: LogRow | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """The answer. `problem`: why the event as a whole would be refused."""

    customer_id: int
    customer_name: str
    event_type: EventType
    job_type: str
    server: ServerState
    problem: str | None
    users: tuple[Verdict, ...]


def explain(
    connection: Connection,
    event: Subject,
    *,
    rules: Rules,
    default: SmtpServer | None,
    box: SecretBox,
    user_id: int | None = None,
) -> Explanation:
    """Decide anew, for every user of the customer or the one named, with the data of this moment.

    Raises NotFound for an unknown customer or user.
    """
    account = audience.accounts(connection, [event.customer_id]).get(event.customer_id)
    if account is None:
        msg = f"there is no customer {event.customer_id}: the event would go to the dead letters (unknown_customer)"
        raise NotFound(msg)
    server = _state(connection, account, default, box)
    # Also for one user: somebody else with the same address may get the mail instead.
    candidates = audience.everyone(connection, customer_id=event.customer_id, event_type=event.event_type)
    selection = _selection(candidates, event, rules)
    if user_id is not None:
        candidates = audience.everyone(
            connection, customer_id=event.customer_id, event_type=event.event_type, user_id=user_id
        )
        if not candidates:
            msg = f"there is no user {user_id}"
            raise NotFound(msg)
    then, rows = _history(connection, event)
    return Explanation(
        customer_id=account.customer_id,
        customer_name=account.name,
        event_type=event.event_type,
        job_type=event.job_type,
        server=server,
        problem=_too_many(selection, rules),
        users=tuple(_verdicts(candidates, selection, event, rules, server, then, rows)),
    )


def server_state(
    connection: Connection, customer_id: int, *, default: SmtpServer | None, box: SecretBox
) -> ServerState:
    """Return the server that mails of this customer, which exists, go through now."""
    account = audience.accounts(connection, [customer_id])[customer_id]
    return _state(connection, account, default, box)


def _state(
    connection: Connection, account: Account, default: SmtpServer | None, box: SecretBox
) -> ServerState:
    stored = smtp_configs.of_customer(connection, account.customer_id)
    problem = None
    name = f"{stored.host}:{stored.port}" if stored else f"{default.host}:{default.port}" if default else None
    try:
        if stored is not None:
            usable_server(stored, box=box)
        elif default is None:
            raise no_server()
    except SmtpFault as fault:
        problem = str(fault)
    return ServerState(
        name=name,
        own=stored is not None,
        problem=problem,
        held_until=account.held_until,
        held_because=account.held_because,
    )


def _selection(candidates: Iterable[Candidate], event: Subject, rules: Rules) -> Selection:
    return select(
        candidates,
        event_type=event.event_type,
        job_type=event.job_type,
        rules=replace(rules, max_per_event=sys.maxsize),
        others={},
    )


def _too_many(selection: Selection, rules: Rules) -> str | None:
    count = len(selection.recipients)
    if count <= rules.max_per_event:
        return None
    return f"{count} recipients, recipients.max_per_event allows {rules.max_per_event}: the event is refused"


def _history(
    connection: Connection, event: Subject
) -> tuple[dict[int, Mapping[str, object]], dict[int, LogRow]]:
    """Return what was decided when the event came, and its mails, by user."""
    if event.stored is None:
        return {}, {}
    then = {int(entry["user_id"]): entry for entry in event.stored.decisions.get("users", ())}
    page = event_log.find(
        connection,
        LogFilter(job_event_id=event.stored.id),
        ordering="created_at",
        part=Slice(limit=_MOST_MAILS),
    )
    return then, {row.user_id: row for row in page.items if row.user_id is not None}


def _verdicts(
    candidates: Iterable[Candidate],
    selection: Selection,
    event: Subject,
    rules: Rules,
    server: ServerState,
    then: Mapping[int, Mapping[str, object]],
    rows: Mapping[int, LogRow],
) -> Iterable[Verdict]:
    decisions = {one.user_id: one for one in selection.decisions}
    recipients = {one.user_id: one for one in selection.recipients}
    for candidate in candidates:
        decision = decisions.get(candidate.user_id) or decide(
            candidate, event_type=event.event_type, job_type=event.job_type, rules=rules
        )
        recipient = recipients.get(candidate.user_id)
        obstacle = _obstacle(recipient, server)
        words = reason(candidate, decision, event_type=event.event_type, job_type=event.job_type)
        yield Verdict(
            user_id=candidate.user_id,
            username=candidate.username,
            role=candidate.role,
            mail=decision.selected and obstacle is None,
            address=decision.address,
            rule=decision.rule,
            why=words if obstacle is None else f"{words}; but {obstacle}",
            then=then.get(candidate.user_id),
            log_row=rows.get(candidate.user_id),
        )


def _obstacle(recipient: Recipient | None, server: ServerState) -> str | None:
    """Return why the mail of a chosen user ends failed at once, if it does."""
    return (recipient.problem or server.problem) if recipient is not None else None


def reason(candidate: Candidate, decision: Decision, *, event_type: EventType, job_type: str) -> str:
    """Return the rule in plain words."""
    preference = candidate.preference
    filtered = ", ".join(preference.job_types) if preference else ""
    words = {
        "preference_enabled": f"asked for {event_type}" + (f" about {filtered}" if filtered else ""),
        "role_default": f"the role {candidate.role} gets {event_type} by default",
        "preference_disabled": f"has switched {event_type} off",
        "job_type_filtered": f"wants {event_type} only about {filtered}, and this is {job_type}",
        "role_not_allowed": f"the role {candidate.role} may never receive {event_type}",
        "not_subscribed": f"did not ask for {event_type}, which the role {candidate.role} does not get by default",
        "no_address": "has no mail address, neither in the preference nor in the account",
        "same_address": f"another user with the address {decision.address} gets the mail",
        "inactive": "the account is not active",
        "no_access": "has no access to the customer",
    }
    return words[decision.rule]
