"""The story of a job: success, failure, partial success, a scheduled backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.rendering.cleaning import cut, lines, one_line, words
from notifier.rendering.job_headlines import title
from notifier.rendering.job_results import counts, outcome, result_of, says
from notifier.rendering.language import duration
from notifier.rendering.telling import (
    LIST_LIMIT,
    VALUE_LIMIT,
    count,
    lines_of,
    part,
    parts,
    reading,
    said,
    sentence,
    text,
    when,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.rendering.telling import Link, Row, Telling

ERROR_LINES = 25
ERROR_CHARACTERS = 2000
_BRIEF = (6, 240)  # lines and characters of an error that leaves the button on the first screen of a phone


def preheader(t: Telling, event_type: str, job: Mapping[str, object]) -> str:
    """Return what the inbox shows beside the subject: the cause or the numbers."""
    total, done, _ = counts(job)
    took = _took(job)
    status = outcome(event_type, job)
    numbers = _done(t, event_type, total, done) if total and done is not None else ""
    if numbers and took and status != "failed":
        numbers = t.gettext("%(numbers)s in %(duration)s", numbers=numbers, duration=took)
    by = text(job, "requested_by", 60)
    started = t.gettext("Started by %(name)s.", name=by) if by else ""
    if status == "failed":
        cause = next(iter(lines_of(job.get("error"), max_lines=1)), "")
        return t.preheader((sentence(one_line(cause.removesuffix("…"), 80)), sentence(numbers), started))
    if status == "partial":
        return t.preheader((_who_failed(t, job), sentence(numbers), started))
    following = t.moment(job.get("next_run_at")) if event_type == "scheduled_backup_complete" else ""
    changed = count(job, "changed")
    differs = (
        t.ngettext("%(n)s configuration changed.", "%(n)s configurations changed.", changed)
        if changed is not None
        else ""
    )
    upcoming = t.gettext("Next run %(time)s.", time=following) if following else ""
    return t.preheader((sentence(numbers), differs, upcoming, started))


def _who_failed(t: Telling, job: Mapping[str, object]) -> str:
    broken = [d for d in parts(job, "devices") if result_of(d) == "failed" and says(d, "hostname")]
    failed = counts(job)[2] or len(broken)
    names = [text(device, "hostname", 40) for device in broken[:3]]
    if not failed:
        return ""
    if not names:
        return t.ngettext("%(n)s device failed.", "%(n)s devices failed.", failed)
    shown = ", ".join(names) + (" …" if failed > len(names) else ".")
    return t.ngettext(
        "%(n)s device failed: %(names)s", "%(n)s devices failed: %(names)s", failed, names=cut(shown, 70)
    )


def _took(job: Mapping[str, object]) -> str:
    start, end = when(job.get("started_at")), when(job.get("finished_at"))
    return duration((end - start).total_seconds()) if start and end and end >= start else ""


def facts(
    t: Telling, event_type: str, job: Mapping[str, object], *, headline: str
) -> tuple[list[Row], list[Row]]:
    """Return the facts that matter first, and for whom, by whom, when and where the job ran.

    What the event does not say is left out with its label; what the headline says is not said again.
    """
    result = _result_line(t, event_type, job)
    changed = count(job, "changed")
    first = said(
        (t.gettext("Job"), title(job)),
        (t.gettext("Result"), "" if result == headline else result),
        (t.gettext("Changed"), "" if changed is None else _configurations(t, changed)),
    )
    schedule = part(job, "schedule")
    size, number = count(job, "size_bytes"), count(schedule, "id")
    started = t.moment(job.get("started_at"))
    rest = said(
        (t.gettext("Schedule"), text(schedule, "name") or (f"#{number}" if number else "")),
        (t.gettext("Started by"), text(job, "requested_by")),
        (t.gettext("Requested"), "" if started else t.moment(job.get("requested_at"))),
        (t.gettext("Started"), started),
        (t.gettext("Finished"), t.moment(job.get("finished_at"))),
        (t.gettext("Duration"), _took(job)),
        (t.gettext("Size"), "" if size is None else t.language.size(size)),
        (t.gettext("Stored at"), text(job, "storage", VALUE_LIMIT)),
        (t.gettext("Next run"), t.moment(job.get("next_run_at"))),
    )
    return (first, t.whose() + rest) if rest else (first + t.whose(), [])


def _result_line(t: Telling, event_type: str, job: Mapping[str, object]) -> str:
    total, done, failed = counts(job)
    if not total:
        return ""
    if done is None:
        return t.ngettext("%(n)s device", "%(n)s devices", total)
    result = _done(t, event_type, total, done)
    if not failed:
        return result
    return t.gettext("%(result)s, %(failed)s failed", result=result, failed=t.language.number(failed))


def _done(t: Telling, event_type: str, total: int, done: int) -> str:
    """Return how many devices were done, in the words of what was to be done."""
    number = t.language.number(done)
    if event_type == "scheduled_backup_complete":
        return t.ngettext(
            "%(done)s of %(n)s device saved", "%(done)s of %(n)s devices saved", total, done=number
        )
    return t.ngettext("%(done)s of %(n)s device done", "%(done)s of %(n)s devices done", total, done=number)


def _configurations(t: Telling, changed: int) -> str:
    return t.ngettext("%(n)s configuration", "%(n)s configurations", changed)


def error(t: Telling, job: Mapping[str, object]) -> dict[str, object] | None:
    """Return the error and the end of the log, within the limits of a mail, and what was cut (B38)."""
    cause = job.get("error")
    excerpt = job.get("log_excerpt")
    shown, was_cut = lines(
        cause if isinstance(cause, str) else "", max_lines=ERROR_LINES, max_characters=ERROR_CHARACTERS
    )
    shown = shown if any(shown) else []
    left = ERROR_CHARACTERS - sum(len(line) + 1 for line in shown)
    log: list[str] = []
    if isinstance(excerpt, str) and len(shown) < ERROR_LINES and left > 0 and not was_cut:
        log, was_cut = lines(excerpt, max_lines=ERROR_LINES - len(shown), max_characters=left)
        log = log if any(log) and log != shown else []
    if not shown and not log:
        return None
    whole = count(job, "log_lines")
    note = ""
    if whole:
        note = (
            t.ngettext("Cut; the log has %(n)s line.", "Cut; the log has %(n)s lines.", whole)
            if was_cut
            else t.ngettext("The log has %(n)s line.", "The log has %(n)s lines.", whole)
        )
    elif was_cut:
        note = t.gettext("Cut; the job log has all of it.")
    brief = len(shown) <= _BRIEF[0] and sum(map(len, shown)) <= _BRIEF[1]
    return {"lines": shown, "log": log, "note": note, "brief": brief}


def devices(t: Telling, job: Mapping[str, object], *, only: str | None) -> dict[str, object] | None:
    """Return a table of devices, failed ones first, at most ten of them, and how many more there are.

    `only` is the one result to list, or None for all of them.
    """
    listed = [(result_of(device), device) for device in parts(job, "devices") if says(device, "hostname")]
    listed = [entry for entry in listed if only in (None, entry[0])]
    listed.sort(key=lambda entry: entry[0] != "failed")
    if not listed:
        return None
    rows = [_told(t, result, device, only) for result, device in listed[:LIST_LIMIT]]
    known = counts(job)[2] if only == "failed" else counts(job)[0]
    more = max(len(listed), known or 0) - len(rows)
    return {
        "rows": rows,
        "results": only is None,
        "more": t.ngettext("and %(n)s more device", "and %(n)s more devices", more) if more > 0 else "",
        "all": t.link("job", job_id=count(job, "id")),
        "column": t.gettext("Reason"),
    }


def _told(t: Telling, result: str, device: Mapping[str, object], only: str | None) -> tuple[str, str, str]:
    """Return a device's row; where all have one result, it stands in for a missing reason at most."""
    name, reason = text(device, "hostname"), text(device, "message", VALUE_LIMIT)
    if only is None:
        return name, _word(t, result, device), reason
    return name, "", reason or _word(t, result, device)


