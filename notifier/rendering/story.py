"""One stored event becomes the context of its templates: plain text, numbers and lists, nothing else (B46).

The story decides what is said (headline, facts, links, in which order), the templates how it looks; HTML and text
get the same context, so they say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from notifier.domain.bodies import REASON_PLACEHOLDER, UNSUBSCRIBE_PLACEHOLDER
from notifier.rendering import compliance_story, job_headlines, job_results, job_story, subjects
from notifier.rendering.cleaning import one_line
from notifier.rendering.states import TOPICS, state_of
from notifier.rendering.telling import Telling, mark, part, said

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from notifier.domain.vocabulary import EventType, Rule
    from notifier.rendering.states import State

_REASONS: dict[Rule, str] = {
    "role_default": mark(
        "You get this mail because mails about %(topic)s are on by default for your role at %(customer)s."
    ),
    "preference_enabled": mark(
        "You get this mail because you asked for mails about %(topic)s at %(customer)s."
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerFacts:
    """What a test mail says about the mail server it went through; `username` is shown masked."""

    host: str
    port: int
    use_tls: bool
    use_ssl: bool
    username: str | None
    from_email: str
    reply_to_email: str | None
    requested_by: str
    at: datetime


def event_state(document: Mapping[str, object]) -> State:
    """Return the state of an event's mail."""
    event_type = event_type_of(document)
    return state_of(event_type, job_results.outcome(event_type, part(part(document, "data"), "job")))


def event_type_of(document: Mapping[str, object]) -> EventType:
    """Return the event's type; the document was validated at intake, so it is one of the five."""
    event_type: EventType = document["type"]  # type: ignore[assignment] # validated at intake
    return event_type


def severity(document: Mapping[str, object]) -> str:
    """Return the severity for filter rules."""
    if event_type_of(document) == "compliance_violation":
        return compliance_story.severity_word(part(part(document, "data"), "compliance_result"))
    return event_state(document).severity


def event_story(
    t: Telling,
    english: Telling,
    document: Mapping[str, object],
    *,
    contact: str | None,
    unsubscribe: bool,
    for_own_templates: bool,
) -> dict[str, object]:
    """Return the context of an event's templates. `english` is the same telling in English.

    A customer's own templates get every table, the built-in ones what they show.

    `why` is a placeholder: the templates need not be rendered once more for every rule.
    """
    event_type = event_type_of(document)
    data = part(document, "data")
    job, result = part(data, "job"), part(data, "compliance_result")
    is_job = event_type != "compliance_violation"
    topic = t.gettext(TOPICS[event_type])
    told = (
        _job(t, event_type, job, for_own_templates=for_own_templates)
        if is_job
        else _violation(t, result, job)
    )
    return {
        **_shell(t, event_state(document), subjects.title(document)),
        **told,
        "why": REASON_PLACEHOLDER,
        "settings": t.link("preferences"),
        "unsubscribe": (
            (t.gettext("Unsubscribe from mails about %(topic)s", topic=topic), UNSUBSCRIBE_PLACEHOLDER)
            if unsubscribe
            else None
        ),
        "contact": one_line(contact) or None,
        "in_english": _in_english(english, document, unsubscribe=unsubscribe)
        if t.language.code != english.language.code
        else None,
    }


def reasons(t: Telling, event_type: EventType) -> dict[Rule, str]:
    """Return, for every rule that sends mails, the sentence that tells the reader of it."""
    topic = t.gettext(TOPICS[event_type])
    customer = one_line(t.customer.name, 120)
    return {rule: t.gettext(sentence, customer=customer, topic=topic) for rule, sentence in _REASONS.items()}


def list_name(t: Telling, event_type: EventType) -> str:
    """Return the readable part of List-Id: `Failed jobs at Acme`."""
    topic = t.gettext(TOPICS[event_type])
    name = t.gettext("%(topic)s at %(customer)s", topic=topic, customer=subjects.visible(t.customer.name))
    return name[:1].upper() + name[1:]


