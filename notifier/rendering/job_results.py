"""How a job ended, read from its event, whatever the language: numbers, outcome, devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.rendering.telling import count, part, text

if TYPE_CHECKING:
    from collections.abc import Mapping

_RESULTS = {
    **dict.fromkeys(("failed", "failure", "error"), "failed"),
    **dict.fromkeys(("success", "succeeded", "ok", "done"), "done"),
}


def counts(job: Mapping[str, object]) -> tuple[int | None, int | None, int | None]:
    """Return how many devices there were, were done, and failed; None for what cannot be known."""
    targets = part(job, "targets")
    total, done, failed = count(targets, "total"), count(targets, "succeeded"), count(targets, "failed")
    if total is None and done is not None and failed is not None:
        total = done + failed
    if total is not None and done is None and failed is not None and failed <= total:
        done = total - failed
    if total is not None and failed is None and done is not None and done <= total:
        failed = total - done
    return total, done, failed


def outcome(event_type: str, job: Mapping[str, object]) -> object:
    """Return the status of a job; a backup that lacks devices is partial, whatever the event calls it."""
    status = job.get("status")
    if event_type == "scheduled_backup_complete" and status == "success":
        total, done, failed = counts(job)
        if failed or (total is not None and done is not None and done < total):
            return "partial"
    return status


def result_of(device: Mapping[str, object]) -> str:
    """Return `failed` or `done` for any word that means it, else the device's status as it stands."""
    status = device.get("status")
    return (
        (_RESULTS.get(status.strip().lower()) or text(device, "status").lower())
        if isinstance(status, str)
        else ""
    )


def says(device: Mapping[str, object], key: str) -> bool:
    """Tell whether a field has a text, without the cost of cleaning it: a job may list thousands of devices."""
    value = device.get(key)
    return isinstance(value, str) and bool(value.strip())
