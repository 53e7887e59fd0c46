"""Notification preferences as they are sent and answered (docs/api.md)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, ValidationError

from notifier.api.problems import field_problems
from notifier.api.shapes import Answer, Body, Id, PageOf, PatchBody, Text
from notifier.domain.errors import InvalidInput
from notifier.domain.preferences import PreferenceRequest
from notifier.domain.vocabulary import EventType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.store.preferences import StoredPreference

Address = Annotated[Text | None, Field(description="Instead of the user's own address; null: that one.")]
JobTypes = Annotated[list[Text] | None, Field(description="Only jobs of these types; null or empty: all.")]
Switch = Annotated[bool, Field(description="false: no mails of this type, also none by role.")]

_READ_ONLY = Body.read_only | {"customer_name", "username"}


class PreferenceWrite(Body):
    """A whole preference: what is left out gets its default."""

    read_only: ClassVar[frozenset[str]] = _READ_ONLY

    user: Id
    customer: Id
    event_type: EventType
    enabled: Switch = True
    email_address: Address = None
    job_types: JobTypes = None

    def request(self) -> PreferenceRequest:
        """Return it as the domain knows it."""
        return PreferenceRequest(
            customer_id=self.customer,
            user_id=self.user,
            event_type=self.event_type,
            enabled=self.enabled,
            email_address=self.email_address,
            job_types=tuple(self.job_types or ()),
        )


class PreferencePatch(PatchBody):
    """Some of a preference; what is left out stays."""

    read_only: ClassVar[frozenset[str]] = _READ_ONLY

    user: Id = 1
    customer: Id = 1
    event_type: EventType = "job_failed"
    enabled: Switch = True
    email_address: Address = None
    job_types: JobTypes = None

    def over(self, stored: StoredPreference) -> PreferenceRequest:
        """Return the stored preference with what was sent in place."""
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        names = {"user": "user_id", "customer": "customer_id"}
        given = {names.get(name, name): value for name, value in given.items()}
        if "job_types" in given:
            given["job_types"] = tuple(given["job_types"] or ())
        before: dict[str, Any] = {
            "customer_id": stored.customer_id,
            "user_id": stored.user_id,
            "event_type": stored.event_type,
            "enabled": stored.enabled,
            "email_address": stored.email_address,
            "job_types": stored.job_types,
        }
        return PreferenceRequest(**(before | given))


def read_line(fields: Mapping[str, object]) -> PreferenceRequest:
    """Read one line of a bulk write as strictly as a single one. Raises InvalidInput with every fault."""
    try:
        return PreferenceWrite.model_validate(fields).request()
    except ValidationError as exc:
        problems = field_problems([dict(error) for error in exc.errors(include_input=False)])
        raise InvalidInput({name: _sentences(texts) for name, texts in problems.items()}) from None


def _sentences(texts: object) -> list[str]:
    return texts if isinstance(texts, list) else [str(texts)]


class Preference(Answer):
    """What a user wants to get of one customer and event type."""

    id: int
    user: int
    username: str
    customer: int
    customer_name: str
    event_type: EventType
    enabled: bool
    email_address: str | None
    job_types: list[str]
    created_at: datetime
    updated_at: datetime


class PreferencePage(PageOf[Preference]):
    """One page of preferences."""


class Saved(Answer):
    """How many preferences were written."""

    saved: int


def shown(stored: StoredPreference) -> Preference:
    """Return a preference as it is answered."""
    return Preference(
        id=stored.id,
        user=stored.user_id,
        username=stored.username,
        customer=stored.customer_id,
        customer_name=stored.customer_name,
        event_type=stored.event_type,
        enabled=stored.enabled,
        email_address=stored.email_address,
        job_types=list(stored.job_types),
        created_at=stored.created_at,
        updated_at=stored.updated_at,
    )
