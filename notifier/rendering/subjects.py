"""Subjects: `[{state}] {job type} #{number} - {customer}`, the same after the tag in all mails about a job."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from notifier.domain.headers import clean_header
from notifier.rendering import job_results
from notifier.rendering.cleaning import clean, words
from notifier.rendering.compliance_story import device_name, policy_name
from notifier.rendering.telling import part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.rendering.states import State

# 78 characters in all, less the longest tag: what follows the tag must not depend on the tag, or threads break.
_BASE_LENGTH = 52
_TAG_LENGTH = 25
_SHORTEST_NAME = 12
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
PLACEHOLDERS = frozenset(
    {"state", "title", "job_type", "job_id", "policy", "device", "customer", "product", "environment"}
)


def tag(state: State, job: Mapping[str, object]) -> str:
    """Return the words in brackets, with the counts of a partial success."""
    total, done, _ = job_results.counts(job)
    if state.colour != "partial" or total is None or done is None:
        return state.tag
    counted = f"{state.tag} {done}/{total}"
    return counted if len(counted) <= _TAG_LENGTH else state.tag


def title(document: Mapping[str, object]) -> str:
    """Return what the mail is about, as all mails about it say it: the job, else the policy."""
    data = part(document, "data")
    job = part(data, "job")
    if job:
        kind, number = words(str(job["type"])), f" #{job['id']}"
    else:
        kind, number = policy_name(part(data, "compliance_result")), ""
    room = _BASE_LENGTH - _SHORTEST_NAME - 3 - len(number)
    return _cut(visible(kind), room) + number


def base(title_text: str, customer: str) -> str:
    """Return title and customer; the customer's name is cut first."""
    room = _BASE_LENGTH - len(title_text) - 3
    name = _cut(visible(customer), room)
    return f"{title_text} - {name}" if name else title_text


def fitting(name: str, length: int) -> str:
    """Return a name for a subject, cut to at most `length` characters."""
    return _cut(visible(name), length)


def fill(pattern: str, values: Mapping[str, str]) -> str:
    """Return a customer's own subject with its placeholders filled in; no template code runs here."""
    return clean_header(visible(_PLACEHOLDER.sub(lambda match: values.get(match[1], ""), pattern)))


def unknown_placeholders(pattern: str) -> list[str]:
    """Return the placeholders a subject pattern has and cannot have."""
    return sorted(set(_PLACEHOLDER.findall(pattern)) - PLACEHOLDERS)


def values(
    document: Mapping[str, object], *, customer: str, product: str, environment: str
) -> dict[str, str]:
    """Return what a customer's subject pattern may show, `state` apart."""
    data = part(document, "data")
    job, result = part(data, "job"), part(data, "compliance_result")
    return {
        "title": title(document),
        "job_type": words(str(job["type"])) if job else "",
        "job_id": str(job.get("id", "")),
        "policy": policy_name(result) if result else "",
        "device": device_name(result) if result else "",
        "customer": customer,
        "product": product,
        "environment": environment,
    }


@lru_cache(maxsize=1024)
def visible(text: str) -> str:
    """Return one line without escapes, controls and invisible characters (B25, B26)."""
    shown = clean("".join(c for c in text if unicodedata.category(c) != "Cf"))
    return clean_header(shown)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(0, length - 3)].rstrip() + "..."
