"""Stored job events become subjects and bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier.domain.headers import clean_header
from notifier.domain.mail import Body
from notifier.domain.vocabulary import MAIL_TYPES
from notifier.rendering import language as languages
from notifier.rendering import story, subjects
from notifier.rendering.compose import Sources
from notifier.rendering.engine import compile_mail, compile_subject
from notifier.rendering.states import STATES
from notifier.rendering.telling import Telling, part
from notifier.rendering.themes import THEMES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from notifier.rendering.language import Language
    from notifier.rendering.site import Customer, Reader, Site
    from notifier.rendering.story import ServerFacts


class Renderer:
    """Every mail of one installation. Construction compiles and inlines all built-in templates.

    Raises ConfigurationError naming a template that is missing or broken. Afterwards it only reads, so any number
    of threads may share it.
    """

    def __init__(self, templates: Path, site: Site) -> None:
        self._site = site
        self._languages = languages.load(templates / "locale")
        self._mails = {
            (mail_type, state.colour): compile_mail(
                mail_type, Sources(mail_type, (templates,)), THEMES[state.colour], site.is_safe
            )
            for (mail_type, _), state in STATES.items()
        }
        self._subjects = {
            mail_type: compile_subject(mail_type, Sources(mail_type, (templates,)))
            for mail_type in MAIL_TYPES
        }

    def subject(self, document: Mapping[str, object], customer: Customer) -> str:
        """Return the subject of an event's mail, as it is stored at intake; never customer template code."""
        event_type = story.event_type_of(document)
        tag = subjects.tag(story.event_state(document), part(part(document, "data"), "job"))
        title = subjects.title(document)
        base = subjects.base(title, customer.name)
        rendered = self._subjects[event_type].render(tag=tag, base=base, title=title)
        return clean_header(rendered)

    def body(
        self,
        document: Mapping[str, object],
        customer: Customer,
        reader: Reader,
        *,
        contact: str | None,
        unsubscribe: bool,
    ) -> Body:
        """Return what all recipients of this kind read. Raises RenderError.

        With `unsubscribe` the body has a place for the personal link (UNSUBSCRIBE_PLACEHOLDER).
        """
        told = self._telling(customer, reader.locale, reader.timezone)
        english = self._telling(customer, languages.ENGLISH, reader.timezone)
        event_type = story.event_type_of(document)
        context = story.event_story(
            told, english, document, rule=reader.rule, contact=contact, unsubscribe=unsubscribe
        )
        state = story.event_state(document)
        text, html = self._mails[event_type, state.colour].render(context, told.language)
        return Body(
            text=text,
            html=html,
            language=told.language.code,
            sender=self._sender(customer),
            list_name=story.list_name(told, event_type),
            severity=story.severity(document),
        )

    def test_mail(
        self,
        facts: ServerFacts,
        customer: Customer,
        *,
        timezone: str | None = None,
        contact: str | None = None,
    ) -> tuple[str, Body]:
        """Return subject and body of the mail that proves an SMTP server's settings. Raises RenderError."""
        told = self._telling(customer, customer.locale, timezone or customer.timezone)
        context = story.server_story(told, facts, contact=contact)
        text, html = self._mails["test", "test"].render(context, told.language)
        title = story.test_title(told)
        subject = self._subjects["test"].render(tag=STATES["test", ""].tag, base=title, title=title)
        return clean_header(subject), Body(
            text=text,
            html=html,
            language=told.language.code,
            sender=self._sender(customer),
            list_name="",
            severity=STATES["test", ""].severity,
        )

    def _telling(self, customer: Customer, locale: str, timezone: str) -> Telling:
        return Telling(
            language=languages.choose(self._languages, locale, customer.locale),
            zone=languages.zone(timezone, customer.timezone),
            site=self._site,
            customer=customer,
            product=self._site.product,
        )

    def _sender(self, customer: Customer) -> str:
        return f"{self._site.product} ({subjects.visible(customer.name)})"
