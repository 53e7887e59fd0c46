"""The recipient table of docs/contract.md on a real database: intake of real events, read back from its rows."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import pytest
from sqlalchemy import event as sqlalchemy_events

from notifier.broker.messages import BrokerMessage, Settle
from notifier.crashpoints import Crashpoint
from notifier.domain.errors import DatabaseUnavailable
from notifier.domain.recipients import Rules, decide, select
from notifier.domain.vocabulary import EVENT_TYPES, ROLES, EventType, Role, Rule
from notifier.intake import Intake
from notifier.message_ids import new_uuid
from notifier.metrics import Metrics
from notifier.planning import Planner, PlanningRules
from notifier.store import audience, inbox
from notifier.tracing import Tracer
from tests.store_rows import add_customer, add_user, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy.engine import Connection, Engine

ALL_TYPES: frozenset[EventType] = frozenset(EVENT_TYPES)
RULES = Rules(
    role_defaults={"admin": frozenset({"job_failed"})},
    role_event_types={"admin": ALL_TYPES, "operator": ALL_TYPES, "viewer": ALL_TYPES - {"job_failed"}},
)
JOB_TYPE = "config_backup"
STATUS = {"job_success": "success", "job_failed": "failed", "job_partial": "partial"}


def intake(
    engine: Engine,
    rules: Rules = RULES,
    tracer: Tracer | None = None,
    on_new_mails: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> Intake:
    """The intake as the worker makes it, with a plain subject."""
    return Intake(
        engine=engine,
        planner=Planner(
            rules=PlanningRules(
                recipients=rules,
                expire_after=3600.0,
                default_sender="jobs@sender.example",
                message_id_domain=None,
                fallback_domain="sender.example",
            ),
            subject=lambda _document, _customer: "subject",
            new_uuid=new_uuid,
        ),
        max_event_bytes=262_144,
        on_new_mails=on_new_mails,
        metrics=Metrics(version="test"),
        tracer=tracer or Tracer(),
        crashpoint=Crashpoint(),
        clock=clock,
    )


def handle(engine: Engine, batch: Sequence[BrokerMessage], rules: Rules = RULES) -> list[Settle]:
    """Let an intake of its own have a batch."""
    with contextlib.closing(intake(engine, rules)) as one:
        return one.handle(batch)


def message(customer: int, event_type: EventType, job_type: str = JOB_TYPE) -> BrokerMessage:
    data: dict[str, Any] = {"customer_id": customer}
    if event_type == "compliance_violation":
        data["compliance_result"] = {
            "id": 9,
            "status": "violation",
            "policy": {"id": 1, "name": "NTP"},
            "device": {"id": 2, "hostname": "core-01"},
        }
    else:
        data["job"] = {"id": 7, "type": job_type, "status": STATUS.get(event_type, "success")}
    document = {
        "specversion": "1.0",
        "id": f"{event_type}-{job_type}",
        "source": "tests",
        "type": event_type,
        "data": data,
    }
    return BrokerMessage(body=json.dumps(document).encode(), routing_key=event_type)


@dataclass(frozen=True, kw_only=True)
class User:
    """One line of the table."""

    role: Role
    preference: str
    active: bool
    access: bool
    own: bool
    override: bool

    def address(self, place: int) -> str | None:
        if self.override:
            return f"other{place}@reader.example"
        return f"own{place}@reader.example" if self.own else None


# enabled, job types
PREFERENCES: dict[str, tuple[bool, list[str] | None] | None] = {
    "none": None,
    "enabled": (True, None),
    "enabled, empty list": (True, []),
    "disabled": (False, None),
    "job type listed": (True, ["config_deploy", JOB_TYPE]),
    "job type not listed": (True, ["config_deploy"]),
    "checks listed": (True, ["compliance_check"]),
    "disabled, listed": (False, [JOB_TYPE]),
}
USERS = [
    User(role=role, preference=preference, active=active, access=access, own=own, override=override)
    for role, preference in itertools.product(ROLES, PREFERENCES)
    for active, access, own, override in itertools.product((True, False), repeat=4)
    if preference != "none" or not override
]


def expected_rule(user: User, event_type: EventType) -> Rule | None:
    """docs/contract.md, "Who gets a mail", as a decision table; None where nothing is kept for the user alone."""
    if not (user.active and user.access):
        return None
    is_default = user.role == "admin" and event_type == "job_failed"
    if user.preference == "none" and not is_default:
        return None
    if user.role == "viewer" and event_type == "job_failed":
        return "role_not_allowed"
    rule: Rule = "preference_enabled"
    stored = PREFERENCES[user.preference]
    if stored is None:
        rule = "role_default"
    elif not stored[0]:
        return "preference_disabled"
    elif stored[1]:
        job_type = "compliance_check" if event_type == "compliance_violation" else JOB_TYPE
        if job_type not in stored[1]:
            return "job_type_filtered"
    return rule if user.own or user.override else "no_address"


def add_preference(
    connection: Connection,
    *,
    user: int,
    customer: int,
    event_type: str,
    enabled: bool,
    job_types: list[str] | None,
    address: str | None,
) -> None:
    connection.exec_driver_sql(
        "INSERT INTO notification_preferences (user_id, customer_id, event_type, enabled, job_types, email_address)"
        " VALUES (%(u)s, %(c)s, %(t)s, %(e)s, %(j)s, %(a)s)",
        {"u": user, "c": customer, "t": event_type, "e": enabled, "j": job_types, "a": address},
    )


def _written(connection: Connection, customer: int) -> dict[str, dict[str, Any]]:
    """What the inbox keeps of each event of the customer: decisions and rows, by event id."""
    rows = connection.exec_driver_sql(
        "SELECT j.event_id, j.event_type, j.outcome, j.decisions, coalesce(json_agg(json_build_object('user',"
        " n.user_id, 'address', n.recipient_email, 'rule', n.rule) ORDER BY n.user_id)"
        " FILTER (WHERE n.id IS NOT NULL), '[]') AS mails FROM job_events j"
        " LEFT JOIN notification_events n ON n.job_event_id = j.id WHERE j.customer_id = %(c)s GROUP BY j.id",
        {"c": customer},
    )
    return {row.event_id: dict(row._mapping) for row in rows}


def _add_people(connection: Connection, customer: int, elsewhere: int) -> dict[int, User]:
    """Write all of USERS with their preferences for every event type; return them by id."""
    first = number(
        connection,
        "WITH made AS (INSERT INTO users (username, role, email, is_active)"
        " SELECT 'table-' || n, r, e, a FROM unnest(%(n)s::int[], %(r)s::text[], %(e)s::text[], %(a)s::boolean[])"
        " AS t (n, r, e, a) ORDER BY n RETURNING id) SELECT min(id) FROM made",
        n=list(range(len(USERS))),
        r=[user.role for user in USERS],
        e=[f"own{place}@reader.example" if user.own else None for place, user in enumerate(USERS)],
        a=[user.active for user in USERS],
    )
    people = {first + place: user for place, user in enumerate(USERS)}
    connection.exec_driver_sql(
        "INSERT INTO customer_users SELECT * FROM unnest(%(c)s::bigint[], %(u)s::bigint[])",
        {"c": [customer if user.access else elsewhere for user in people.values()], "u": list(people)},
    )
    choices = [(i, user, chosen) for i, user in people.items() if (chosen := PREFERENCES[user.preference])]
    connection.exec_driver_sql(
        "INSERT INTO notification_preferences (user_id, customer_id, event_type, enabled, email_address, job_types)"
        " SELECT u, %(c)s, t, e, a, CASE WHEN j <> '' THEN ARRAY(SELECT jsonb_array_elements_text(j::jsonb)) END"
        " FROM unnest(%(u)s::bigint[], %(e)s::boolean[], %(a)s::text[], %(j)s::text[]) AS p (u, e, a, j),"
        " unnest(%(t)s::text[]) AS t",
        {
            "c": customer,
            "t": list(EVENT_TYPES),
            "u": [i for i, _, _ in choices],
            "e": [enabled for _, _, (enabled, _) in choices],
            "a": [user.address(i - first) if user.override else None for i, user, _ in choices],
            "j": ["" if types is None else json.dumps(types) for _, _, (_, types) in choices],
        },
    )
    return people


def test_a_batch_of_which_only_the_refused_could_not_be_noted_comes_again_and_nothing_is_written_twice(
    engine: Engine, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise DatabaseUnavailable("the database went away")

    woken: list[int] = []
    customer = add_customer(connection)
    batch = [message(customer, "job_failed"), BrokerMessage(body=b"{"), BrokerMessage(body=b"[")]
    with contextlib.closing(intake(engine, on_new_mails=lambda: woken.append(1))) as one:
        with monkeypatch.context() as patched:
            patched.setattr(inbox, "reject", away)
            with pytest.raises(DatabaseUnavailable):
                one.handle(batch)
        assert number(connection, "SELECT count(*) FROM job_events") == 1
        assert woken == [1]
        assert one.handle(batch) == [Settle.ACK, Settle.REJECT, Settle.REJECT]
    assert number(connection, "SELECT count(*) FROM job_events") == 1
    assert number(connection, "SELECT count(*) FROM rejected_events") == 2


def test_the_recipient_table_holds_for_every_combination_on_the_database(
    engine: Engine, connection: Connection
) -> None:
    customer, elsewhere = add_customer(connection), add_customer(connection)
    people = _add_people(connection, customer, elsewhere)

    settled = handle(engine, [message(customer, event_type) for event_type in EVENT_TYPES])

    assert settled == [Settle.ACK] * len(EVENT_TYPES)
    for kept in _written(connection, customer).values():
        event_type = kept["event_type"]
        rules = {i: expected_rule(user, event_type) for i, user in people.items()}
        wanted = {i: rule for i, rule in rules.items() if rule is not None}
        assert {d["user_id"]: d["rule"] for d in kept["decisions"]["users"]} == wanted
        chosen = {i: rule for i, rule in wanted.items() if rule in {"preference_enabled", "role_default"}}
        assert {m["user"]: (m["rule"], m["address"]) for m in kept["mails"]} == {
            i: (rule, people[i].address(i - min(people))) for i, rule in chosen.items()
        }
        uncounted = [u for i, u in people.items() if u.active and u.access and i not in wanted]
        assert kept["decisions"]["others"] == {
            role: count for role in sorted(ROLES) if (count := sum(user.role == role for user in uncounted))
        }


def test_shared_addresses_get_one_mail_in_the_lowest_users_name(
    engine: Engine, connection: Connection
) -> None:  # B36
    customer = add_customer(connection)
    users = [
        add_user(connection, role="admin", email=email, access_to=customer)
        for email in ("A@x.example", "A@X.EXAMPLE", " A@x.example ", "a@x.example", None)
    ]
    add_preference(
        connection,
        user=users[4],
        customer=customer,
        event_type="job_failed",
        enabled=True,
        job_types=None,
        address="a@x.example",
    )
    handle(engine, [message(customer, "job_failed")])
    (kept,) = _written(connection, customer).values()
    assert [(m["user"], m["address"]) for m in kept["mails"]] == [
        (users[0], "A@x.example"),
        (users[3], "a@x.example"),
    ]
    same = {d["user_id"] for d in kept["decisions"]["users"] if d["rule"] == "same_address"}
    assert same == {users[1], users[2], users[4]}


def test_people_who_leave_or_change_roles_are_judged_by_what_they_are_when_the_event_comes(
    engine: Engine, connection: Connection
) -> None:
    customer = add_customer(connection)
    leaves, demoted, promoted, returns = (
        add_user(connection, role=role, email=f"{name}@x.example", access_to=customer)
        for name, role in (("a", "admin"), ("b", "admin"), ("c", "viewer"), ("d", "admin"))
    )
    for statement in (
        f"UPDATE users SET is_active = false WHERE id IN ({leaves}, {returns})",  # noqa: S608 - numbers
        f"UPDATE users SET role = 'viewer' WHERE id = {demoted}",  # noqa: S608 - numbers
        f"UPDATE users SET role = 'admin' WHERE id = {promoted}",  # noqa: S608 - numbers
        f"UPDATE users SET is_active = true WHERE id = {returns}",  # noqa: S608 - numbers
    ):
        connection.exec_driver_sql(statement)
    handle(engine, [message(customer, "job_failed")])
    (kept,) = _written(connection, customer).values()
    assert [m["user"] for m in kept["mails"]] == [promoted, returns]
    assert kept["decisions"]["others"] == {"viewer": 1}


@pytest.mark.parametrize("seed", range(4))
def test_choosing_among_candidates_equals_choosing_among_all_on_the_database(
    engine: Engine, connection: Connection, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a population for a test
    customers = [add_customer(connection) for _ in range(2)]
    for _ in range(40):
        email = chance.choice(
            [None, "", "shared@x.example", "Shared@X.example", f"u{chance.random()}@x.example", "no"]
        )
        user = add_user(connection, role=chance.choice(ROLES), email=email, is_active=chance.random() < 0.8)
        for customer in customers:
            if chance.random() < 0.7:
                connection.exec_driver_sql(
                    "INSERT INTO customer_users VALUES (%(c)s, %(u)s)", {"c": customer, "u": user}
                )
            for event_type in chance.sample(EVENT_TYPES, chance.randrange(3)):
                add_preference(
                    connection,
                    user=user,
                    customer=customer,
                    event_type=event_type,
                    enabled=chance.random() < 0.7,
                    job_types=chance.choice([None, [], [JOB_TYPE], ["other", "compliance_check"]]),
                    address=chance.choice(
                        [None, "", "shared@x.example", "bad address", f"p{chance.random()}@y.example"]
                    ),
                )
        if chance.random() < 0.2:
            connection.exec_driver_sql(
                "UPDATE users SET is_active = NOT is_active WHERE id = %(u)s", {"u": user}
            )
        if chance.random() < 0.2:
            connection.exec_driver_sql(
                "UPDATE users SET role = %(r)s WHERE id = %(u)s", {"r": chance.choice(ROLES), "u": user}
            )
    rules = Rules(
        role_defaults={
            role: frozenset(chance.sample(EVENT_TYPES, chance.randrange(4))) for role in get_args(Role)
        },
        role_event_types={
            "viewer": frozenset(chance.sample(EVENT_TYPES, 3)),
            "operator": ALL_TYPES,
            "admin": ALL_TYPES,
        },
    )

    handle(engine, [message(c, event_type) for c in customers for event_type in EVENT_TYPES], rules)

    for customer in customers:
        kept = {row["event_type"]: row for row in _written(connection, customer).values()}
        for event_type in EVENT_TYPES:
            everyone = audience.everyone(connection, customer_id=customer, event_type=event_type)
            job_type = "compliance_check" if event_type == "compliance_violation" else JOB_TYPE
            among_all = select(everyone, event_type=event_type, job_type=job_type, rules=rules, others={})
            row = kept[event_type]
            assert row["decisions"] == among_all.as_json()
            assert {(m["user"], m["address"]) for m in row["mails"]} == {
                (r.user_id, r.address) for r in among_all.recipients
            }
            assert row["outcome"] == ("accepted" if among_all.recipients else "no_recipients")
            for one in everyone:  # what `explain` says of each agrees with what was done
                rule = decide(one, event_type=event_type, job_type=job_type, rules=rules).rule
                decided = [d for d in row["decisions"]["users"] if d["user_id"] == one.user_id]
                assert {d["rule"] for d in decided} <= {rule, "same_address"}


_ROWS_READ = (
    "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables"
)


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    """Every statement the engine runs."""
    seen: list[str] = []
    listen: Callable[..., None] = lambda _c, _cursor, statement, *_: seen.append(statement)  # noqa: E731
    sqlalchemy_events.listen(engine, "before_cursor_execute", listen)
    yield seen
    sqlalchemy_events.remove(engine, "before_cursor_execute", listen)


def test_twenty_thousand_users_cost_no_more_statements_or_rows_than_two(
    engine: Engine, connection: Connection, statements: list[str]
) -> None:
    connection.exec_driver_sql("SET statement_timeout = 0")  # a crowd takes its time to be written
    customers = {}
    for crowd in (20_000, 2):
        customers[crowd] = customer = add_customer(connection)
        connection.exec_driver_sql(
            "WITH made AS (INSERT INTO users (username, email, role) SELECT 'v' || %(c)s || '-' || n,"
            " 'v' || n || '@x.example', 'viewer' FROM generate_series(1, %(n)s) AS n RETURNING id)"
            " INSERT INTO customer_users (customer_id, user_id) SELECT %(c)s, id FROM made",
            {"c": customer, "n": crowd},
        )
        for place in range(3):
            add_user(connection, role="admin", email=f"admin{place}@x.example", access_to=customer)

    costs = set()
    for analyzed in (False, True):
        if analyzed:
            connection.exec_driver_sql("ANALYZE")
        for crowd, customer in customers.items():
            statements.clear()
            handle(engine, [message(customer, "job_failed", job_type=f"analyzed-{analyzed}")])
            asked = len(statements)
            question = audience.Question(customer_id=customer, event_type="job_failed", roles=("admin",))
            with engine.begin() as transaction:
                before = number(transaction, _ROWS_READ)
                audience.read(transaction, [customer], [question])
                costs.add((asked, number(transaction, _ROWS_READ) - before))
            for kept in _written(connection, customer).values():
                assert kept["decisions"]["others"] == {"viewer": crowd}
                assert len(kept["mails"]) == 3
    assert len({asked for asked, _ in costs}) == 1
    assert max(read for _, read in costs) <= 20, costs
