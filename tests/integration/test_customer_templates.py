"""A customer's own templates: what they may do, what they cannot, and that nobody goes without a mail."""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from notifier import resources
from notifier.domain.errors import ConfigurationError
from notifier.domain.mail import UNSUBSCRIBE_PLACEHOLDER
from notifier.rendering import brand, customer_sets
from notifier.rendering.checking import check
from notifier.rendering.customer_sets import CustomerSets, faults_of
from notifier.rendering.renderer import Renderer
from notifier.rendering.site import Customer, Reader
from tests.golden.states import SITE, samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from notifier.domain.mail import Body

FAILED = next(s for s in samples() if s.mail_type == "job_failed" and s.state == "typical")
READER = Reader(locale="en", timezone="UTC", rule="role_default")
OWN = '<p class="paragraph">Our own words: {{ headline }}</p>\n{% include "layout/button.html" %}\n'
ENDLESS = "".join(f"{{% for {name} in range(1000) %}}" for name in "abc") + "{% endfor %}" * 3


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    """A copy of the built-in templates, with room for customers."""
    copy = tmp_path / "templates"
    shutil.copytree(resources.path("templates"), copy)
    return copy


@pytest.fixture
def renderer(templates: Path) -> Iterator[Renderer]:
    found = Renderer(templates, SITE)
    yield found
    found.close()


def give(templates: Path, customer_id: int, name: str, text: str) -> None:
    path = templates / "customers" / str(customer_id) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def mail(renderer: Renderer, customer_id: int = 7) -> Body:
    customer = Customer(id=customer_id, name="Acme")
    return renderer.body(FAILED.document, customer, READER, contact="noc@smtp.example", unsubscribe=True)


def test_a_customers_body_stands_in_the_built_in_layout(templates: Path, renderer: Renderer) -> None:
    give(templates, 7, "job_failed/body.html", OWN)
    own, other = mail(renderer), mail(renderer, 8)
    assert "Our own words: Config backup #4812 failed on all 24 devices" in own.html
    assert own.note is None
    assert UNSUBSCRIBE_PLACEHOLDER in own.html
    assert own.text == other.text, "a part that was not replaced is the built-in one"
    assert "Our own words" not in other.html


def test_a_changed_file_is_used_without_a_restart(templates: Path, renderer: Renderer) -> None:
    give(templates, 7, "job_failed/body.html", OWN)
    mail(renderer)
    give(templates, 7, "job_failed/body.html", OWN.replace("Our own", "Our newest"))
    assert "Our newest words" in mail(renderer).html


def test_a_layout_file_changes_every_mail(templates: Path, renderer: Renderer) -> None:
    foot = (templates / "layout/foot.html").read_text(encoding="utf-8")
    give(templates, 7, "layout/foot.html", foot + '<p class="small">Acme Ltd, Hamburg</p>\n')
    assert "Acme Ltd, Hamburg" in mail(renderer).html
    server = next(s.server for s in samples() if s.server)
    assert server
    assert "Acme Ltd, Hamburg" in renderer.test_mail(server, Customer(id=7, name="Acme"))[1].html


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ ''.__class__ }}", "SecurityError"),
        ("{{ 'a' * 10**9 }}", "used"),
        ("{{ 'a'.center(10**9) }}", "used"),
        ("{{ 'a' * 10**6 }}", "wrote more than"),
        (ENDLESS, "took longer than|used up"),
        ("{{ lipsum(n=100000) }}", "UndefinedError"),
        ("{{ job.password }}", "UndefinedError"),
        ("{% include '../../../../etc/passwd' %}", "cannot be used"),
        ("{{ unclosed", "joined line"),
        ('<a href="{{ error.lines[0] }}">x</a>', "does not belong into a mail"),
        ('<a href="javascript:alert(1)">x</a>', "does not belong into a mail"),
        ("<script>1</script>", "<script> does not belong"),
        ('<p onclick="x">x</p>', "the attribute onclick"),
        ("\x07", "control characters"),
    ],
)
def test_a_broken_template_costs_two_seconds_at_most_and_the_built_in_mail_goes_out(
    templates: Path, source: str, reason: str
) -> None:
    """B43-B46; the row tells why by `Body.note`, and `notifier check` before that."""
    give(templates, 7, "job_failed/body.html", source)
    renderer = Renderer(templates, SITE)
    renderer.customers._workshop.ask({"templates": str(templates)} | _nothing())  # it has started
    began = time.monotonic()
    broken = mail(renderer)
    assert time.monotonic() - began < 2.5, "two seconds and the noise of a busy machine"
    built_in = mail(renderer, 8)
    renderer.close()
    assert (broken.text, broken.html) == (built_in.text, built_in.html)
    assert broken.note
    assert broken.note.startswith("the templates of customer 7 for job_failed")
    assert any(word in broken.note for word in reason.split("|"))
    assert built_in.note is None


def _nothing() -> dict[str, object]:
    return {"mail_type": 0, "context": 0, "theme": 0, "folders": 0, "site": 0}


