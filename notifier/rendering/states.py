"""The state of a mail: the tag of its subject, its word for people, its colour, and what kind of mail it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from notifier.rendering.telling import mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.domain.vocabulary import MailType

Colour = Literal["success", "partial", "failed", "violation", "test"]


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """One state. The tag stays English in every language: filter rules and threads are built on it.

    `colour` names the theme; `severity` is for filter rules; `label` is a message to translate.
    """

    tag: str
    label: str
    colour: Colour
    severity: str


STATES: Mapping[tuple[MailType, str], State] = {
    ("job_success", "success"): State(
        tag="Succeeded", label=mark("Succeeded"), colour="success", severity="info"
    ),
    ("job_failed", "failed"): State(tag="Failed", label=mark("Failed"), colour="failed", severity="error"),
    ("job_partial", "partial"): State(
        tag="Partial", label=mark("Partial"), colour="partial", severity="warning"
    ),
    ("compliance_violation", ""): State(
        tag="Violation", label=mark("Compliance violation"), colour="violation", severity="high"
    ),
    ("scheduled_backup_complete", "success"): State(
        tag="Backup complete", label=mark("Backup complete"), colour="success", severity="info"
    ),
    ("scheduled_backup_complete", "partial"): State(
        tag="Backup partial", label=mark("Backup partial"), colour="partial", severity="warning"
    ),
    ("scheduled_backup_complete", "failed"): State(
        tag="Backup failed", label=mark("Backup failed"), colour="failed", severity="error"
    ),
    ("test", ""): State(tag="Test", label=mark("Test mail"), colour="test", severity="info"),
}

# What a mail is about, as it ends the sentences of the footer and begins List-Id.
TOPICS: Mapping[str, str] = {
    "job_success": mark("successful jobs"),
    "job_failed": mark("failed jobs"),
    "job_partial": mark("partly done jobs"),
    "compliance_violation": mark("compliance violations"),
    "scheduled_backup_complete": mark("scheduled backups"),
}


def state_of(mail_type: MailType, status: object) -> State:
    """Return the state of a mail; a backup's depends on the status of its job."""
    return STATES.get((mail_type, str(status))) or STATES[mail_type, ""]
