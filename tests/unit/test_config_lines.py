from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config.lines import key_lines, line_of

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = '''\
# a comment = "no key"
top = 1
a.b."c d" = 2 # dotted

[section]
text = """
not = "a key"
[nor.a.table]
"""
literal = \'\'\'x = 1
]\'\'\'
list = [ # comment ]
  1,
  "two, # ]",
  [3,
   4],
]
inline = { x = 1, y.z = [ { deep = true } ], "q.r" = 'a}b' }

[[points]]
x = 1
[[points]]
x = 2
[points.inner]
y = 3
[ "quoted name" . sub ]
k = 2026-11-23 04:31:07Z
last = "\\"#"'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("a",), 3),
        (("a", "b", "c d"), 3),
        (("section",), 5),
        (("section", "text"), 6),
        (("section", "literal"), 10),
        (("section", "list"), 12),
        (("section", "list", 0), 13),
        (("section", "list", 1), 14),
        (("section", "list", 2, 0), 15),
        (("section", "list", 2, 1), 16),
        (("section", "inline", "x"), 18),
        (("section", "inline", "y", "z", 0, "deep"), 18),
        (("section", "inline", "q.r"), 18),
        (("points",), 20),
        (("points", 0, "x"), 21),
        (("points", 1), 22),
        (("points", 1, "x"), 23),
        (("points", 1, "inner", "y"), 25),
        (("quoted name", "sub", "k"), 27),
        (("quoted name", "sub", "last"), 28),
    ],
)
def test_every_form_of_a_key_has_its_line(path: tuple[str | int, ...], line: int) -> None:
    assert key_lines(DOCUMENT)[path] == line


def test_nothing_inside_strings_or_comments_is_taken_for_a_key() -> None:
    assert set(paths(tomllib.loads(DOCUMENT))) == set(key_lines(DOCUMENT))


def test_a_missing_key_falls_back_to_its_table() -> None:
    lines = key_lines(DOCUMENT)
    assert line_of(lines, ("section", "inline", "none", "of", "these")) == 18
    assert line_of(lines, ("section", "none")) == 5
    assert line_of(lines, ("nowhere", "none")) is None


def test_windows_line_ends_count_once() -> None:
    assert key_lines("a = 1\r\n\r\nb = 2\r\n") == {("a",): 1, ("b",): 3}


def paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield from paths(entry, (*path, key))


KEYS = st.one_of(st.sampled_from(["a", "b-c", "d_1", "2"]), st.text(max_size=4))
SCALARS = st.one_of(
    st.integers(-(2**40), 2**40),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def quoted(text: str) -> str:
    escaped = "".join(
        char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in text
    )
    return f'"{escaped}"'


def written(value: object, gap: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        pairs = ", ".join(f"{quoted(key)} = {written(entry, '')}" for key, entry in value.items())
        return f"{{ {pairs} }}"
    if isinstance(value, list):
        return "[" + ",".join(f"{gap}{written(entry, gap)}" for entry in value) + gap + "]"
    return quoted(value) if isinstance(value, str) else repr(value)


@given(
    st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=3),
    st.sampled_from(["", " ", "\n", ' # note ] } = "\n  ', "\r\n\t"]),
    st.sampled_from(["\n", "\n\n# [x]\n", "\r\n"]),
)
def test_every_key_of_any_document_is_found_and_no_other(
    tables: dict[str, dict[str, object]], gap: str, end: str
) -> None:
    text = ""
    expected: dict[tuple[str, str], int] = {}
    for name, table in tables.items():
        text += f"[ {quoted(name)} ]{end}"
        for key, value in table.items():
            expected[name, key] = text.count("\n") + 1
            text += f"{quoted(key)} = {written(value, gap)}{end}"
    lines = key_lines(text)
    assert set(lines) == set(paths(tomllib.loads(text)))
    assert {path: lines[path] for path in expected} == expected


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(tuple), max_size=6))
def test_dotted_keys_have_the_line_of_their_first_part(keys: list[tuple[str, ...]]) -> None:
    text = "".join(f"{' . '.join(key)} = {at}\n" for at, key in enumerate(keys))
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # a key was set twice: no document
    lines = key_lines(text)
    assert set(lines) == set(paths(content))
    for at, key in enumerate(keys, start=1):
        assert lines[key] == at
