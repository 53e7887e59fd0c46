"""A customer's own templates: what they may do, what they cannot, and that nobody goes without a mail."""

from __future__ import annotations

import errno
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from notifier import resources
from notifier.domain.bodies import UNSUBSCRIBE_PLACEHOLDER
from notifier.domain.errors import ConfigurationError
from notifier.rendering import brand, customer_sets, workshop_process
from notifier.rendering.checking import check
from notifier.rendering.customer_sets import CustomerSets
from notifier.rendering.mail_faults import faults_of
from notifier.rendering.renderer import Renderer
from notifier.rendering.site import Customer, Reader
from notifier.rendering.themes import THEMES
from notifier.rendering.workshop_process import Workshop
from tests.golden.states import SITE, samples
from tests.support.descriptors import crowded
from tests.support.reference_mail import personal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from notifier.domain.bodies import Body

FAILED = next(s for s in samples() if s.mail_type == "job_failed" and s.state == "typical")
READER = Reader(locale="en", timezone="UTC", rule="role_default")
OWN = '<p class="paragraph">Our own words: {{ headline }}</p>\n{% include "layout/button.html" %}\n'
ENDLESS = "".join(f"{{% for {name} in range(1000) %}}" for name in "abc") + "{% endfor %}" * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the built-in templates."""
    copy = tmp_path_factory.mktemp("sets") / "templates"
    shutil.copytree(resources.path("templates"), copy)
    return copy


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Renderer]:
    """One renderer for all: it reads a customer's folder anew whenever something in it changed."""
    found = Renderer(folder, SITE)
    yield found
    found.close()


@pytest.fixture
def templates(folder: Path) -> Iterator[Path]:
    """The templates, without any customer's folder."""
    yield folder
    shutil.rmtree(folder / "customers", ignore_errors=True)


@pytest.fixture
def renderer(templates: Path, shared: Renderer, monkeypatch: pytest.MonkeyPatch) -> Renderer:
    assert not (templates / "customers").exists()
    monkeypatch.setattr(customer_sets, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(shared.customers, "_look_again", 0.0)
    return shared


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
    assert own.text == personal(other, UNSUBSCRIBE_PLACEHOLDER, READER.rule)[0], (
        "a part that was not replaced is the built-in one"
    )
    assert "Our own words" not in other.html


def test_a_changed_file_is_used_without_a_restart(templates: Path, renderer: Renderer) -> None:
    give(templates, 7, "job_failed/body.html", OWN)
    mail(renderer)
    give(templates, 7, "job_failed/body.html", OWN.replace("Our own", "Our newest"))
    assert "Our newest words" in mail(renderer).html


def test_a_new_folder_is_seen_within_a_second_and_a_lost_one_at_once(templates: Path) -> None:
    now = [1000.0]
    sets = CustomerSets(templates, SITE, clock=lambda: now[0])
    assert sets.of(7) is None
    give(templates, 7, "job_failed/body.html", OWN)
    now[0] += 1.0
    assert sets.of(7) is not None
    shutil.rmtree(templates / "customers")
    assert sets.of(7) is None


def test_a_folder_that_cannot_be_listed_for_a_moment_is_taken_as_it_was(
    templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(templates, 7, "job_failed/body.html", OWN)
    now = [1000.0]
    sets = CustomerSets(templates, SITE, clock=lambda: now[0])
    monkeypatch.setattr(
        CustomerSets, "folders", lambda _self: (_ for _ in ()).throw(OSError(errno.EMFILE, "many"))
    )
    now[0] += 1.0
    assert sets.of(7) is not None
    assert sets.of(8) is None
    sets.close()


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
        ("{{ '\\ud800' }}", "halves of characters"),
        ("<style>@import url(http://127.0.0.1/x);</style>", "@import"),
        ('<link rel="stylesheet" href="https://example.org/x.css">', "<link> does not belong"),
        ('<meta http-equiv="refresh" content="0;url=https://example.org">', "<meta http-equiv>"),
        ('<svg><a xlink:href="javascript:alert(1)">x</a></svg>', "a link to 'javascript"),
        ('<p formaction="javascript:alert(1)">x</p>', "a link to 'javascript"),
    ],
)
def test_a_broken_template_costs_two_seconds_at_most_and_the_built_in_mail_goes_out(
    templates: Path, renderer: Renderer, source: str, reason: str
) -> None:
    """B43-B46; the row tells why by `Body.note`, and `notifier check` before that."""
    give(templates, 7, "job_failed/body.html", source)
    renderer.customers._workshop.ask({"templates": str(templates)} | _nothing())  # it has started
    began = time.monotonic()
    broken = mail(renderer)
    assert time.monotonic() - began < 10, "two seconds, on a machine that does other things as well"
    built_in = mail(renderer, 8)
    assert (broken.text, broken.html) == (built_in.text, built_in.html)
    assert broken.note
    assert broken.note.startswith("the templates of customer 7 for job_failed")
    assert any(word in broken.note for word in reason.split("|"))
    assert built_in.note is None


def _nothing() -> dict[str, object]:
    return {"mail_type": 0, "context": 0, "theme": 0, "folders": 0, "site": 0}


