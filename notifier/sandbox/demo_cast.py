"""The demo's cast and plot: two customers, their users and preferences, the events, and how each must end."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier import resources
from notifier.domain.preferences import PreferenceRequest
from notifier.domain.vocabulary import EVENT_TYPES

if TYPE_CHECKING:
    from notifier.domain.vocabulary import EventType, FailureReason, Role, Rule, Status

REFUSING = "george@acme.example"
GREYLISTING = "grace@acme.example"
USERNAME = "demo"
PASSWORD = "correct horse, demo staple"  # noqa: S105 - of an inbox that lives as long as the demo


@dataclass(frozen=True, kw_only=True, slots=True)
class Company:
    """A customer; its mail server is the inbox."""

    id: int
    name: str
    locale: str
    timezone: str
    from_email: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """A user with access to one customer."""

    id: int
    username: str
    role: Role
    customer_id: int
    email: str
    is_active: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedRow:
    """How one mail must end in the event log."""

    event_type: EventType
    address: str
    rule: Rule
    shows: str
    status: Status = "sent"
    failure_reason: FailureReason | None = None
    attempts: int = 1
    smtp_code: int = 250

    @property
    def key(self) -> tuple[str, str]:
        """Which mail: event type and address."""
        return (self.event_type, self.address)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedSilence:
    """A user who gets no mail of an event. rule None: he is not even considered, so no decision names him."""

    event_type: EventType
    username: str
    rule: Rule | None
    shows: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One event as it is published; `event_type` None: the malformed one, always the last."""

    event_type: EventType | None
    event_id: str
    routing_key: str
    body: bytes

    @property
    def sha256(self) -> bytes:
        """What rejected_events knows a body by."""
        return hashlib.sha256(self.body).digest()


COMPANIES = (
    Company(
        id=1,
        name="Acme Networks",
        locale="en",
        timezone="Europe/London",
        from_email="notifications@acme.example",
    ),
    Company(
        id=2,
        name="Nordwind Logistik",
        locale="de",
        timezone="Europe/Berlin",
        from_email="meldungen@nordwind.example",
    ),
)

PEOPLE = (
    Person(id=1, username="anna", role="admin", customer_id=1, email="anna@acme.example"),
    Person(id=2, username="dora", role="admin", customer_id=1, email="dora@acme.example"),
    Person(id=3, username="oscar", role="operator", customer_id=1, email="oscar@acme.example"),
    Person(id=4, username="george", role="operator", customer_id=1, email=REFUSING),
    Person(id=5, username="grace", role="operator", customer_id=1, email=GREYLISTING),
    Person(id=6, username="vera", role="viewer", customer_id=1, email="vera@acme.example"),
    Person(id=7, username="ivan", role="admin", customer_id=1, email="ivan@acme.example", is_active=False),
    Person(id=8, username="nora", role="admin", customer_id=2, email="nora@nordwind.example"),
    Person(id=9, username="paul", role="operator", customer_id=2, email="noc@nordwind.example"),
    Person(id=10, username="otto", role="operator", customer_id=2, email="noc@nordwind.example"),
    Person(id=11, username="lena", role="viewer", customer_id=2, email="lena@nordwind.example"),
)
_BY_NAME = {person.username: person for person in PEOPLE}


def _wants(username: str, event_type: EventType, **choice: object) -> PreferenceRequest:
    person = _BY_NAME[username]
    return PreferenceRequest(
        user_id=person.id,
        customer_id=person.customer_id,
        event_type=event_type,
        **choice,  # type: ignore[arg-type]
    )


PREFERENCES = (
    _wants("anna", "compliance_violation", email_address="security@acme.example"),
    _wants("dora", "job_failed", enabled=False),
    _wants("oscar", "job_failed", job_types=("config_backup",)),
    _wants("oscar", "job_success", job_types=("config_deploy_commit",)),
    _wants("george", "job_failed"),
    _wants("grace", "job_success"),
    _wants("vera", "job_success"),
    _wants("vera", "compliance_violation"),
    _wants("ivan", "job_failed"),
    _wants("nora", "job_partial"),
    _wants("nora", "scheduled_backup_complete"),
    _wants("paul", "job_partial"),
    _wants("otto", "job_partial"),
    _wants("lena", "scheduled_backup_complete"),
)

