from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.cli.output import Output, cell, shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def output(*, as_json: bool = False, terminal: bool = False) -> tuple[Output, io.StringIO, io.StringIO]:
    stdout, stderr = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
    return Output(as_json=as_json, stdout=stdout, stderr=stderr), stdout, stderr


ROWS: list[dict[str, object]] = [
    {"id": 1, "name": "core-01", "at": datetime(2026, 11, 23, 4, 31, 7, tzinfo=UTC), "extra": {"a": 1}},
    {"id": 200, "name": None, "at": None, "extra": None},
]


def test_in_a_pipe_a_table_is_plain_aligned_lines() -> None:
    out, stdout, _ = output()
    out.table(ROWS, ["id", "name", "at"])
    assert stdout.getvalue() == ("id   name     at\n1    core-01  2026-11-23T04:31:07Z\n200\n")


def test_long_cells_are_whole_in_a_pipe() -> None:
    out, stdout, _ = output()
    out.table([{"a": "x" * 300, "b": "end"}], ["a", "b"])
    assert "x" * 300 + "  end" in stdout.getvalue()


def test_json_has_every_key_of_every_row() -> None:
    out, stdout, _ = output(as_json=True)
    out.line("for people")
    out.table(ROWS, ["id"])
    rows = json.loads(stdout.getvalue())
    assert rows[0] == {"id": 1, "name": "core-01", "at": "2026-11-23T04:31:07Z", "extra": {"a": 1}}


def test_an_empty_table_says_so_and_is_an_empty_array_in_json() -> None:
    out, stdout, _ = output()
    out.table([], ["id"], empty="no events")
    assert stdout.getvalue() == "no events\n"
    out, stdout, _ = output(as_json=True)
    out.table([], ["id"])
    assert json.loads(stdout.getvalue()) == []


def test_markup_in_foreign_text_is_shown_and_not_read_on_a_terminal() -> None:
    out, stdout, _ = output(terminal=True)
    out.table([{"[bold]": "[/x] [red]edge\x1b[31m"}], ["[bold]"])
    assert "[/x] [red]edge\\x1b[31m" in stdout.getvalue()
    assert "[bold]" in stdout.getvalue()
    assert "\x1b[31m" not in stdout.getvalue()


def test_a_table_of_a_terminal_folds_times_between_day_and_hour_and_keeps_to_its_width(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out, stdout, _ = output(terminal=True)
    row: dict[str, object] = {f"column_{n}": "x" * 12 for n in range(5)}
    out.table([{"created_at": ROWS[0]["at"], **row}], ["created_at", *row])
    lines = click.unstyle(stdout.getvalue()).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert any("2026-11-23 " in line for line in lines)
    assert any(line.strip().startswith("04:31:07Z") for line in lines)


IDENTIFIER = "01a21564-b433-7098-8737-a019ca22757a"
MAIL: dict[str, object] = {
    "id": 123456,
    "created_at": ROWS[0]["at"],
    "job_event_id": IDENTIFIER,
    "event_type": "scheduled_backup_complete",
    "recipient": "network.operations@nordwind.example",
    "reason": "attempts_exhausted",
}


@pytest.mark.parametrize("width", [80, 86, 100, 140, 250])
def test_a_table_never_breaks_an_id_a_time_or_a_word(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out, stdout, _ = output(terminal=True)
    out.table([MAIL], list(MAIL))
    lines = click.unstyle(stdout.getvalue()).splitlines()
    assert max(len(line) for line in lines) <= width
    words = {word for line in lines for word in line.split()}
    assert {IDENTIFIER, "123456", "2026-11-23", "04:31:07Z"} <= words
    told = "".join(words)
    assert all(part in told for part in ("scheduled_", "backup_", "complete", "network.", "nordwind."))


def test_a_table_too_wide_for_the_terminal_becomes_lines_of_name_and_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out, stdout, _ = output(terminal=True)
    out.table([MAIL, {**MAIL, "id": 7}], list(MAIL))
    first, second = stdout.getvalue().split("\n\n")
    assert first.splitlines() == [
        "id            123456",
        "created at    2026-11-23 04:31:07Z",
        f"job event id  {IDENTIFIER}",
        "event type    scheduled_backup_complete",
        "recipient     network.operations@nordwind.example",
        "reason        attempts_exhausted",
    ]
    assert second.startswith("id            7\n")


def test_one_endless_word_does_not_take_the_table_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out, stdout, _ = output(terminal=True)
    out.table([{"id": 1, "detail": "x" * 300}], ["id", "detail"])
    lines = click.unstyle(stdout.getvalue()).splitlines()
    assert "".join(lines).count("x") == 300
    assert max(len(line) for line in lines) <= 80


def test_a_record_is_lines_for_people_and_an_object_for_machines() -> None:
    out, stdout, _ = output()
    out.record({"id": 1, "enabled": True, "job_types": ["a", "b"], "note": None})
    assert stdout.getvalue() == "id         1\nenabled    yes\njob_types  a, b\nnote\n"
    out, stdout, _ = output(as_json=True)
    out.record({"id": 1, "types": frozenset({"b", "a"})})
    assert json.loads(stdout.getvalue()) == {"id": 1, "types": ["a", "b"]}


def test_lines_for_people_are_escaped_and_left_out_of_json() -> None:
    out, stdout, _ = output()
    out.line("done\x07")
    assert stdout.getvalue() == "done\\x07\n"
    out, stdout, _ = output(as_json=True)
    out.line("done")
    assert stdout.getvalue() == ""


def test_notes_go_to_stderr_so_that_json_stays_json() -> None:
    out, stdout, stderr = output(as_json=True)
    out.note("3 rows are in flight")
    assert (stdout.getvalue(), stderr.getvalue()) == ("", "3 rows are in flight\n")


def test_progress_is_silent_in_a_pipe_and_on_stderr_on_a_terminal() -> None:
    for terminal in (False, True):
        out, stdout, stderr = output(terminal=terminal)
        with out.progress("resend", total=3) as step:
            step(3)
        assert stdout.getvalue() == ""
        assert bool(stderr.getvalue()) is terminal


@given(st.text())
def test_what_is_shown_is_one_printable_line(text: str) -> None:
    assert shown(text).isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (False, "no"),
        (0, "0"),
        (date(2026, 1, 2), "2026-01-02"),
        ((1, None), "1, "),
        ("a\nb", "a\\nb"),
    ],
)
def test_cells_read_as_people_write(value: object, text: str) -> None:
    assert cell(value) == text
