"""What every mail must be, in every state; the mails themselves are on file beside this test."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, cast

import pytest

from notifier.rendering.themes import contrast
from tests.golden import files
from tests.golden.build import Mail, build
from tests.golden.page import Page, dark_rules, style_of
from tests.golden.preview import main as write_preview
from tests.golden.states import BASE_URL, SETTINGS_LINK, UNSUBSCRIBE_LINK, Sample, samples

if TYPE_CHECKING:
    from email.message import EmailMessage
    from pathlib import Path

SAMPLES = list(samples())
LEFTOVERS = re.compile(
    r"\{\{|\}\}|\{%|%\}|\{#|#\}|(?<![\w.'\u2019])None(?![\w.'\u2019-])|\bundefined\b|\bNaN\b|object at 0x|%\(\w+\)s|"
    r"&(?:amp;)?(?:lt|gt|quot|#39|#34|amp|nbsp);|\ufffd|\bjob_(?:success|failed|partial)\b|"
    r"\bcompliance_violation\b|\bscheduled_backup_complete\b|TODO"
)
VAGUE = {"here", "click here", "link", "more", "details", "view", "open", "learn more"}

every_mail = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


def letters(text: str) -> str:
    """Letters and digits only: equality that wrapping and alignment cannot break."""
    return re.sub(r"\W+", "", text).lower()


def parsed(mail: Mail) -> EmailMessage:
    return message_from_bytes(mail.raw, policy=policy.default)


def typical(mail_type: str) -> Mail:
    return build(next(s for s in SAMPLES if s.mail_type == mail_type and s.state == "typical"))


@every_mail
def test_a_mail_is_as_it_is_on_file(sample: Sample) -> None:
    """Renewed only on purpose: `python -m tests.golden.files`."""
    for name, text in files.contents(build(sample)).items():
        assert (files.FOLDER / name).read_text(encoding="utf-8") == text, f"{name} changed"


def test_no_file_lies_there_without_its_mail() -> None:
    wanted = {name for sample in SAMPLES for name in files.contents(build(sample))}
    assert {path.name for path in files.FOLDER.iterdir()} == wanted


@every_mail
def test_text_and_html_hold_every_expected_fact_and_link(sample: Sample) -> None:
    mail = build(sample)
    page = Page(mail.html)
    for fact in sample.facts:
        assert letters(fact) in letters(mail.text), f"{fact} is not in the text"
        assert letters(fact) in letters(page.visible), f"{fact} is not in the HTML"
    for link in sample.links:
        assert link in mail.text.splitlines(), "a link stands alone on its line"
        assert link in [target for target, _ in page.links]
    for fact in sample.subject:
        assert fact in mail.subject


@every_mail
def test_nothing_that_must_be_absent_is_anywhere(sample: Sample) -> None:
    mail = build(sample)
    for absent in sample.absent:
        for place in (mail.text, mail.html, mail.subject):
            assert absent not in place


@every_mail
def test_no_template_shows(sample: Sample) -> None:
    mail = build(sample)
    for place in (mail.subject, mail.text, Page(mail.html).visible):
        assert not LEFTOVERS.search(place), LEFTOVERS.search(place)


@every_mail
def test_text_and_html_have_the_same_links_in_the_same_order(sample: Sample) -> None:
    mail = build(sample)
    targets = [target for target, _ in Page(mail.html).links]
    in_text = [line for line in mail.text.splitlines() if line.startswith(BASE_URL)]
    assert in_text == targets
    assert all(target.startswith("https://") for target in targets)
    if sample.mail_type != "test":
        assert {SETTINGS_LINK, UNSUBSCRIBE_LINK} <= set(targets)


@every_mail
def test_links_say_where_they_lead(sample: Sample) -> None:
    links = Page(build(sample).html).links
    assert not VAGUE & {text.lower() for _, text in links}
    assert len({text for _, text in links}) == len(set(links)), "a text leads to one place"
    assert all(text for _, text in links)


@every_mail
def test_the_page_is_sound_for_screen_readers_and_old_clients(sample: Sample) -> None:
    mail = build(sample)
    page = Page(mail.html)
    assert mail.html.startswith("<!DOCTYPE html>\n")
    assert page.tree.get("lang") == sample.reader.locale
    assert page.tree.get("dir") == "ltr"
    assert page.tree.findtext(".//title")
    assert len(page.find("//h1")) == 1
    assert {m.get("name"): m.get("content") for m in page.tree.iter("meta")}.items() >= {
        ("color-scheme", "light dark"),
        ("supported-color-schemes", "light dark"),
        ("viewport", "width=device-width, initial-scale=1"),
    }
    for table in page.tree.iter("table"):
        heads = [th for th in table.iter("th") if next(th.iterancestors("table")) is table]
        assert bool(heads) != (table.get("role") == "presentation")
        assert all(th.get("scope") in ("row", "col") for th in heads)
    assert not page.find("//script|//img|//form|//iframe|//link|//@*[starts-with(name(), 'on')]")
    assert "PixelsPerInch" in mail.html
    assert 'width="600"' in mail.html


@every_mail
def test_every_text_can_be_read_in_light_and_dark(sample: Sample) -> None:
    """4.5 to 1 is WCAG's AA for text; the state's word stands on the bar in both views."""
    page = Page(build(sample).html)
    for dark in (False, True):
        for piece in page.texts(dark=dark):
            ratio = contrast(_six(piece.colour), _six(piece.behind))
            assert ratio >= 4.5, f"{piece} in {'dark' if dark else 'light'}: {ratio:.2f}"
            assert piece.size >= 12


def test_dark_rules_beat_inline_styles() -> None:
    for mail_type in ("job_failed", "test"):
        for rules in dark_rules(typical(mail_type).html).values():
            assert all(value.endswith("!important") for value in rules.values())


@every_mail
def test_base_styles_are_inline_and_the_rest_is_small(sample: Sample) -> None:
    html = build(sample).html
    blocks = re.findall(r"<style[^>]*>(.*?)</style>", html, re.DOTALL)
    assert len(blocks) == 1, "the base block went into style attributes"
    assert len(blocks[0]) < 8192
    cells = Page(html).find("//td[normalize-space(text())]|//th")
    assert all("font-size" in style_of(cell.get("style") or "") for cell in cells)


@every_mail
def test_the_inbox_shows_a_useful_second_line(sample: Sample) -> None:
    mail = build(sample)
    preheader = Page(mail.html).preheader
    assert 30 <= len(preheader) <= 140
    assert letters(preheader) != letters(mail.subject)


@every_mail
def test_times_carry_their_zone(sample: Sample) -> None:
    for line in build(sample).text.splitlines():
        if re.search(r"\d{4}, \d{2}:\d{2}", line):
            assert re.search(r"\d{2}:\d{2} (?:UTC|[A-Z]{3,4} \(UTC[+-]\d{2}:\d{2}\))", line), line


@every_mail
def test_the_text_part_is_laid_out_for_a_terminal(sample: Sample) -> None:
    text = build(sample).text
    for line in text.splitlines():
        assert len(line) <= 76 or re.fullmatch(r" *https://\S+", line), line
        assert line == "-- " or line == line.rstrip()
    assert "\n\n\n" not in text
    assert not re.search(r"</?(?:p|br|div|td|tr|table|span|a|b|h\d|style)\b[^>]*>", text)
    assert text.count("\n-- \n") == 1


@every_mail
def test_sizes_stay_far_below_where_gmail_cuts(sample: Sample) -> None:
    limit = 40 if sample.state == "longest" else 25
    assert len(build(sample).html.encode()) <= limit * 1024


@every_mail
def test_the_bytes_are_a_plain_alternative_of_two_parts(sample: Sample) -> None:
    mail = build(sample)
    message = parsed(mail)
    assert message.get_content_type() == "multipart/alternative"
    parts = list(message.iter_parts())
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"]
    assert [part["Content-Transfer-Encoding"] for part in parts] == ["quoted-printable"] * 2
    contents = [cast("EmailMessage", part).get_content().replace("\r\n", "\n") for part in parts]
    assert contents == [mail.text, mail.html]
    head, _, body = mail.raw.partition(b"\r\n\r\n")
    assert head.isascii()
    assert max(len(line) for line in head.split(b"\r\n")) <= 78
    assert max(len(line) for line in body.split(b"\r\n")) <= 76 + len("Content-Type: ")
    assert not message.defects


@every_mail
def test_the_subject_fits_an_inbox(sample: Sample) -> None:
    subject = build(sample).subject
    assert len(subject) <= 78
    assert re.match(r"\[[A-Z][a-z]+(?: [a-z]+)?(?: \d+/\d+)?\] \S", subject)
    assert "!" not in re.sub(r"<.*", "", subject)


def test_mails_about_one_job_share_root_and_base_subject() -> None:
    """Mail programs thread by References, Gmail by the subject behind its tag as well."""
    backups = [
        build(s) for s in SAMPLES if s.mail_type == "scheduled_backup_complete" and s.customer.name == "Acme"
    ]
    heads = [parsed(mail) for mail in backups]
    assert (
        {h["References"] for h in heads}
        == {h["In-Reply-To"] for h in heads}
        == {"<job.1.4814@mail.example.com>"}
    )
    assert {mail.subject.partition("] ")[2] for mail in backups} == {"Scheduled backup #4814 - Acme"}
    assert len({mail.subject for mail in backups}) == 3
    assert len({h["Message-ID"] for h in heads}) == len(heads)


def test_the_colour_leads_with_the_state() -> None:
    bars = {s.name: _bar(build(s).html) for s in SAMPLES if s.state in ("typical", "partial", "failed")}
    assert bars == {
        "job_success-typical": "#1a7f37",
        "job_failed-typical": "#c62828",
        "job_partial-typical": "#b45309",
        "compliance_violation-typical": "#c62828",
        "scheduled_backup_complete-typical": "#1a7f37",
        "scheduled_backup_complete-partial": "#b45309",
        "scheduled_backup_complete-failed": "#c62828",
        "test-typical": "#1864c7",
    }


def test_a_test_mail_has_no_list_headers_and_never_threads() -> None:
    head = parsed(typical("test"))
    assert not {"List-Id", "List-Unsubscribe", "References", "In-Reply-To"} & set(head.keys())
    assert head["X-Entity-Ref-ID"]


def test_the_preview_shows_every_mail(tmp_path: Path) -> None:
    folder = tmp_path / "preview"
    write_preview(folder)
    index = (folder / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{sample.name}.html"' in index for sample in SAMPLES)
    assert all((folder / f"{sample.name}.eml").is_file() for sample in SAMPLES)


def _bar(html: str) -> str:
    bar = Page(html).find("//*[@class='bar']")[0]
    return style_of(bar.get("style") or "")["background-color"]


def _six(colour: str) -> str:
    """`#fff` as `#ffffff`."""
    return colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])