def test_a_template_that_broke_a_limit_rests_for_a_minute(
    templates: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue of mails must not wait two seconds for each."""
    now = 1000.0
    monkeypatch.setattr(renderer, "customers", CustomerSets(templates, SITE, clock=lambda: now))
    give(templates, 7, "job_failed/body.html", ENDLESS)
    asked: list[object] = []
    ask = Workshop.ask

    def noted(workshop: Workshop, request: Mapping[str, object]) -> dict[str, object]:
        asked.append(request)
        return ask(workshop, request)

    monkeypatch.setattr(Workshop, "ask", noted)

    def times_tried() -> int:
        asked.clear()
        assert re.search("took longer|used up", mail(renderer).note or "")
        return len(asked)

    assert times_tried() == 1
    assert times_tried() == 0
    now += 61
    assert times_tried() == 1
    give(templates, 7, "job_failed/body.html", OWN)
    assert mail(renderer).note is None, "a change is tried at once"
    renderer.customers.close()


def test_a_killed_workshop_is_replaced(templates: Path, renderer: Renderer) -> None:
    give(templates, 7, "job_failed/body.html", OWN)
    mail(renderer)
    process = renderer.customers._workshop._process
    assert process
    process.kill()
    process.wait()
    assert "Our own words" in mail(renderer).html


def test_own_templates_are_used_however_many_files_the_worker_has_open(templates: Path) -> None:
    """A connection to a server is one: a thousand of them kept every customer from his own templates."""
    give(templates, 7, "job_failed/body.html", OWN)
    with crowded():
        renderer = Renderer(templates, SITE)
        body = mail(renderer)
        renderer.close()
    assert body.note is None
    assert "Our own words" in body.html


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
        (f"name = {'[' * 5000}{']' * 5000}", "nested too deeply"),
        ('name = "ceo@bank.example"', "must not look like an address"),
        ('name = "Bank <ceo@bank.example"', "must not look like an address"),
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


def test_a_brand_is_not_read_from_another_customers_folder(templates: Path, renderer: Renderer) -> None:
    give(templates, 8, "brand.toml", 'name = "Somebody else"')
    give(templates, 7, "README.md", "ours")
    (templates / "customers/7/brand.toml").symlink_to(templates / "customers/8/brand.toml")
    body = mail(renderer)
    assert body.sender == "Webnet (Acme)"
    assert "points outside its folder" in (body.note or "")


@pytest.mark.parametrize("start", ["@import", "@\\69mport"])
def test_no_style_makes_the_worker_fetch_anything(templates: Path, renderer: Renderer, start: str) -> None:
    """Cssutils follows @import; a customer could have the worker ask servers that only the worker reaches."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        give(templates, 7, "styles.css", f'{start} url("{address}");\n')
        assert "@import" in (mail(renderer).note or "")
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_template_in_the_workshop_can_open_no_file_and_no_socket(templates: Path) -> None:
    """Should a template ever get out of the sandbox, the kernel still stands in its way."""
    program = (
        "import json, socket, sys\n"
        "from notifier.rendering import workshop\n"
        "def tries(*_):\n"
        "    for name, attempt in (('file', lambda: open('/etc/hosts')), ('socket', socket.socket)):\n"
        "        try:\n"
        "            attempt()\n"
        "        except OSError as exc:\n"
        "            yield f'{name}: {exc.strerror}'\n"
        "def site(**_):\n"
        "    raise workshop.RenderError(', '.join(tries()))\n"
        "workshop.Site = site\n"
        "workshop.main()\n"
    )
    request = {
        "templates": str(templates),
        "folders": [str(templates)],
        "site": {"product": "x", "environment": "x", "base_url": "https://x.example", "links": {}},
        "mail_type": "test",
        "theme": dict(THEMES["test"]),
        "context": {},
        "language": "en",
    }
    answer = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(request).encode(), capture_output=True, check=True
    )
    assert json.loads(answer.stdout) == {"error": "file: Too many open files, socket: Too many open files"}


def test_what_a_customer_piles_up_costs_no_mail_its_time(templates: Path, renderer: Renderer) -> None:
    """A folder is looked at for every mail, at intake too: a thousand files in it must not count."""
    give(templates, 7, "brand.toml", 'name = "Acme NOC"')
    for number in range(1000):
        give(templates, 7, f"layout/{number}.html", "x")
        give(templates, 7, f"{number % 50}/{number}.html", "x")
    own = renderer.customers.of(7)
    assert own
    assert len(own.signature) == 202
    assert mail(renderer).note == f"{templates}/customers/7/layout has more than 200 files"
    assert len(check(renderer)) > 100


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


def test_without_any_customers_folder_no_process_is_started(templates: Path) -> None:
    renderer = Renderer(templates, SITE)
    assert mail(renderer).note is None
    assert renderer.customers.folders() == []
    assert renderer.customers._workshop._process is None


def test_a_workshop_that_hangs_is_ended(templates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(templates, 7, "job_failed/body.html", OWN)
    monkeypatch.setattr(workshop_process, "_START_SECONDS", 0.0)
    renderer = Renderer(templates, SITE)
    note = mail(renderer).note or ""
    assert "the process for customers' templates ended (no answer in time)" in note
    assert renderer.customers._workshop._process is None


def test_where_no_process_can_be_started_the_built_in_mail_goes_out(
    templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system call filter or a limit of processes forbids it: that is the sets' trouble, not the worker's."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    give(templates, 7, "job_failed/body.html", OWN)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    own = mail(Renderer(templates, SITE))
    assert "the process for customers' templates ended ([Errno 1] Operation not permitted)" in (
        own.note or ""
    )
    assert own.html == mail(Renderer(templates, SITE), 8).html
