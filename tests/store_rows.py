"""Rows for tests of the store: made by plain SQL, as the platform and the intake would."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import TYPE_CHECKING

from notifier.store import inbox

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_numbers = itertools.count(1)


def next_name(prefix: str) -> str:
    """A name not used before in this process."""
    return f"{prefix}-{next(_numbers)}"


def one(connection: Connection, query: str, **parameters: object) -> object:
    """The only value of a query."""
    return connection.exec_driver_sql(query, parameters or None).scalar_one()


def number(connection: Connection, query: str, **parameters: object) -> int:
    """The only value of a query, a number."""
    value = one(connection, query, **parameters)
    assert isinstance(value, int)
    return value


def add_customer(connection: Connection, name: str | None = None) -> int:
    return number(
        connection,
        "INSERT INTO customers (name) VALUES (%(name)s) RETURNING id",
        name=name or next_name("customer"),
    )


def add_user(
    connection: Connection,
    *,
    role: str = "viewer",
    email: str | None = "anna@example.org",
    is_active: bool = True,
    access_to: int | None = None,
) -> int:
    user = number(
        connection,
        "INSERT INTO users (username, role, email, is_active) VALUES (%(n)s, %(r)s, %(e)s, %(a)s) RETURNING id",
        n=next_name("user"),
        r=role,
        e=email,
        a=is_active,
    )
    if access_to is not None:
        connection.exec_driver_sql(
            "INSERT INTO customer_users (customer_id, user_id) VALUES (%(c)s, %(u)s)",
            {"c": access_to, "u": user},
        )
    return user


def add_event(
    connection: Connection,
    customer: int,
    *,
    event_type: str = "job_failed",
    job_id: int = 4812,
    age_days: float = 0,
) -> int:
    event_id = next_name("event")
    return number(
        connection,
        """
        INSERT INTO job_events (customer_id, source, event_id, event_type, payload, payload_sha256, outcome,
            received_at)
        VALUES (%(c)s, 'webnet/jobs', %(e)s, %(t)s, %(p)s::jsonb, %(h)s, 'accepted', now() - %(age)s * interval '1 day')
        RETURNING id
        """,
        c=customer,
        e=event_id,
        t=event_type,
        p=json.dumps({"id": event_id, "data": {"customer_id": customer, "job": {"id": job_id}}}),
        h=hashlib.sha256(event_id.encode()).digest(),
        age=age_days,
    )


def add_mail(
    connection: Connection,
    customer: int,
    event: int,
    *,
    address: str | None = None,
    status: str = "pending",
    failure_reason: str | None = None,
    age_days: float = 0,
    job_id: int | None = 4812,
) -> int:
    """A mail as the intake writes it, already ended if status says so."""
    address = address or f"{next_name('reader')}@example.org"
    return number(
        connection,
        """
        INSERT INTO notification_events (job_event_id, customer_id, user_id, recipient_email, recipient_key, event_type,
            rule, subject, status, failure_reason, message_id, job_id, expires_at, created_at, next_attempt_at,
            finished_at, sent_at)
        SELECT %(e)s, %(c)s, 1, %(a)s, %(a)s, j.event_type, 'role_default', 'A job failed', %(s)s, %(r)s, %(m)s, %(j)s,
            now() + interval '1 day', t.at, t.at, CASE WHEN %(s)s <> 'pending' THEN t.at END,
            CASE WHEN %(s)s = 'sent' THEN t.at END
        FROM job_events j, (SELECT now() - %(age)s * interval '1 day' AS at) t WHERE j.id = %(e)s
        RETURNING id
        """,
        e=event,
        c=customer,
        a=address,
        s=status,
        r=failure_reason or ("permanent_smtp" if status == "failed" else None),
        m=f"<{next_name('mail')}@example.org>",
        j=job_id,
        age=age_days,
    )


def wake(connection: Connection, customer: int) -> None:
    """What the intake does last: the customer's lane is due."""
    connection.exec_driver_sql(
        "UPDATE delivery_lanes SET next_due_at = now() WHERE customer_id = %(c)s", {"c": customer}
    )


def customer_with(connection: Connection, mails: int, *, own_server: bool = True, proven: bool = True) -> int:
    """A customer with due mails and, unless told otherwise, a proven server of its own."""
    customer = add_customer(connection)
    if own_server:
        connection.exec_driver_sql(
            "INSERT INTO smtp_configs (customer_id, host, from_email) VALUES (%(c)s, 'mail.example', 'a@b.example')",
            {"c": customer},
        )
    connection.exec_driver_sql(
        "UPDATE smtp_breakers SET proven = %(p)s WHERE server_id ="
        " coalesce((SELECT id FROM smtp_configs WHERE customer_id = %(c)s), 0)",
        {"c": customer, "p": proven},
    )
    event = add_event(connection, customer)
    for _ in range(mails):
        add_mail(connection, customer, event)
    wake(connection, customer)
    return customer


_SPOIL = """
CREATE FUNCTION refuse_this_row() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'row %% cannot be written', OLD.id USING ERRCODE = TG_ARGV[0]; END $$;
CREATE TRIGGER refuse_this_row BEFORE UPDATE ON notification_events FOR EACH ROW WHEN (OLD.id = ANY ('{{{ids}}}'))
EXECUTE FUNCTION refuse_this_row('{state}')
"""


def spoil(connection: Connection, *mails: int, state: str = "XX001") -> None:
    """Let no update of these rows succeed, as if their page were damaged or a constraint forbade it."""
    statement = _SPOIL.format(ids=",".join(map(str, mails)), state=state)
    connection.exec_driver_sql(statement, {"none": None})


def mend(connection: Connection) -> None:
    """Let the rows that were spoiled be written again."""
    connection.exec_driver_sql("DROP FUNCTION refuse_this_row CASCADE")


def new_event(customer: int, event_id: str, content: bytes = b"one", *, mails: int = 1) -> inbox.NewEvent:
    """An event as the intake hands it to the store; its mails are of the users 0, 1, …"""
    return inbox.NewEvent(
        customer_id=customer,
        source="webnet",
        event_id=event_id,
        event_type="job_failed",
        payload={"content": content.decode()},
        payload_sha256=content.ljust(32, b"."),
        occurred_at=None,
        outcome="accepted",
        decisions={},
        job_id=1,
        compliance_result_id=None,
        trace_id=None,
        expire_after=86400.0,
        mails=tuple(
            inbox.NewMail(
                user_id=user,
                recipient_email=f"user{user}@example.org",
                recipient_key=f"user{user}@example.org",
                rule="role_default",
                subject=f"About {content.decode()}",
                message_id=f"<{customer}.{event_id}.{content.decode()}.{user}@example.org>",
                failure_reason=None,
                error=None,
            )
            for user in range(mails)
        ),
    )