def _word(t: Telling, result: str, device: Mapping[str, object]) -> str:
    if result == "failed":
        return t.pgettext("device", "Failed")
    if result == "done":
        return t.pgettext("device", "Done")
    return words(text(device, "status", 24))


def notes(t: Telling, job: Mapping[str, object]) -> dict[str, object] | None:
    """Return the devices of a successful job that have something to say."""
    speaking = [device for device in parts(job, "devices") if says(device, "message")]
    table = devices(t, {"id": job.get("id"), "devices": speaking}, only=None)
    return {**table, "column": t.gettext("Note")} if table else None


def summary(t: Telling, job: Mapping[str, object]) -> dict[str, object] | None:
    """Return the job's own summary."""
    return reading(t, job.get("summary"), url=t.link("job", job_id=count(job, "id")))


def actions(t: Telling, event_type: str, job: Mapping[str, object]) -> tuple[Link | None, list[Link]]:
    """Return the button, and no further links: the job's page has the rest."""
    url = t.link("job", job_id=count(job, "id"))
    if url is None:
        return None, []
    if event_type == "scheduled_backup_complete" and outcome(event_type, job) == "success":
        return (t.gettext("Open the backup"), url), []
    if event_type == "job_success":
        return (t.gettext("Open job #%(number)s", number=job["id"]), url), []
    return (t.gettext("Open the job log"), url), []
