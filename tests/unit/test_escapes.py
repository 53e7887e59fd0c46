"""Escape sequences go whole, and text is read as people see it."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.escapes import as_seen, without_escapes

WHOLE = [
    ("\x1b[31mred\x1b[0m", "red"),
    ("\x1b[2J\x1b[1;1Htop", "top"),
    ("\x1b[38;5;196mred\x1b[K", "red"),
    ("\x9b31mred\x9b0m", "red"),
    ("\x1b]0;title\x07text", "text"),
    ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x1bPq#0;2\x1b\\picture", "picture"),
    ("\x1b(Btext\x1b7\x1b=", "text"),
    ("cut off \x1b[31", "cut off "),
    ("cut off \x1b", "cut off "),
    ("a string \x1b]that never ends", "a string that never ends"),
    ("\x1b[31\nnext line", "\nnext line"),
    ("no escape [INFO]", "no escape [INFO]"),
]


@pytest.mark.parametrize(("given", "left"), WHOLE)
def test_an_escape_sequence_is_taken_away_whole(given: str, left: str) -> None:
    assert without_escapes(given) == left
    assert as_seen(given) == left


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("pass\u200bword\ufeff", "password"),
        ("pass\xadword", "password"),
        ("password\x08\x08 x", "password x"),
        ("p\x08pa\x08as\x08ss\x08s", "pass"),
        ("_\x08p_\x08w", "pw"),
        ("--More-- \x08\x08\x08\x08         \x08\x08\x08\x08 password", " password"),
        ("secret\xa0x", "secret x"),
        ("bell\x07", "bell"),
        ("\\x1b[31mred\\u001b[0m \\033[1mbold^[[0m", "red bold"),
        ("#033[31mred#033[0m [1mbold[0m \ufffd[4;31munder\u241b[0m", "red bold under"),
        ("p\ufffda\ufffds\ufffds", "pass"),
        ("[1] [12] list[5] a[2", "[1] [12] list[5] a[2"),
        ("tab\tand\r\nlines\u2028stay", "tab\tand\r\nlines\u2028stay"),
        ("Überprüfung 検査", "Überprüfung 検査"),
        ("[INFO] C:\\users\\x1b", "[INFO] C:\\users\\x1b"),
    ],
)
def test_text_is_read_as_it_is_seen(given: str, seen: str) -> None:
    assert as_seen(given) == seen


@given(st.text(alphabet="ab[]0;m \\\x1b\x07\x08\x9b\x9c\x9d\n"))
def test_no_escape_character_is_left(text: str) -> None:
    assert not {"\x1b", "\x9b", "\x9d"} & set(without_escapes(text))
    assert not {"\x1b", "\x08", "\x9b"} & set(as_seen(text))


@pytest.mark.parametrize(
    "unit",
    [
        "\x1b",
        "\x1b[",
        "\x1b]",
        "\x1b[0;",
        "\x9d",
        "\x1bP ",
        "\x08",
        "_\x08",
        "-",
        "--more",
        "\u200b",
        "\\e[",
        "[1;",
        "\\\\",
        "#033",
        "a\x08",
    ],
)
def test_hostile_escapes_cost_little(unit: str) -> None:
    for text in (unit * (250_000 // len(unit)), "\x1b]" + unit * (250_000 // len(unit))):
        started = process_time()
        as_seen(text)
        without_escapes(text)
        assert process_time() - started < 1
