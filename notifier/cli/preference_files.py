"""Files of preferences: CSV with a header line, a JSON array, or JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from notifier.domain.errors import InvalidInput, NotFound
from notifier.domain.preferences import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notifier.store.preferences import StoredPreference

Format = Literal["csv", "json"]
_SHOWN = ("customer_name", "username")  # written for people, not read back


def read_text(name: str) -> str:
    """Return the content of a file, `-` for the standard input. Raises NotFound, InvalidInput."""
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as exc:
        msg = f"{name}: cannot be read ({exc.strerror})"
        raise NotFound(msg) from exc
    try:
        return content.decode("utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError as exc:
        raise InvalidInput({name: [f"is not UTF-8 at byte {exc.start}; save it as UTF-8"]}) from exc


def read(text: str) -> dict[int, dict[str, object]]:
    """Return the fields of each preference by its line (in a JSON array: by its place, from 1).

    Raises InvalidInput for a text that is none of the three.
    """
    start = text.lstrip()[:1]
    if start == "[":
        return _from_array(text)
    return _from_lines(text) if start == "{" else _from_csv(text)


def _from_array(text: str) -> dict[int, dict[str, object]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidInput({"file": [f"is not JSON: {exc}"]}) from exc
    return _objects(dict(enumerate(rows, start=1)))


def _from_lines(text: str) -> dict[int, dict[str, object]]:
    rows: dict[int, object] = {}
    problems: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows[number] = json.loads(line)
            except (ValueError, RecursionError) as exc:
                problems[f"line {number}"] = [f"is not JSON: {exc}"]
    if problems:
        raise InvalidInput(problems)
    return _objects(rows)


def _objects(rows: dict[int, object]) -> dict[int, dict[str, object]]:
    found = {number: row for number, row in rows.items() if isinstance(row, dict)}
    if len(found) < len(rows):
        wrong = [number for number in rows if number not in found]
        raise InvalidInput({f"line {number}": ["is not a JSON object"] for number in wrong})
    return {number: _without_shown(row) for number, row in found.items()}


def _from_csv(text: str) -> dict[int, dict[str, object]]:
    """Read rows by the names of the first line; a quoted cell may hold line breaks, hence the reader's count."""
    separator = ";" if ";" in text.partition("\n")[0] and "," not in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: dict[int, dict[str, object]] = {}
    problems: dict[str, list[str]] = {}
    try:
        names = [name.strip() for name in next(reader, [])]
        if "event_type" not in names:
            cure = f"the first line names the columns: {','.join(FIELDS)}"
            raise InvalidInput({"line 1": [f"is no header; {cure}"]})
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                problems[f"line {reader.line_num}"] = [f"has {len(cells)} cells, the header has {len(names)}"]
            else:
                rows[reader.line_num] = _without_shown(dict(zip(names, cells, strict=True)))
    except csv.Error as exc:
        problems[f"line {reader.line_num}"] = [f"is not CSV: {exc}"]
    if problems:
        raise InvalidInput(problems)
    return rows


def _without_shown(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name not in _SHOWN}


def write(rows: Iterable[StoredPreference], file: TextIO, form: Format) -> int:
    """Write preferences so that `read` takes them; returns how many."""
    count = 0
    if form == "csv":
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*FIELDS, *_SHOWN])
        for row in rows:
            job_types = ";".join(row.job_types)
            switch = "true" if row.enabled else "false"
            values = [
                row.customer_id,
                row.user_id,
                row.event_type,
                switch,
                row.email_address or "",
                job_types,
            ]
            writer.writerow([*values, row.customer_name, row.username])
            count += 1
        return count
    file.write("[")
    for row in rows:
        fields = {name: getattr(row, name) for name in (*FIELDS, *_SHOWN)}
        file.write((",\n " if count else "\n ") + json.dumps(fields, ensure_ascii=False))
        count += 1
    file.write("\n]\n" if count else "]\n")
    return count
