"""How templates are joined, inlined, compiled and fenced in."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import lxml.html
import pytest
from premailer import Premailer

from notifier import resources
from notifier.domain.bodies import UNSUBSCRIBE_PLACEHOLDER
from notifier.domain.errors import ConfigurationError, RenderError
from notifier.rendering import compose, engine, story
from notifier.rendering.checking import check
from notifier.rendering.compose import Sources
from notifier.rendering.language import load
from notifier.rendering.renderer import Renderer
from notifier.rendering.states import STATES
from notifier.rendering.telling import Telling
from notifier.rendering.themes import THEMES
from tests.golden.page import style_of
from tests.golden.states import CONTACT, SITE, samples

if TYPE_CHECKING:
    from pathlib import Path

    from tests.golden.states import Sample

TEMPLATES = resources.path("templates")
LANGUAGES = load(TEMPLATES / "locale")
PROVEN = [
    s for s in samples() if s.server is None and s.state in ("typical", "longest", "hostile", "partial")
]


def context(sample: Sample) -> dict[str, object]:
    told = Telling(
        language=LANGUAGES["en"],
        zone=ZoneInfo("UTC"),
        site=SITE,
        customer=sample.customer,
        product="Webnet",
    )
    return story.event_story(
        told, told, sample.document, contact=CONTACT, unsubscribe=True, for_own_templates=True
    ) | {
        "unsubscribe": ("Unsubscribe", "https://app.example.com/u/x"),
        "why": "You asked for it.",
    }


def shape(element: lxml.html.HtmlElement) -> object:
    """An element as values: blanks, quotes and the order of declarations do not count."""
    if not isinstance(element.tag, str):
        return re.sub(r"\s+", "", element.text or "")
    attributes = {name: value for name, value in element.attrib.items() if name != "style"}
    style = {
        key: re.sub(r"\s+", "", value).replace('"', "'")
        for key, value in style_of(element.get("style") or "").items()
    }
    text = "" if element.tag == "style" else " ".join((element.text or "").split())
    inside = [(shape(child), " ".join((child.tail or "").split())) for child in element]
    return element.tag, sorted(attributes.items()), sorted(style.items()), text, inside


@pytest.mark.parametrize("sample", PROVEN, ids=lambda sample: sample.name)
def test_inlining_once_gives_the_tree_of_inlining_every_page(sample: Sample) -> None:
    """Once is enough (docs/why.md, Mails): premailer on the template equals premailer on the rendered page."""
    colour = story.event_state(sample.document).colour
    sources = Sources(sample.mail_type, (TEMPLATES,))
    joined = compose.join("layout/page.html", sources, THEMES[colour])
    sentences = engine._sentences(LANGUAGES["en"])
    plain = engine.environment(html=True, is_safe=SITE.is_safe).from_string(joined)
    every_time = Premailer(
        plain.render(context(sample), **sentences), allow_network=False, disable_validation=True
    ).transform(pretty_print=False)
    pages = compose.inlined(compose.pages(sources, THEMES[colour]))
    once = engine.BuiltIn(sample.mail_type, pages, SITE.is_safe, LANGUAGES["en"])
    _, html = once.render(context(sample), LANGUAGES["en"])
    assert shape(lxml.html.document_fromstring(html)) == shape(lxml.html.document_fromstring(every_time))


def folder(tmp_path: Path, **changed: str) -> Path:
    """A copy of the built-in templates with some files replaced."""
    copy = tmp_path / "templates"
    shutil.copytree(TEMPLATES, copy)
    for name, text in changed.items():
        (copy / name).write_text(text, encoding="utf-8")
    return copy


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("{% if %}", r"joined line \d+"),
        ("{{ x | nope }}", "nope"),
        ("{% extends 'x' %}", "cannot be used"),
        ("{% include name %}", "cannot be used"),
        ('{% include "layout/missing.html" %}', "layout/missing.html is missing"),
        ('{% include "body.html" %}', "included inside itself"),
        ("x" * 140_000, "larger than"),
    ],
)
def test_a_broken_template_stops_the_start_by_name(tmp_path: Path, source: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        Renderer(folder(tmp_path, **{"job_failed/body.html": source}), SITE)


@pytest.mark.parametrize("css", [".x { color: $nope; }", ".x { color: $; }"])
def test_a_colour_that_is_not_there_stops_the_start(tmp_path: Path, css: str) -> None:
    with pytest.raises(ConfigurationError, match=r"styles\.css uses a colour"):
        Renderer(folder(tmp_path, **{"styles.css": css}), SITE)


def test_a_template_that_is_no_text_is_named(tmp_path: Path) -> None:
    copy = folder(tmp_path)
    (copy / "layout/page.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"page\.txt cannot be read"):
        Renderer(copy, SITE)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    copy = folder(tmp_path)
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (copy / "layout/foot.html").unlink()
    (copy / "layout/foot.html").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigurationError, match="points outside"):
        Renderer(copy, SITE)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ missing }}",
        "{{ facts.append(1) }}",
        "{{ range(1001) | list }}",
        "{{ lipsum(n=5) }}",
        "{{ 1 / 0 }}",
        "{{ gettext('%(nope)s') }}",
    ],
)
def test_what_the_sandbox_forbids_is_a_render_error(tmp_path: Path, source: str) -> None:
    """B43, B45, B46"""
    copy = folder(tmp_path, **{"job_failed/body.html": source})
    renderer = Renderer(copy, SITE)
    sample = next(s for s in PROVEN if s.mail_type == "job_failed")
    with pytest.raises(RenderError, match="template job_failed: "):
        renderer.body(sample.document, sample.customer, sample.reader, contact=None, unsubscribe=False)
    assert any("job_failed" in problem for problem in check(renderer))


def test_the_built_in_templates_have_nothing_to_complain_about() -> None:
    assert check(Renderer(TEMPLATES, SITE)) == []


def test_templates_get_plain_values_only() -> None:
    """B46: nothing in a context has methods that do anything."""

    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(entry) for key, entry in value.items())
        if isinstance(value, list | tuple):
            return all(plain(entry) for entry in value)
        return value is None or type(value) in (str, int, bool)

    assert all(plain(context(sample)) for sample in PROVEN)


def test_sentences_in_html_escape_their_values_and_nothing_twice(tmp_path: Path) -> None:
    copy = folder(
        tmp_path, **{"job_failed/body.html": "{{ ngettext('%(n)s <b>', '%(n)s %(x)s', 2, x='<&>') }}"}
    )
    sample = next(s for s in PROVEN if s.mail_type == "job_failed")
    body = Renderer(copy, SITE).body(
        sample.document, sample.customer, sample.reader, contact="<me>", unsubscribe=True
    )
    assert "2 &lt;&amp;&gt;" in body.html
    assert "Write to &lt;me&gt;." in body.html
    assert "Write to <me>." in body.text
    assert body.html.count(UNSUBSCRIBE_PLACEHOLDER) == body.text.count(UNSUBSCRIBE_PLACEHOLDER) == 1


def test_every_event_type_and_status_has_its_state() -> None:
    assert {mail_type for mail_type, _ in STATES} == {s.mail_type for s in samples()}
    assert {state.tag for state in STATES.values()} == {
        "Succeeded", "Failed", "Partial", "Violation", "Backup complete", "Backup partial", "Backup failed", "Test"
    }  # fmt: skip


def test_an_event_that_cannot_be_told_is_a_render_error() -> None:
    """Intake lets no such event through; if one comes all the same, its row ends, and the next mail goes out."""
    sample = next(s for s in PROVEN if s.mail_type == "job_failed")
    document = {**sample.document, "data": {"job": {"status": "failed"}}}
    with pytest.raises(RenderError, match="cannot be told"):
        Renderer(TEMPLATES, SITE).body(
            document, sample.customer, sample.reader, contact=None, unsubscribe=False
        )
