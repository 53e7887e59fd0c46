"""The story of a compliance violation: one device breaks one policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifier.rendering import job_headlines
from notifier.rendering.cleaning import one_line, words
from notifier.rendering.telling import count, lines_of, mark, part, reading, said, sentence, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.rendering.telling import Link, Row, Telling

_BRIEF_LINES, _BRIEF_CHARACTERS = 8, 240
_SEVERITIES = {
    "critical": mark("Critical"),
    "high": mark("High"),
    "medium": mark("Medium"),
    "low": mark("Low"),
    "info": mark("Info"),
}


def policy_name(result: Mapping[str, object]) -> str:
    """Return the policy's name, its number when the name is blank."""
    policy = part(result, "policy")
    return text(policy, "name") or f"#{policy.get('id')}"


def device_name(result: Mapping[str, object]) -> str:
    """Return the device's name, its number when the name is blank."""
    device = part(result, "device")
    return text(device, "hostname") or f"#{device.get('id')}"


def headline(t: Telling, result: Mapping[str, object]) -> str:
    """Return the violation as one sentence."""
    return t.gettext(
        "%(device)s breaks policy %(policy)s", device=device_name(result), policy=policy_name(result)
    )


def preheader(t: Telling, result: Mapping[str, object]) -> str:
    """Return severity, what was found and what was wanted."""
    severity = _severity(t, result)
    found, expected = (" ".join(lines_of(result.get(key))) for key in ("found", "expected"))
    rule = text(result, "rule")
    return t.preheader(
        (
            t.gettext("Severity: %(severity)s.", severity=severity) if severity else "",
            sentence(t.gettext("Found: %(value)s", value=one_line(found, 40))) if found else "",
            sentence(t.gettext("Expected: %(value)s", value=one_line(expected, 40))) if expected else "",
            sentence(t.gettext("Rule: %(rule)s", rule=one_line(rule, 60))) if rule else "",
        )
    )


def facts(t: Telling, result: Mapping[str, object], job: Mapping[str, object]) -> tuple[list[Row], list[Row]]:
    """Return the facts that matter first, and for whom, where, when and by which policy the device was checked.

    What the event does not say is left out with its label.
    """
    policy, device = part(result, "policy"), part(result, "device")
    name, address = device_name(result), text(device, "mgmt_ip")
    platform = " ".join(filter(None, (text(device, "vendor"), text(device, "platform"))))
    first = said(
        (t.gettext("Device"), f"{name} ({address})" if address else name),
        (t.gettext("Severity"), _severity(t, result)),
    )
    rest = said(
        *t.whose(),
        (t.gettext("Policy"), f"{policy_name(result)} (#{policy.get('id')})"),
        (t.gettext("Site"), text(device, "site")),
        (t.gettext("Platform"), platform),
        (t.gettext("Checked"), t.moment(result.get("detected_at"))),
        (t.gettext("Job"), job_headlines.title(job) if job else ""),
    )
    return first, rest


def evidence(t: Telling, result: Mapping[str, object]) -> list[tuple[str, list[str]]]:
    """Return rule, expected and found, each as a label and its lines."""
    rows = [
        (t.gettext("Rule"), lines_of(result.get("rule"))),
        (t.gettext("Expected"), lines_of(result.get("expected"))),
        (t.gettext("Found"), lines_of(result.get("found"))),
    ]
    return [(label, shown) for label, shown in rows if shown]


def is_brief(shown: list[tuple[str, list[str]]]) -> bool:
    """Tell whether the evidence leaves the button on the first screen of a phone."""
    lines = [line for _, part_of_it in shown for line in part_of_it]
    return len(lines) <= _BRIEF_LINES and sum(map(len, lines)) <= _BRIEF_CHARACTERS


def details(t: Telling, result: Mapping[str, object], *, url: str | None) -> dict[str, object] | None:
    """Return what else the check says; `url` is the page that has all of it."""
    return reading(t, result.get("details"), url=url)


def actions(
    t: Telling, result: Mapping[str, object], job: Mapping[str, object]
) -> tuple[Link | None, list[Link]]:
    """Return the button to the result and links to the device and the policy, where configured."""
    device, policy = part(result, "device"), part(result, "policy")
    device_id, policy_id = count(device, "id"), count(policy, "id")
    job_id = count(job, "id") or count(result, "job_id")
    wanted = [
        (
            t.gettext("Open the compliance result"),
            t.link(
                "compliance_result",
                compliance_result_id=count(result, "id"),
                device_id=device_id,
                policy_id=policy_id,
                job_id=job_id,
            ),
        ),
        (t.gettext("Open device %(name)s", name=device_name(result)), t.link("device", device_id=device_id)),
        (t.gettext("Open policy %(name)s", name=policy_name(result)), t.link("policy", policy_id=policy_id)),
    ]
    found = [(label, url) for label, url in wanted if url]
    return (found[0], found[1:]) if found else (None, [])


def severity_word(result: Mapping[str, object]) -> str:
    """Return the severity for filter rules: one known lower-case word."""
    given = text(result, "severity").lower()
    return given if given in _SEVERITIES else "high"


def _severity(t: Telling, result: Mapping[str, object]) -> str:
    given = text(result, "severity", 40)
    known = _SEVERITIES.get(given.lower())
    return t.gettext(known) if known else words(given)
