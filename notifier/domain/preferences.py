"""What a notification preference may say (docs/contract.md), whichever way it comes in."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from notifier.domain.errors import InvalidAddress, InvalidInput
from notifier.domain.recipients import permitted_mailbox
from notifier.domain.vocabulary import EVENT_TYPES, MAX_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from notifier.domain.recipients import Rules
    from notifier.domain.vocabulary import Role

MAX_JOB_TYPES = 200
MAX_JOB_TYPE_LENGTH = 200
FIELDS = ("customer_id", "user_id", "event_type", "enabled", "email_address", "job_types")
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferenceRequest:
    """A preference as somebody wants it. `email_address` None: the user's own; no `job_types`: all."""

    customer_id: int
    user_id: int
    event_type: str
    enabled: bool = True
    email_address: str | None = None
    job_types: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[int, int, str]:
        """What there is one preference of."""
        return (self.customer_id, self.user_id, self.event_type)


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The user a preference is about, and whether he has access to its customer."""

    username: str
    role: Role
    has_access: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Writer:
    """Who writes: for these customers, and preferences with `only_user` for that user alone.

    The operator at the command line has no such limits: there a writer is None.
    """

    customer_ids: frozenset[int]
    only_user: int | None = None

    def check_customer(self, customer_id: int) -> None:
        """Raise InvalidInput for a customer of others; whether there is one is not told."""
        if customer_id not in self.customer_ids:
            raise InvalidInput({"customer_id": [f"there is no customer {customer_id} among yours"]})


def checked(
    request: PreferenceRequest, *, owner: Owner | None, rules: Rules, writer: Writer | None = None
) -> PreferenceRequest:
    """Return the request as it is stored: the address normalised, job types without repetition.

    owner is None when there is no such user, or none the writer may know of. Raises InvalidInput with every fault
    and its cure; a writer who may not write this preference at all learns nothing else.
    """
    _check_writer(request, writer)
    problems: dict[str, list[str]] = {}
    _check_owner(request, owner, problems)
    _check_event_type(request, owner, rules, problems)
    address = _check_address(request.email_address, rules, problems)
    job_types = tuple(dict.fromkeys(text.strip() for text in request.job_types))
    _check_job_types(job_types, problems)
    if problems:
        raise InvalidInput(problems)
    return replace(request, email_address=address, job_types=job_types)


def _check_writer(request: PreferenceRequest, writer: Writer | None) -> None:
    if writer is None:
        return
    writer.check_customer(request.customer_id)
    if writer.only_user is not None and request.user_id != writer.only_user:
        cure = f"your own preferences have user {writer.only_user}"
        raise InvalidInput({"user_id": [f"only admins write the preferences of others; {cure}"]})


def _check_owner(request: PreferenceRequest, owner: Owner | None, problems: dict[str, list[str]]) -> None:
    if owner is None:
        problems["user_id"] = [f"there is no user {request.user_id}"]
    elif not owner.has_access:
        cure = "the platform gives it by a row in customer_users"
        problems["user_id"] = [f"{owner.username} has no access to customer {request.customer_id}; {cure}"]


def _check_event_type(
    request: PreferenceRequest, owner: Owner | None, rules: Rules, problems: dict[str, list[str]]
) -> None:
    if request.event_type not in EVENT_TYPES:
        problems["event_type"] = [
            f"there is no event type {request.event_type!r}; choose one of {', '.join(EVENT_TYPES)}"
        ]
    elif owner is not None and request.event_type not in rules.types_for(owner.role):
        allowed = ", ".join(sorted(rules.types_for(owner.role))) or "nothing"
        text = (
            f"the role {owner.role} of {owner.username} may not receive {request.event_type}, only {allowed}"
        )
        problems["event_type"] = [f"{text}; recipients.role_event_types decides that"]


def _check_address(text: str | None, rules: Rules, problems: dict[str, list[str]]) -> str | None:
    if text is None or not text.strip():
        return None
    try:
        return permitted_mailbox(text, rules).address
    except InvalidAddress as exc:
        problems["email_address"] = [str(exc)]
        return None


def _check_job_types(job_types: tuple[str, ...], problems: dict[str, list[str]]) -> None:
    faults = []
    if len(job_types) > MAX_JOB_TYPES:
        faults.append(f"{len(job_types)} job types are too many; at most {MAX_JOB_TYPES} can be named")
    for text in job_types[:MAX_JOB_TYPES]:
        if not text:
            faults.append("a job type is empty; leave the list empty to get mails about all of them")
        elif len(text) > MAX_JOB_TYPE_LENGTH:
            faults.append(f"the job type {text[:40]}… is longer than {MAX_JOB_TYPE_LENGTH} characters")
        elif any(unicodedata.category(char)[0] == "C" for char in text):
            faults.append(f"the job type {text!r} contains a control character")
    if faults:
        problems["job_types"] = faults


def from_fields(fields: Mapping[str, object]) -> PreferenceRequest:
    """Read one line of an import: JSON values, or the texts of a CSV row (job types separated by `;`).

    `customer` and `user` stand for `customer_id` and `user_id` too. Raises InvalidInput with every fault.
    """
    named = {{"customer": "customer_id", "user": "user_id"}.get(k, k): v for k, v in fields.items()}
    problems: dict[str, list[str]] = {
        name: [f"unknown field; the fields are {', '.join(FIELDS)}"] for name in named if name not in FIELDS
    }
    customer_id = _read_id(named, "customer_id", problems)
    user_id = _read_id(named, "user_id", problems)
    event_type = named.get("event_type")
    if not isinstance(event_type, str) or not event_type:
        problems["event_type"] = [f"is missing; choose one of {', '.join(EVENT_TYPES)}"]
    address = named.get("email_address")
    if address is not None and not isinstance(address, str):
        problems["email_address"] = ["must be a text or null"]
    enabled = _read_switch(named.get("enabled"), problems)
    job_types = _read_list(named.get("job_types"), problems)
    if problems:
        raise InvalidInput(problems)
    return PreferenceRequest(
        customer_id=customer_id,
        user_id=user_id,
        event_type=cast("str", event_type),
        enabled=enabled,
        email_address=cast("str | None", address),
        job_types=job_types,
    )


def _read_id(named: Mapping[str, object], name: str, problems: dict[str, list[str]]) -> int:
    value = named.get(name)
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        value = int(value.strip()[:20])
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_ID:
        problems[name] = ["must be a whole number above 0"]
        return 0
    return value


def _read_switch(value: object, problems: dict[str, list[str]]) -> bool:
    if value is None or value == "":
        return True
    text = str(value).strip().lower()
    if text not in _YES | _NO:
        problems["enabled"] = ["must be true or false"]
    return text in _YES


def _read_list(value: object, problems: dict[str, list[str]]) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(";") if part.strip())
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return tuple(cast("Iterable[str]", value))
    problems["job_types"] = ["must be a list of texts"]
    return ()
