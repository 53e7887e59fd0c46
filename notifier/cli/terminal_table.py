"""Tables on a terminal of any width: a cell is folded between words, an id never; else a row becomes lines."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LONGEST_ID = 40  # cells; a UUID has 36. What is longer came from outside, and may be cut
LONGEST_WORD = 32
_GAP = 2  # cells between two columns
_WORD = re.compile(
    r"[^\s_@./,;=]*[\s_@./,;=]*"
)  # `job_success` may be folded after the `_`, a time not at all
_SPACED = re.compile(r"\S*\s*")


def print_table(file: TextIO, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of texts below their column names; a column named `id` or `…_id` is never folded."""
    console = Console(file=file)
    header = [column.replace("_", " ") for column in columns]
    ids = [column == "id" or column.endswith("_id") for column in columns]
    lines = [header, *rows]
    widest = [max(cell_len(line[at]) for line in lines) for at in range(len(columns))]
    least = [
        max(cell_len(part.rstrip()) for line in lines for part in _parts(line[at], whole=ids[at]))
        for at in range(len(columns))
    ]
    widths = _fitting(widest, least, room=console.width - _GAP * (len(columns) - 1))
    if widths is None:
        _print_cards(console, header, rows)
        return
    console.print(_line(header, widths, ids), style="bold")
    console.print("-" * (sum(widths) + _GAP * (len(widths) - 1)))
    for row in rows:
        console.print(_line(row, widths, ids))


def _line(row: Sequence[str], widths: Sequence[int], ids: Sequence[bool]) -> Text:
    """Return one row as lines. Text, because what is shown may hold rich's own markup."""
    cells = [_folded(text, width, whole=whole) for text, width, whole in zip(row, widths, ids, strict=True)]
    lines = [
        (" " * _GAP).join(set_cell_size(part, width) for part, width in zip(parts, widths, strict=True))
        for parts in zip_longest(*cells, fillvalue="")
    ]
    return Text("\n".join(line.rstrip() for line in lines))


def _parts(text: str, *, whole: bool) -> Iterator[str]:
    """Yield the pieces between which `text` may be folded; a `whole` one is an id."""
    longest = LONGEST_ID if whole else LONGEST_WORD
    for piece in (_SPACED if whole else _WORD).findall(text) or [""]:
        for start in range(0, max(len(piece), 1), longest):
            yield piece[start : start + longest]


def _fitting(widest: Sequence[int], least: Sequence[int], *, room: int) -> list[int] | None:
    """Return the widths of the columns in `room` cells, taken from the widest first; None: it is too narrow."""
    widths = list(widest)
    while sum(widths) > room:
        at = max(range(len(widths)), key=lambda one: (widths[one] > least[one], widths[one]))
        if widths[at] <= least[at]:
            return None
        widths[at] -= 1
    return widths


def _folded(text: str, width: int, *, whole: bool) -> list[str]:
    lines = [""]
    for part in _parts(text, whole=whole):
        if cell_len((lines[-1] + part).rstrip()) <= width:
            lines[-1] += part
        else:
            lines.append(part)
    return [line.rstrip() for line in lines]


def _print_cards(console: Console, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    room = max(cell_len(name) for name in names)
    for number, row in enumerate(rows):
        if number:
            console.print()
        for name, text in zip(names, row, strict=True):
            console.print(Text(f"{name:<{room}}  {text}".rstrip()), soft_wrap=True)