def server_story(t: Telling, facts: ServerFacts, *, contact: str | None) -> dict[str, object]:
    """Return the context of the test mail's templates."""
    customer = one_line(t.customer.name, 120)
    encryption = "TLS" if facts.use_ssl else "STARTTLS" if facts.use_tls else t.gettext("none")
    rows = [
        (t.gettext("Customer"), customer),
        (t.gettext("Mail server"), one_line(facts.host)),
        (t.gettext("Port"), str(facts.port)),
        (t.gettext("Encryption"), encryption),
        (t.gettext("Login"), _masked(one_line(facts.username))),
        (t.gettext("From"), one_line(facts.from_email)),
        (t.gettext("Reply to"), one_line(facts.reply_to_email)),
        (t.gettext("Requested by"), one_line(facts.requested_by)),
        (t.gettext("Sent"), t.language.moment(facts.at, t.zone)),
    ]
    secured = t.gettext("with TLS") if facts.use_ssl or facts.use_tls else t.gettext("without encryption")
    server = f"{one_line(facts.host)}:{facts.port}"
    return {
        **_shell(t, state_of("test", ""), test_title(t)),
        "headline": test_title(t),
        "preheader": t.preheader(
            (
                t.gettext(
                    "Sent through %(server)s %(secured)s. Nothing to do.", server=server, secured=secured
                ),
            )
        ),
        "facts": said(*rows),
        "more_facts": [],
        "button": None,
        "actions": [],
        "why": t.gettext("Sent because %(name)s pressed Test.", name=one_line(facts.requested_by)),
        "settings": None,
        "unsubscribe": None,
        "contact": one_line(contact) or None,
        "in_english": None,
    }


def test_title(t: Telling) -> str:
    """Return what a test mail says: `Mail settings for Acme work`."""
    return t.gettext("Mail settings for %(customer)s work", customer=subjects.fitting(t.customer.name, 40))


def _shell(t: Telling, state: State, title: str) -> dict[str, object]:
    label = t.gettext(state.label)
    customer = one_line(t.customer.name, 120)
    return {
        "lang": t.language.code,
        "direction": t.language.direction,
        "product": t.product,
        "customer": customer,
        "state": label,
        "title": title,
    }


_TABLES: dict[str, Callable[[Telling, Mapping[str, object]], object]] = {
    "failed_devices": partial(job_story.devices, only="failed"),
    "devices": partial(job_story.devices, only=None),
    "notes": job_story.notes,
}
_TABLE_OF: dict[str, str] = {  # in the built-in templates
    "job_success": "notes",
    "job_failed": "failed_devices",
    "job_partial": "devices",
    "scheduled_backup_complete": "failed_devices",
}


def _job(
    t: Telling, event_type: EventType, job: Mapping[str, object], *, for_own_templates: bool
) -> dict[str, object]:
    button, links = job_story.actions(t, event_type, job)
    total, done, _ = job_results.counts(job)
    headline = job_headlines.headline(t, event_type, job)
    facts, more = job_story.facts(t, event_type, job, headline=headline)
    return {
        "headline": headline,
        "preheader": job_story.preheader(t, event_type, job),
        "facts": facts,
        "more_facts": more,
        "counted": total is not None and done is not None,
        "error": job_story.error(t, job),
        **{
            name: make(t, job)
            for name, make in _TABLES.items()
            if for_own_templates or name == _TABLE_OF[event_type]
        },
        "summary": job_story.summary(t, job),
        "button": button,
        "actions": links,
    }


def _violation(t: Telling, result: Mapping[str, object], job: Mapping[str, object]) -> dict[str, object]:
    button, links = compliance_story.actions(t, result, job)
    facts, more = compliance_story.facts(t, result, job)
    evidence = compliance_story.evidence(t, result)
    return {
        "headline": compliance_story.headline(t, result),
        "preheader": compliance_story.preheader(t, result),
        "facts": facts,
        "more_facts": more,
        "evidence": evidence,
        "evidence_brief": compliance_story.is_brief(evidence),
        "details": compliance_story.details(t, result, url=button[1] if button else None),
        "button": button,
        "actions": links,
    }


def _in_english(english: Telling, document: Mapping[str, object], *, unsubscribe: bool) -> str:
    """Say the result in English as well: teams share mailboxes and forward mails across languages."""
    choice = "Unsubscribe or change" if unsubscribe else "Change"
    data = part(document, "data")
    job, result = part(data, "job"), part(data, "compliance_result")
    event_type = event_type_of(document)
    topic = TOPICS[event_type]
    if event_type == "compliance_violation":
        return (
            f"In English: compliance violation. Device {compliance_story.device_name(result)} breaks policy "
            f"{compliance_story.policy_name(result)}. {choice} the notification settings for {topic} "
            "with the links above."
        )
    status = event_state(document).label
    parts = [f"In English: {status}.", f"{job_headlines.headline(english, event_type, job)}."]
    if job.get("status") == "failed":
        parts.append("The reason is above.")
    parts.append(f"{choice} the notification settings for {topic} with the links above.")
    return " ".join(parts)


def _masked(username: str) -> str:
    local, at, domain = username.partition("@")
    return f"{local[:1]}***{at}{domain}" if username else ""
