"""The sandboxed Jinja2 environments, and the templates of one mail compiled in them (B43-B46)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, Template, TemplateError, nodes, pass_eval_context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

from notifier.domain.errors import ConfigurationError, RenderError
from notifier.rendering import compose, filters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2.nodes import EvalContext, Node

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


class BuiltIn:
    """The built-in templates of one mail type in one state, its CSS inlined. Any number of threads may share it.

    They are compiled for a language when the first mail is written in it, for English at once. Raises
    ConfigurationError naming the template and the line.
    """

    def __init__(
        self, mail_type: str, pages: compose.Pages, is_safe: Callable[[str], bool], english: Language
    ) -> None:
        self._mail_type = mail_type
        self._pages = pages
        self._is_safe = is_safe
        self._spoken = {english.code: self._compile(english)}

    def render(self, context: Mapping[str, object], language: Language) -> tuple[str, str]:
        """Return the text and the HTML. Raises RenderError naming the template."""
        compiled = self._spoken.get(language.code)
        if compiled is None:
            compiled = self._spoken[language.code] = self._compile(language)
        return compiled.render(context, language)

    def _compile(self, language: Language) -> Compiled:
        return compile_pages(self._mail_type, self._pages, self._is_safe, language)


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


def compile_pages(
    mail_type: str, pages: compose.Pages, is_safe: Callable[[str], bool], language: Language | None = None
) -> Compiled:
    """Compile pages, joined and inlined, for any language, or for one whose sentences become constants; reads no file.

    Raises ConfigurationError naming the template and the line.
    """

    def compiled(name: str, source: str, *, html: bool) -> Template:
        return _compiled(f"{mail_type}/{name}", source, html=html, is_safe=is_safe, language=language)

    return Compiled(
        name=mail_type,
        html=compiled("body.html", pages.html, html=True),
        text=compiled("body.txt", pages.text, html=False),
    )


def compile_subject(mail_type: str, sources: Sources) -> Template:
    """Compile a built-in subject. Raises ConfigurationError naming the template and the line."""
    return _compiled(
        f"{mail_type}/subject.txt", sources.read("subject.txt"), html=False, is_safe=lambda _: False
    )


def _compiled(
    name: str, source: str, *, html: bool, is_safe: Callable[[str], bool], language: Language | None = None
) -> Template:
    env = environment(html=html, is_safe=is_safe)
    try:
        tree = env.parse(source)
        if language is not None:
            tree = _Spoken(language, html=html).visit(tree)
        return env.from_string(tree)
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


class _Spoken(NodeTransformer):
    """Puts constant sentences in place of calls of `gettext` that have no values to fill in."""

    def __init__(self, language: Language, *, html: bool) -> None:
        self._language = language
        self._html = html

    def visit_Call(self, node: nodes.Call) -> Node:  # noqa: N802 - the visitor's name for it
        """Return the sentence, or the call as it is."""
        self.generic_visit(node)
        match node:
            case nodes.Call(
                node=nodes.Name(name="gettext"),
                args=[nodes.Const(value=str(message))],
                kwargs=[],
                dyn_args=None,
            ):
                try:
                    sentence = self._language.gettext(message)
                except TEMPLATE_FAULTS:
                    return node  # a value is missing: the mail will say so
                return nodes.Const(Markup(sentence) if self._html else sentence, lineno=node.lineno)  # noqa: S704 - ours
        return node


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
        preformatted=filters.preformatted,
        multiline=filters.multiline,
        whole_numbers=filters.whole_numbers,
        soft=filters.soft,
        soft_addresses=filters.soft_addresses,
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
