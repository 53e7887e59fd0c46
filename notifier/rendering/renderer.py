"""Stored job events become subjects and bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import escape

from notifier.domain.bodies import Body, Both
from notifier.domain.errors import RenderError
from notifier.domain.headers import clean_header
from notifier.domain.vocabulary import MAIL_TYPES
from notifier.rendering import compose, filters, story, subjects
from notifier.rendering import language as languages
from notifier.rendering.brand import PLAIN
from notifier.rendering.compose import Sources
from notifier.rendering.customer_sets import CustomerSets
from notifier.rendering.engine import TEMPLATE_FAULTS, BuiltIn, compile_subject
from notifier.rendering.states import STATES
from notifier.rendering.telling import Telling, part
from notifier.rendering.themes import THEMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from notifier.domain.vocabulary import MailType
    from notifier.rendering.brand import Brand
    from notifier.rendering.compose import Pages
    from notifier.rendering.set_folder import CustomerSet
    from notifier.rendering.site import Customer, Reader, Site
    from notifier.rendering.states import Colour, State
    from notifier.rendering.story import ServerFacts

_KEPT_BRANDS = 1000  # compiled mails of branded customers kept in memory


class Renderer:
    """Every mail of one installation. Construction compiles and inlines all built-in templates.

    Raises ConfigurationError naming a template that is missing or broken. Any number of threads may share it.
    inline puts the CSS of pages into their tags. Customers' own templates run in another process, which starts with the
    first of them and ends with `close`.
    """

    def __init__(
        self,
        templates: Path,
        site: Site,
        *,
        inline: Callable[[Sequence[Pages]], Sequence[Pages]] = compose.all_inlined,
    ) -> None:
        self._templates = templates
        self._site = site
        self.languages = languages.load(templates / "locale")
        self.customers = CustomerSets(templates, site)
        self._branded: dict[tuple[MailType, Colour, tuple[tuple[str, str], ...]], BuiltIn] = {}
        looks = list(dict.fromkeys((mail_type, state.colour) for (mail_type, _), state in STATES.items()))
        pages = inline([self._pages(mail_type, colour, {}) for mail_type, colour in looks])
        self._mails = {
            look: self._compile(look[0], inlined) for look, inlined in zip(looks, pages, strict=True)
        }
        self._subjects = {
            mail_type: compile_subject(mail_type, Sources(mail_type, (templates,)))
            for mail_type in MAIL_TYPES
        }

    def close(self) -> None:
        """End the process for customers' templates, if it runs."""
        self.customers.close()

    def subject(self, document: Mapping[str, object], customer: Customer) -> str:
        """Return the subject of an event's mail, as it is stored at intake; no customer template code runs."""
        own = self._brand(self.customers.of(customer.id))
        tag = subjects.tag(story.event_state(document), part(part(document, "data"), "job"))
        if own.subject:
            shown = subjects.values(
                document,
                customer=customer.name,
                product=own.name or self._site.product,
                environment=self._site.environment,
            )
            return subjects.fill(own.subject, {**shown, "state": tag})
        title = subjects.title(document)
        base = subjects.base(title, customer.name)
        return self._subject(story.event_type_of(document), tag=tag, base=base, title=title)

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

        With `unsubscribe` the body has a place for the personal link (UNSUBSCRIBE_PLACEHOLDER). Unless the customer has
        templates of its own it is the same for every rule of the reader, and has a place for the reason.
        """
        own = self.customers.of(customer.id)
        look = self._brand(own)
        told = self._telling(customer, look, reader.locale, reader.timezone)
        english = self._telling(customer, look, languages.ENGLISH, reader.timezone)
        event_type = story.event_type_of(document)
        try:
            context = story.event_story(
                told,
                english,
                document,
                contact=look.contact or contact,
                unsubscribe=unsubscribe,
                for_own_templates=own is not None and event_type in own.mail_types,
            )
        except TEMPLATE_FAULTS as exc:
            raise RenderError(f"the event cannot be told: {type(exc).__name__}: {exc}") from exc
        reasons = story.reasons(told, event_type)
        text, html, note, shared = self._rendered(
            event_type, story.event_state(document), own, context, told, why=reasons[reader.rule]
        )
        return Body(
            text=text,
            html=html,
            language=told.language.code,
            sender=self._sender(customer, look),
            list_name=story.list_name(told, event_type),
            severity=story.severity(document),
            note=note,
            reasons={rule: Both(filters.wrap(why), str(escape(why))) for rule, why in reasons.items()}
            if shared
            else {},
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
        own = self.customers.of(customer.id)
        look = self._brand(own)
        state = STATES["test", ""]
        told = self._telling(customer, look, customer.locale, timezone or customer.timezone)
        context = story.server_story(told, facts, contact=look.contact or contact)
        text, html, note, _ = self._rendered("test", state, own, context, told, why=str(context["why"]))
        title = story.test_title(told)
        return self._subject("test", tag=state.tag, base=title, title=title), Body(
            text=text,
            html=html,
            language=told.language.code,
            sender=self._sender(customer, look),
            list_name="",
            severity=state.severity,
            note=note,
        )

    def _rendered(
        self,
        mail_type: MailType,
        state: State,
        own: CustomerSet | None,
        context: Mapping[str, object],
        told: Telling,
        *,
        why: str,
    ) -> tuple[str, str, str | None, bool]:
        """Return text, HTML, why they are the built-in ones although the customer has a set, and whether they are.

        A customer's own templates may do anything with the reason, so they get it itself.
        """
        look = self._brand(own)
        note = own.problem if own else None
        if own and mail_type in own.mail_types:
            theme = {**THEMES[state.colour], **look.theme(state.colour)}
            try:
                text, html = self.customers.render(
                    told.customer.id,
                    own,
                    mail_type,
                    theme=theme,
                    context={**context, "why": why},
                    language=told.language.code,
                )
            except RenderError as exc:
                note = f"{exc}; the built-in mail is used instead"
            else:
                return text, html, note, False
        built_in = self._built_in(mail_type, state.colour, look.theme(state.colour))
        return (*built_in.render(context, told.language), note, True)

    def _built_in(self, mail_type: MailType, colour: Colour, own_theme: dict[str, str]) -> BuiltIn:
        if not own_theme:
            return self._mails[mail_type, colour]
        key = (mail_type, colour, tuple(sorted(own_theme.items())))
        known = self._branded.get(key)
        if known is None:
            if len(self._branded) >= _KEPT_BRANDS:
                self._branded.clear()
            inlined = compose.inlined(self._pages(mail_type, colour, own_theme))
            known = self._branded[key] = self._compile(mail_type, inlined)
        return known

    def _pages(self, mail_type: MailType, colour: Colour, own_theme: Mapping[str, str]) -> Pages:
        return compose.pages(Sources(mail_type, (self._templates,)), {**THEMES[colour], **own_theme})

    def _compile(self, mail_type: MailType, inlined: Pages) -> BuiltIn:
        return BuiltIn(mail_type, inlined, self._site.is_safe, self.languages[languages.ENGLISH])

    def _subject(self, mail_type: MailType, **values: str) -> str:
        return clean_header(self._subjects[mail_type].render(values))

    def _telling(self, customer: Customer, look: Brand, locale: str, timezone: str) -> Telling:
        return Telling(
            language=languages.choose(self.languages, locale, customer.locale),
            zone=languages.zone(timezone, customer.timezone),
            site=self._site,
            customer=customer,
            product=look.name or self._site.product,
        )

    def _sender(self, customer: Customer, look: Brand) -> str:
        return look.name or f"{self._site.product} ({subjects.visible(customer.name)})"

    @staticmethod
    def _brand(own: CustomerSet | None) -> Brand:
        return own.brand if own else PLAIN
