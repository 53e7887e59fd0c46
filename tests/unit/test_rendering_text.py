"""Cleaning, filters, dates, durations, links: the small parts of every mail."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import resources
from notifier.domain.errors import ConfigurationError
from notifier.rendering import catalogue, cleaning, filters, language, subjects
from notifier.rendering.site import Site
from notifier.rendering.themes import THEMES, contrast
from tests.properties import examples

anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
LANGUAGES = language.load(resources.path("templates") / "locale")
ENGLISH, GERMAN = LANGUAGES["en"], LANGUAGES["de"]
SITE = Site(
    product="Webnet",
    environment="production",
    base_url="https://app.example.com/",
    links={
        "job": "{base_url}/jobs/{job_id}",
        "device": "https://inventory.example.com/d/{device_id}",
        "policy": "",
    },
)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text\x1b(B", "text"),
        ("\x9b31mred\x1b[0", "red"),
        ("\x1b]no end to this", "no end to this"),
        ("a\x00b\x07c", "abc"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("\tx", "    x"),
        ("\u202eevil", "\\u202eevil"),
        ("no\u200bwhere", "no\\u200bwhere"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("{{7*7}} {% x %}", "{ {7*7} } { % x % }"),
        ("lost\ufffd", "lost?"),
    ],
)
def test_foreign_text_is_shown_without_what_it_could_do(given: str, shown: str) -> None:
    """B26, B38"""
    assert cleaning.clean(given) == shown


@examples(50)
@given(anything)
def test_cleaned_text_has_no_control_but_its_line_ends(text: str) -> None:
    assert cleaning.clean(text).replace("\n", "").isprintable() or not text.isascii()
    assert not {"\x1b", "\r", "\x00", "\x1a", "\u202e", "\ufeff"} & set(cleaning.clean(text))


def test_an_error_of_a_million_lines_costs_its_limit() -> None:
    """B38"""
    rows, was_cut = cleaning.lines("x" * 60 + "\n" + "line\n" * 1_000_000, max_lines=25, max_characters=2000)
    assert (len(rows), was_cut) == (25, True)
    rows, was_cut = cleaning.lines("y" * 1_000_000, max_lines=25, max_characters=2000)
    assert (len(rows[0]), rows[0][-1], was_cut) == (2000, "…", True)
    assert cleaning.lines("one\ntwo\n", max_lines=2, max_characters=100) == (["one", "two"], False)
    assert cleaning.lines("ab\ncd", max_lines=9, max_characters=4) == (["ab"], True)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "true"),
        (7, "7"),
        ({"a": [1, {"b": "ü"}]}, '{"a": [1, {"b": "ü"}]}'),
        ("a\nb", "a b"),
        (["a", 7, True], "a, 7, true"),
    ],
)
def test_any_json_value_is_one_readable_line(value: object, shown: str) -> None:
    assert cleaning.readable(value) == shown


def test_a_cut_never_falls_inside_a_cluster() -> None:
    assert cleaning.cut("ab" + "e\u0301" * 4, 4) == "ab…"
    assert cleaning.cut("short", 5) == "short"


@pytest.mark.parametrize(
    ("given", "shown"), [("config_backup", "Config backup"), ("a-b", "A b"), ("", ""), ("über_x", "Über_x")]
)
def test_machine_names_become_words(given: str, shown: str) -> None:
    assert cleaning.words(given) == shown


@given(anything)
def test_wrapping_loses_nothing_and_keeps_to_its_width(text: str) -> None:
    rows = filters.wrap(" ".join(text.split()), "* ", "  ").split("\n")
    assert all(len(row) <= filters.WIDTH for row in rows)
    assert "".join("".join(rows).replace("* ", "", 1).split()) == "".join(text.split())


def test_an_address_is_never_broken() -> None:
    address = "https://example.net/" + "x" * 200
    assert address in filters.wrap(f"see {address} for more").split("\n")[0 if len(address) < 70 else 1]
    assert filters.columns([("Stored at", address)]) == f"Stored at:\n  {address}"


def test_facts_are_aligned_and_long_ones_continue_below() -> None:
    text = filters.columns([("Job", "Config backup #4812"), ("Started by", "word " * 20)])
    assert text.split("\n")[:2] == ["Job:        Config backup #4812", "Started by: " + "word " * 11 + "word"]
    assert text.split("\n")[2].startswith("  word")
    assert filters.columns([]) == ""


def test_log_lines_keep_their_indentation() -> None:
    assert filters.indent(["a", "  b", ""]) == "  a\n    b\n"
    assert filters.preformatted(["  a  <b>", "", "c d"]) == "\u00a0\u00a0a\u00a0\u00a0&lt;b&gt;<br><br>c d"
    assert filters.preformatted([" a"]) == "\u00a0a"


def test_a_value_of_several_lines_keeps_them() -> None:
    assert filters.multiline("a<b") == "a&lt;b"
    assert filters.multiline("-a\n+  b") == "-a<br>+\u00a0\u00a0b"
    assert filters.columns([("Diff", "-a\n+  b"), ("Line", "12")]) == "Diff:\n  -a\n  +  b\nLine: 12"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("noc@acme.example", "noc@<wbr>acme.<wbr>example"),
        ("write to <anna.lee@bücher.example>!", "write to &lt;anna.<wbr>lee@<wbr>bücher.<wbr>example&gt;!"),
        ("a&b@acme-networks.example", "a&amp;b@<wbr>acme-networks.<wbr>example"),
        ("a@b.example", "a@b.example"),
        ("@core-01.dc2.hamburg.example", "@core-01.dc2.hamburg.example"),
    ],
)
def test_a_long_mail_address_in_a_value_may_break_behind_its_signs_only(value: str, shown: str) -> None:
    assert filters.soft_addresses(value) == filters.multiline(value) == shown


def test_a_number_stays_with_its_word() -> None:
    assert filters.whole_numbers("Config backup #4812 failed") == "Config backup\u00a0#4812 failed"


def test_a_text_part_has_no_ragged_blanks() -> None:
    assert filters.tidy("\n\na  \n\n\n\nb\n-- \nc\n\n") == "a\n\nb\n-- \nc\n"


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://app.example.com/jobs/1?x=y", True),
        ("http://inventory.example.com/d/7", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//evil.example", False),
        ("https://user@app.example.com/", False),
        ("https://app.example.com@evil.example/", False),
        ("https://app.example.com\\@evil.example/", False),
        ("https://evil.example/app.example.com", False),
        ("https://app.example.com/ x", False),
        ("https://[broken", False),
        (" https://app.example.com/", False),
    ],
)
def test_only_plain_links_to_our_own_hosts_are_links(url: str, *, safe: bool) -> None:
    """B40"""
    assert SITE.is_safe(url) is safe
    assert filters.safe_link(SITE.is_safe)(url) == (url if safe else "#")


def test_a_link_needs_its_ids_and_its_configuration() -> None:
    assert SITE.link("job", job_id=7, customer_id=1) == "https://app.example.com/jobs/7"
    assert SITE.link("job", job_id=None) is None
    assert SITE.link("policy", policy_id=1) is None
    assert SITE.link("preferences") is None


def test_wrong_link_patterns_are_all_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Site(
            product="x",
            environment="x",
            base_url="https://x.example",
            links={"job": "{base_url}/{user_id}", "nope": "https://x", "device": "ftp://x/{device_id}"},
        )
    assert [problem.split(" ")[0] for problem in caught.value.problems] == [
        "links.job",
        "links.nope",
        "links.device",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (372, "6 min 12 s"),
        (7500, "2 h 5 min"),
        (97_200, "1 d 3 h"),
        (86_405, "1 d"),
    ],
)
def test_durations_say_their_two_largest_units(seconds: float, shown: str) -> None:
    assert language.duration(seconds) == shown


@pytest.mark.parametrize(
    ("spoken", "zone", "shown"),
    [
        (ENGLISH, "UTC", "4 March 2025, 02:00 UTC"),
        (ENGLISH, "Europe/Berlin", "4 March 2025, 03:00 CET (UTC+01:00)"),
        (GERMAN, "Europe/Berlin", "4. März 2025, 03:00 MEZ (UTC+01:00)"),
        (GERMAN, "Asia/Kolkata", "4. März 2025, 07:30 IST (UTC+05:30)"),
        (ENGLISH, "Asia/Kolkata", "4 March 2025, 07:30 IST (UTC+05:30)"),
        (ENGLISH, "America/Sao_Paulo", "3 March 2025, 23:00 UTC-03:00"),
    ],
)
def test_times_are_told_in_the_readers_zone_and_say_which(
    spoken: language.Language, zone: str, shown: str
) -> None:
    assert spoken.moment(datetime(2025, 3, 4, 2, 0, tzinfo=UTC), language.zone(zone)) == shown


def test_an_unknown_zone_falls_back_to_the_next() -> None:
    assert language.zone("Mars/Olympus", "../etc/passwd", "Europe/Berlin").key == "Europe/Berlin"
    assert language.zone("").key == "UTC"


def test_the_ends_of_the_calendar_are_told_too() -> None:
    """B54: the year 9999 in UTC is the year 10000 in Berlin, which no datetime can hold."""
    assert ENGLISH.moment(datetime.max.replace(tzinfo=UTC), language.zone("Europe/Berlin")).endswith("UTC")


def test_numbers_and_sizes_are_written_as_the_language_does() -> None:
    assert [ENGLISH.number(n) for n in (7, 12_000)] == ["7", "12,000"]
    assert GERMAN.number(12_000) == "12.000"
    assert [ENGLISH.size(n) for n in (7, 1536, 2**60)] == ["7 B", "1.5 KiB", "1,048,576.0 TiB"]
    assert GERMAN.size(1536) == "1,5 KiB"


@pytest.mark.parametrize(
    ("locale", "code"), [("de", "de"), ("de_CH", "de"), ("de-AT", "de"), ("fr", "en"), ("", "en")]
)
def test_a_language_without_a_catalogue_falls_back_to_english(locale: str, code: str) -> None:
    assert language.choose(LANGUAGES, locale).code == code


def test_a_broken_catalogue_is_named(tmp_path: Path) -> None:
    (tmp_path / "de.po").write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"de\.po"):
        language.load(tmp_path)


def test_no_sentence_is_left_untranslated() -> None:
    """After a change of sentences: `python -m notifier.rendering.catalogue`, then translate."""
    templates = resources.path("templates")
    wanted = catalogue.extract(Path(catalogue.__file__).parent, templates)
    paths = list((templates / "locale").glob("*.po"))
    assert paths
    for path in paths:
        known = catalogue.read(path)
        assert {message.id for message in wanted} == {message.id for message in known}
        for message in known:
            strings = message.string if isinstance(message.string, tuple) else (message.string,)
            assert all(strings) or not message.id, f"{path.name}: {message.id} is not translated"
            assert not message.fuzzy, f"{path.name}: {message.id} is fuzzy"
            assert not list(message.check(known)), f"{path.name}: {message.id} has other placeholders"
        assert catalogue.updated(path, wanted) == path.read_bytes(), f"{path.name} is not in order"


@pytest.mark.parametrize("colour", THEMES)
def test_the_colours_have_the_contrast_they_promise(colour: str) -> None:
    """WCAG 2.1: 4.5 for text, 3 for bars."""
    theme = THEMES[colour]  # type: ignore[index] # the keys themselves
    on = [("#ffffff", "accent"), (theme["card"], "text"), (theme["card"], "muted"), (theme["card"], "link")]
    on += [(theme["tint"], "ink"), (theme["tint_dark"], "ink_dark"), ("#161b22", "link_dark")]
    assert {
        name: round(contrast(theme[name], behind), 1)
        for behind, name in on
        if contrast(theme[name], behind) < 4.5
    } == {}
    assert contrast(theme["accent"], "#161b22") >= 3
    assert contrast(theme["text"], theme["card"]) >= 7


def test_black_and_white_are_21_apart() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#808080", "#808080") == 1


@examples(50)
@given(anything, anything, st.integers(1, 2**63 - 1))
def test_the_number_of_a_job_is_never_cut_from_a_subject(kind: str, customer: str, number: int) -> None:
    document = {"data": {"job": {"id": number, "type": kind}}}
    base = subjects.base(subjects.title(document), customer)
    assert f"#{number}" in base
    assert len(base) <= 53


ROWS = (("edge-01", "Failed", "timed out"), ("core-01", "Done", ""))


def test_a_table_that_fits_stands_in_columns() -> None:
    assert filters.listing(ROWS, ("Device", "Result", "Reason")) == (
        "  Device   Result  Reason\n  edge-01  Failed  timed out\n  core-01  Done"
    )
    assert (
        filters.listing(ROWS, ("Device", "", "Reason"))
        == "  Device   Reason\n  edge-01  timed out\n  core-01"
    )


@pytest.mark.parametrize("name", ["x" * 70, "東京", "חברה"])
def test_a_table_that_would_not_stand_in_columns_is_a_list(name: str) -> None:
    """Too long for the line, of double width, or from right to left."""
    told = filters.listing(((name, "Failed", "down"),), ("Device", "Result", "Reason"))
    assert told.startswith(f"Device: Result - Reason\n* {name}:")


def test_a_long_name_may_break_behind_its_dots_only() -> None:
    assert filters.soft("core-01.dc2.hamburg.example") == "core-01.<wbr>dc2.<wbr>hamburg.<wbr>example"
    assert filters.soft("edge-01.dc2") == "edge-01.dc2", "short enough"
    assert filters.soft("<b>." + "x" * 20) == "&lt;b&gt;.<wbr>" + "x" * 20