def test_a_template_that_broke_a_limit_rests_for_a_minute(templates: Path, renderer: Renderer) -> None:
    """A queue of mails must not wait two seconds for each."""
    now = 1000.0
    renderer.customers = CustomerSets(templates, SITE, clock=lambda: now)
    give(templates, 7, "job_failed/body.html", ENDLESS)

    def seconds() -> float:
        began = time.monotonic()
        assert re.search("took longer|used up", mail(renderer).note or "")
        return time.monotonic() - began

    assert seconds() > 1
    assert seconds() < 0.5, "not tried again"
    now += 61
    assert seconds() > 1
    give(templates, 7, "job_failed/body.html", OWN)
    assert mail(renderer).note is None, "a change is tried at once"


def test_a_killed_workshop_is_replaced(templates: Path, renderer: Renderer) -> None:
    give(templates, 7, "job_failed/body.html", OWN)
    mail(renderer)
    process = renderer.customers._workshop._process
    assert process
    process.kill()
    process.wait()
    assert "Our own words" in mail(renderer).html


def test_a_brand_names_the_sender_the_subject_the_contact_and_the_colours(
    templates: Path, renderer: Renderer
) -> None:
    give(
        templates,
        7,
        "brand.toml",
        'name = "Acme NOC"\ncontact = "noc@acme.example"\nsubject = "{state}: {title} ({customer}) {nothing_else}"\n'
        '[colours]\nfailed = "#d32f2f"\nlink = "#0b57d0"\n'.replace(" {nothing_else}", ""),
    )
    body = mail(renderer)
    assert body.sender == "Acme NOC"
    assert "Write to noc@acme.example." in body.text
    assert "background-color:#d32f2f" in body.html
    assert "#c62828" not in body.html
    assert "color:#0b57d0" in body.html
    customer = Customer(id=7, name="Acme\r\nBcc: x@y")
    assert renderer.subject(FAILED.document, customer) == "Failed: Config backup #4812 (Acme Bcc: x@y)"
    assert body.note is None
    assert mail(renderer).html == body.html


def test_a_subject_pattern_runs_no_template_code(templates: Path, renderer: Renderer) -> None:
    give(templates, 7, "brand.toml", 'subject = "{{ 7*7 }} {state.__class__} {job_id}"')
    assert (
        renderer.subject(FAILED.document, Customer(id=7, name="Acme")) == "{ { 7*7 } } {state.__class__} 4812"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('nmae = "x"', "nmae is not known"),
        ("name = 7", "name must be a text"),
        (f'name = "{"x" * 65}"', "at most 64"),
        ('name = "a\\r\\nBcc: x"', "one printable line"),
        ('subject = "{password}"', "placeholders password"),
        ('[colours]\nfailed = "red"', "a colour such as"),
        ('[colours]\nfailed = "#ff9f00"', "contrast of 2.1 with white"),
        ('[colours]\nfailed = "#101010"', "dark view"),
        ('[colours]\nnope = "#101010"', "colours.nope is not known"),
        ('colours = "x"', "colours must be a table"),
        ("name = ", "Invalid value"),
        ('name = "x"\n' + "#" * 17_000, "larger than"),
    ],
)
def test_a_wrong_brand_is_named_and_not_used(
    templates: Path, renderer: Renderer, text: str, problem: str
) -> None:
    give(templates, 7, "brand.toml", text)
    body = mail(renderer)
    assert body.sender == "Webnet (Acme)"
    assert problem in (body.note or "")
    assert any(problem in named for named in check(renderer))
    with pytest.raises(ConfigurationError):
        brand.read(templates / "customers/7/brand.toml")


def test_check_names_misspelt_files_and_folders(templates: Path, renderer: Renderer) -> None:
    give(templates, 7, "job_fail/body.html", OWN)
    give(templates, 7, "README.md", "ours")
    (templates / "customers/acme").mkdir()
    named = check(renderer)
    assert [problem.partition("customers/")[2] for problem in named] == [
        "7/job_fail/body.html is not a file of a template set",
        "acme is not a customer's folder; its name must be the customer's id",
    ]


def test_what_a_customers_mail_must_not_be() -> None:
    page, link = "<html>", UNSUBSCRIBE_PLACEHOLDER
    assert faults_of(link, f'{page}<a href="{link}">x</a><a href="mailto:a@b">x</a>', unsubscribe=True) == []
    assert faults_of("x", page, unsubscribe=False) == []
    assert "empty" in faults_of(" ", page, unsubscribe=False)[0]
    assert "larger" in faults_of("x", page + "x" * 102_001, unsubscribe=False)[0]
    assert "unsubscribe link is missing" in faults_of("x", page + link, unsubscribe=True)[0]
    assert faults_of("x", page + '<a href="data:text/html,x">x</a>', unsubscribe=False)


def test_without_any_customers_folder_no_process_is_started(renderer: Renderer) -> None:
    assert mail(renderer).note is None
    assert renderer.customers.folders() == []
    assert renderer.customers._workshop._process is None


def test_a_workshop_that_hangs_is_ended(templates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(templates, 7, "job_failed/body.html", OWN)
    monkeypatch.setattr(customer_sets, "_START_SECONDS", 0.0)
    renderer = Renderer(templates, SITE)
    note = mail(renderer).note or ""
    assert "the process for customers' templates ended (no answer in time)" in note
    assert renderer.customers._workshop._process is None
