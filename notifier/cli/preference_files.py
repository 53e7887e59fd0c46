"""Files of preferences: CSV with a header line, a JSON array, or JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from notifier.domain.errors import InvalidInput, NotFound
from notifier.domain.preferences import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notifier.store.preferences import StoredPreference

Format = Literal["csv", "json"]
_SHOWN = ("customer_name", "username")  # written for people, not read back


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """A file's lines by their number (in a JSON array the place, from 1): the readable ones, and why others are not."""

    rows: dict[int, dict[str, object]] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)

    def add(self, number: int, row: object) -> None:
        """Take one JSON value or CSV row."""
        if isinstance(row, dict):
            self.rows[number] = {name: value for name, value in row.items() if name not in _SHOWN}
        else:
            self.faults[number] = "is not a JSON object"


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


def read(text: str) -> Lines:
    """Read all preferences of a file. Raises InvalidInput for a text that is none of the three."""
    start = text.lstrip()[:1]
    if start == "[":
        return _from_array(text)
    return _from_json_lines(text) if start == "{" else _from_csv(text)


def _from_array(text: str) -> Lines:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidInput({"file": [f"is not JSON: {exc}"]}) from exc
    found = Lines()
    for number, row in enumerate(rows, start=1):
        found.add(number, row)
    return found


def _from_json_lines(text: str) -> Lines:
    found = Lines()
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                found.add(number, json.loads(line))
            except (ValueError, RecursionError) as exc:
                found.faults[number] = f"is not JSON: {exc}"
    return found


def _from_csv(text: str) -> Lines:
    """Read rows by the names of the first line; a quoted cell may hold line breaks, hence the reader's count."""
    separator = ";" if ";" in text.partition("\n")[0] and "," not in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    found = Lines()
    try:
        names = [name.strip() for name in next(reader, [])]
        if "event_type" not in names:
            cure = f"the first line names the columns: {','.join(FIELDS)}"
            raise InvalidInput({"line 1": [f"is no header; {cure}"]})
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) == len(names):
                found.add(reader.line_num, dict(zip(names, cells, strict=True)))
            else:
                found.faults[reader.line_num] = f"has {len(cells)} cells, the header has {len(names)}"
    except csv.Error as exc:
        found.faults[reader.line_num] = f"is not CSV: {exc}; what follows was not read"
    return found


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
