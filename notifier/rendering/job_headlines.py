"""The result of a job as one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.rendering.cleaning import words
from notifier.rendering.job_results import counts, outcome, result_of, says
from notifier.rendering.telling import parts, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.rendering.telling import Telling


def title(job: Mapping[str, object]) -> str:
    """Return the job's type and number: `Config backup #4812`."""
    return f"{words(str(job['type']))} #{job['id']}"


def headline(t: Telling, event_type: str, job: Mapping[str, object]) -> str:
    """Return the result as one sentence."""
    total, done, failed = counts(job)
    status = outcome(event_type, job)
    name = title(job)
    if event_type == "scheduled_backup_complete":
        return _backup_headline(t, name, status, total, done)
    if status == "partial":
        return _partial_headline(t, name, total, done, failed)
    if status == "failed":
        return _failed_headline(t, job, name, total, failed)
    if total and (done is None or done >= total):
        return t.ngettext(
            "%(job)s finished on %(n)s device", "%(job)s finished on all %(n)s devices", total, job=name
        )
    if total and done is not None:
        return t.ngettext(
            "%(job)s finished on %(done)s of %(n)s device",
            "%(job)s finished on %(done)s of %(n)s devices",
            total,
            job=name,
            done=t.language.number(done),
        )
    return t.gettext("%(job)s finished", job=name)


def _failed_headline(
    t: Telling, job: Mapping[str, object], name: str, total: int | None, failed: int | None
) -> str:
    broken = [device for device in parts(job, "devices") if result_of(device) == "failed"]
    if len(broken) == 1 and says(broken[0], "hostname") and (failed or total or 1) == 1:
        return t.gettext("%(job)s failed on %(device)s", job=name, device=text(broken[0], "hostname"))
    if total and failed is not None and 0 < failed < total:
        return t.ngettext(
            "%(job)s failed on %(failed)s of %(n)s device",
            "%(job)s failed on %(failed)s of %(n)s devices",
            total,
            job=name,
            failed=t.language.number(failed),
        )
    if total and failed is not None and failed >= total:
        return t.ngettext(
            "%(job)s failed on %(n)s device", "%(job)s failed on all %(n)s devices", total, job=name
        )
    return t.gettext("%(job)s failed", job=name)


def _partial_headline(t: Telling, name: str, total: int | None, done: int | None, failed: int | None) -> str:
    if total and done is not None and failed is not None:
        return t.ngettext(
            "%(done)s of %(n)s device done, %(failed)s failed",
            "%(done)s of %(n)s devices done, %(failed)s failed",
            total,
            done=t.language.number(done),
            failed=t.language.number(failed),
        )
    if failed:
        return t.ngettext(
            "%(job)s failed on %(n)s device, the others are done",
            "%(job)s failed on %(n)s devices, the others are done",
            failed,
            job=name,
        )
    return t.gettext("%(job)s is only partly done", job=name)


def _backup_headline(t: Telling, name: str, status: object, total: int | None, done: int | None) -> str:
    if status == "failed" and total and done is not None:
        return t.ngettext(
            "%(job)s failed: %(done)s of %(n)s device saved",
            "%(job)s failed: %(done)s of %(n)s devices saved",
            total,
            job=name,
            done=t.language.number(done),
        )
    if status == "failed":
        return t.gettext("%(job)s failed", job=name)
    if total and done is not None and done < total:
        return t.ngettext(
            "%(job)s saved %(done)s of %(n)s device",
            "%(job)s saved %(done)s of %(n)s devices",
            total,
            job=name,
            done=t.language.number(done),
        )
    if total and status == "success":
        return t.ngettext("%(job)s saved %(n)s device", "%(job)s saved all %(n)s devices", total, job=name)
    if status == "partial":
        return t.gettext("%(job)s saved only some of the devices", job=name)
    return t.gettext("%(job)s is complete", job=name)
