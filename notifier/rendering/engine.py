"""The sandboxed Jinja2 environments, and the templates of one mail compiled in them (B43-B46)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, Template, TemplateError, pass_eval_context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from notifier.domain.errors import ConfigurationError, RenderError
from notifier.rendering import compose, filters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2.nodes import EvalContext

    from notifier.rendering.compose import Sources
    from notifier.rendering.language import Language

MAX_RANGE = 1000
# What a template, or an event nobody thought of, can raise; a mistake of ours that is none of these is a crash.
TEMPLATE_FAULTS = (
    TemplateError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)
_GLOBALS = ("lipsum", "cycler", "joiner", "namespace")


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """The templates of one mail type in one state."""

    name: str
    html: Template
    text: Template

    def render(self, context: Mapping[str, object], language: Language) -> tuple[str, str]:
        """Return the text and the HTML. Raises RenderError naming the template."""
        sentences = _sentences(language)
        try:
            text = filters.tidy(self.text.render(context, **sentences))
            return text, self.html.render(context, **sentences)
        except TEMPLATE_FAULTS as exc:
            raise RenderError(f"template {self.name}: {type(exc).__name__}: {exc}") from exc


def compile_mail(
    mail_type: str, sources: Sources, theme: Mapping[str, str], is_safe: Callable[[str], bool]
) -> Compiled:
    """Join, inline and compile the layout with the bodies of one mail type.

    Raises ConfigurationError naming the template and the line.
    """
    return compile_pages(mail_type, compose.pages(sources, theme), is_safe)


def compile_pages(mail_type: str, pages: compose.Pages, is_safe: Callable[[str], bool]) -> Compiled:
    """Inline and compile pages that were joined; reads no file. Raises ConfigurationError as `compile_mail`."""
    return Compiled(
        name=mail_type,
        html=_compiled(f"{mail_type}/body.html", compose.inline(pages.html), html=True, is_safe=is_safe),
        text=_compiled(f"{mail_type}/body.txt", pages.text, html=False, is_safe=is_safe),
    )


def compile_subject(mail_type: str, sources: Sources) -> Template:
    """Compile a built-in subject. Raises ConfigurationError naming the template and the line."""
    return _compiled(
        f"{mail_type}/subject.txt", sources.read("subject.txt"), html=False, is_safe=lambda _: False
    )


def _compiled(name: str, source: str, *, html: bool, is_safe: Callable[[str], bool]) -> Template:
    try:
        return environment(html=html, is_safe=is_safe).from_string(source)
    except TemplateError as exc:
        line = getattr(exc, "lineno", None)
        raise ConfigurationError([f"template {name}, joined line {line}: {exc}"]) from exc


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox that looks into a dict first: templates get dicts, whose attributes are no business of theirs."""

    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401 - as Jinja2 has it
        """Return an entry or a safe attribute, or something undefined."""
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def environment(*, html: bool, is_safe: Callable[[str], bool]) -> ImmutableSandboxedEnvironment:
    """Return an environment without a loader: everything a template includes was joined before."""
    env = _Environment(
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    for name in _GLOBALS:
        del env.globals[name]
    env.globals["range"] = _range
    env.filters.update(
        wrap=filters.wrap,
        indent=filters.indent,
        columns=filters.columns,
        listing=filters.listing,
        hard_spaces=filters.hard_spaces,
        soft=filters.soft,
        link=filters.safe_link(is_safe),
    )
    return env


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > MAX_RANGE:
        raise OverflowError(f"a template may count to {MAX_RANGE} at most")
    return found


def _sentences(language: Language) -> dict[str, Callable[..., str]]:
    """Return `gettext` and `ngettext` for templates; in HTML they escape the values, not the sentence."""

    @pass_eval_context
    def gettext(context: EvalContext, message: str, **values: object) -> str:
        if not context.autoescape:
            return language.gettext(message, **values)
        return Markup(language.gettext(message, **_escaped(values)))  # noqa: S704 - the values were escaped

    @pass_eval_context
    def ngettext(context: EvalContext, singular: str, plural: str, n: int, **values: object) -> str:
        if not context.autoescape:
            return language.ngettext(singular, plural, n, **values)
        return Markup(language.ngettext(singular, plural, n, **_escaped(values)))  # noqa: S704 - as above

    return {"gettext": gettext, "ngettext": ngettext}


def _escaped(values: Mapping[str, object]) -> dict[str, Markup]:
    return {name: escape(value) for name, value in values.items()}
