"""How commands print: tables on a terminal, plain columns in a pipe, JSON for machines, progress on stderr.

Everything shown may come from outside (device names, server replies): it is never read as markup, and control
characters in it are escaped, so that it cannot steer the terminal.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Row = Mapping[str, object]

WIDEST_PLAIN = 60  # characters of a plain column that others line up with


class Output:
    """Where one command's results go. `as_json` is the command's `--json` flag."""

    def __init__(self, *, as_json: bool, stdout: TextIO, stderr: TextIO) -> None:
        self.as_json = as_json
        self.stdout = stdout
        self.stderr = stderr

    def line(self, text: str) -> None:
        """Print one line for people; nothing in JSON, where the result itself is printed."""
        if not self.as_json:
            print(shown(text), file=self.stdout)

    def note(self, text: str) -> None:
        """Print a remark beside the result, on stderr."""
        print(shown(text), file=self.stderr)

    def json(self, value: object) -> None:
        """Print one JSON value, whatever the flag says."""
        print(json.dumps(value, ensure_ascii=False, indent=2, default=_plain), file=self.stdout)

    def table(self, rows: Iterable[Row], columns: Sequence[str], *, empty: str = "none") -> None:
        """Print `rows` with these columns; as JSON an array of objects with every key of each row."""
        found = list(rows)
        if self.as_json:
            self.json(found)
        elif not found:
            print(empty, file=self.stdout)
        elif self.stdout.isatty():
            from notifier.cli.terminal_table import print_table  # noqa: PLC0415 - rich is slow, no pipe needs it

            print_table(
                self.stdout, columns, [[_foldable(row.get(name)) for name in columns] for row in found]
            )
        else:
            self._plain_table(found, columns)

    def record(self, row: Row) -> None:
        """Print one thing as lines of key and value; as JSON one object."""
        if self.as_json:
            self.json(row)
            return
        width = max((len(key) for key in row), default=0)
        for key, value in row.items():
            print(f"{key:<{width}}  {cell(value)}".rstrip(), file=self.stdout)

    def _plain_table(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        lines = [list(columns), *([cell(row.get(column)) for column in columns] for row in rows)]
        widths = [min(WIDEST_PLAIN, max(len(line[at]) for line in lines)) for at in range(len(columns))]
        for line in lines:
            padded = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
            print("  ".join(padded).rstrip(), file=self.stdout)

    @contextmanager
    def progress(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Yield a function that moves the bar on by so many steps; there is a bar only on a terminal."""
        if not self.stderr.isatty():
            yield lambda _steps: None
            return
        from rich.console import Console  # noqa: PLC0415 - slow to import, and not needed in pipes
        from rich.progress import Progress  # noqa: PLC0415

        with Progress(console=Console(file=self.stderr), transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda steps: bar.advance(task, steps)


def json_option(command: Callable[..., object]) -> Callable[..., object]:
    """Give a command the flag `--json`, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(command)


def shown(text: str) -> str:
    """Return `text` on one line with everything unprintable escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def cell(value: object) -> str:
    """Return a value as people read it in a table: nothing for None, words for truth, times in ISO form."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, date):  # a datetime is one, too
        return str(_plain(value))
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(cell(entry) for entry in value)
    return shown(str(value))


def _foldable(value: object) -> str:
    """Return a cell that a narrow column folds between day and time."""
    text = cell(value)
    return text.replace("T", " ") if isinstance(value, datetime) else text


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)