ROWS = (
    ExpectedRow(
        event_type="job_success",
        address="vera@acme.example",
        rule="preference_enabled",
        shows="a viewer who asked for it",
    ),
    ExpectedRow(
        event_type="job_success",
        address=GREYLISTING,
        rule="preference_enabled",
        attempts=2,
        shows="greylisted once (451), accepted at the second attempt",
    ),
    ExpectedRow(
        event_type="job_failed",
        address="anna@acme.example",
        rule="role_default",
        shows="an admin without a preference; the event came twice, the mail once",
    ),
    ExpectedRow(
        event_type="job_failed",
        address="oscar@acme.example",
        rule="preference_enabled",
        shows="an operator who wants backups only",
    ),
    ExpectedRow(
        event_type="job_failed",
        address=REFUSING,
        rule="preference_enabled",
        status="failed",
        failure_reason="permanent_smtp",
        smtp_code=550,
        shows="the mailbox does not exist (550): not tried again",
    ),
    ExpectedRow(
        event_type="compliance_violation",
        address="security@acme.example",
        rule="preference_enabled",
        shows="anna has these sent to another address",
    ),
    ExpectedRow(
        event_type="compliance_violation",
        address="vera@acme.example",
        rule="preference_enabled",
        shows="viewers may have compliance results",
    ),
    ExpectedRow(
        event_type="job_partial",
        address="nora@nordwind.example",
        rule="preference_enabled",
        shows="another customer: in German, times of Berlin",
    ),
    ExpectedRow(
        event_type="job_partial",
        address="noc@nordwind.example",
        rule="preference_enabled",
        shows="two users share the mailbox: one mail",
    ),
    ExpectedRow(
        event_type="scheduled_backup_complete",
        address="nora@nordwind.example",
        rule="preference_enabled",
        shows="an admin who asked for it",
    ),
    ExpectedRow(
        event_type="scheduled_backup_complete",
        address="lena@nordwind.example",
        rule="preference_enabled",
        shows="a viewer who asked for it",
    ),
)

SILENCES = (
    ExpectedSilence(
        event_type="job_failed", username="dora", rule="preference_disabled", shows="an admin who opted out"
    ),
    ExpectedSilence(
        event_type="job_success",
        username="oscar",
        rule="job_type_filtered",
        shows="wants deployments only, this was a backup",
    ),
    ExpectedSilence(
        event_type="job_partial", username="otto", rule="same_address", shows="shares paul's mailbox"
    ),
    ExpectedSilence(event_type="job_failed", username="ivan", rule=None, shows="is not active any more"),
)

REJECTION = "bad_json"
_MARK = "demo-"


def person(username: str) -> Person:
    """Return one of the cast."""
    return _BY_NAME[username]


def shows(event_id: str, key: tuple[str, str]) -> str | None:
    """Return what the mail `key` of an event is there to show; None for events that are not of the demo."""
    if not event_id.startswith(_MARK):
        return None
    return next((row.shows for row in ROWS if row.key == key), None)


def samples(mark: str) -> tuple[Sample, ...]:
    """Return this run's events in the order they are published; `mark` makes their ids new.

    The failed job comes twice, as after a publisher's retry; the last is cut off in the middle.
    """
    found = []
    for event_type in EVENT_TYPES:
        path = resources.path(f"docs/events/{event_type}.json")
        document = json.loads(path.read_text(encoding="utf-8"))
        document["id"] = f"{_MARK}{mark}-{event_type}"
        found.append(
            Sample(
                event_type=event_type,
                event_id=document["id"],
                routing_key=f"{event_type}.{document['data']['customer_id']}",
                body=json.dumps(document, ensure_ascii=False).encode(),
            )
        )
    failed = next(sample for sample in found if sample.event_type == "job_failed")
    cut_off = Sample(
        event_type=None,
        event_id=f"{_MARK}{mark}-malformed",
        routing_key=failed.routing_key,
        body=failed.body.replace(failed.event_id.encode(), f"{_MARK}{mark}-malformed".encode())[:200],
    )
    return (*found, failed, cut_off)
