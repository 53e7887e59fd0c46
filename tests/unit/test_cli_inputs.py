"""What the commands read: times, files of events, files of preferences; and the words they explain rules with."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from notifier.cli import event_files, preference_files
from notifier.cli.arguments import confirm, parse_when
from notifier.domain.errors import InvalidInput, NotFound
from notifier.domain.preferences import FIELDS
from notifier.domain.recipients import Candidate, Decision, Preference
from notifier.domain.vocabulary import RULES, Rule
from notifier.explanation import reason
from notifier.message_ids import renewed
from notifier.store.preferences import StoredPreference

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2d", NOW - timedelta(days=2)),
        (" 3h ", NOW - timedelta(hours=3)),
        ("45m", NOW - timedelta(minutes=45)),
        ("10s", NOW - timedelta(seconds=10)),
        ("1w", NOW - timedelta(weeks=1)),
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T04:31:07Z", datetime(2026, 11, 23, 4, 31, 7, tzinfo=UTC)),
        ("2026-11-23T04:31:07+01:00", datetime(2026, 11, 23, 4, 31, 7, tzinfo=timezone(timedelta(hours=1)))),
    ],
)
def test_a_time_is_absolute_or_so_long_ago(text: str, moment: datetime) -> None:
    assert parse_when(text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "2", "2y", "-2d", "yesterday", "2026-11-23T04:31:07", "999999w", "2026-13-01"]
)
def test_what_is_no_time_is_answered_with_how_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="2026-11-23T04:31:07Z"):
        parse_when(text, NOW)


@given(st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.timezones()))  # noqa: DTZ001 - the zone comes from timezones
def test_a_time_in_rfc_3339_is_itself(moment: datetime) -> None:
    assume((moment.utcoffset() or timedelta()).microseconds == 0)
    assert parse_when(moment.isoformat(), NOW) == moment.astimezone(UTC)


def test_a_resend_has_another_message_id_in_the_same_domain() -> None:
    new = renewed("<abc@mail.acme.example>")
    assert new.endswith("@mail.acme.example>")
    assert new.startswith("<")
    assert new != renewed("<abc@mail.acme.example>")


def test_nobody_is_asked_where_a_yes_was_given() -> None:
    confirm("Delete everything?", yes=True)


# -- files of events -----------------------------------------------------------------------------------------------


def bodies(folder: Path, content: str) -> list[tuple[str, str]]:
    file = folder / "events"
    file.write_text(content, encoding="utf-8")
    found = event_files.texts([str(file)])
    return [(text.where.removeprefix(str(file)), text.body.decode()) for text in found]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"a": 1}', [("", '{"a": 1}')]),
        ('{\n"a": 1\n}\n', [("", '{\n"a": 1\n}\n')]),
        ('{"a": 1}\n', [("", '{"a": 1}\n')]),
        ('{"a": 1}\n\n{"b": 2}\n', [(":1", '{"a": 1}'), (":3", '{"b": 2}')]),
        ('{"a": 1}\nnonsense', [(":1", '{"a": 1}'), (":2", "nonsense")]),
        ("[1,\n2]", [("", "[1,\n2]")]),
        ("[" * 100_000 + "\n]", [("", "[" * 100_000 + "\n]")]),
    ],
)
def test_a_file_is_one_event_or_one_per_line(
    tmp_path: Path, content: str, expected: list[tuple[str, str]]
) -> None:
    assert bodies(tmp_path, content) == expected


def test_the_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}')))
    (text,) = event_files.texts(["-"])
    assert (text.where, text.body) == ("standard input", b'{"a": 1}')


# -- files of preferences ------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)
JOB_TYPES = st.lists(st.text("abc_-", min_size=1, max_size=8), max_size=3).map(tuple)


@given(
    rows=st.lists(
        st.builds(
            StoredPreference,
            id=st.just(1),
            customer_id=st.integers(1, 2**63 - 1),
            customer_name=TEXTS,
            user_id=st.integers(1, 2**63 - 1),
            username=TEXTS,
            event_type=st.sampled_from(["job_failed", "job_success"]),
            enabled=st.booleans(),
            email_address=st.sampled_from([None, "noc@acme.example"]),
            job_types=JOB_TYPES,
            created_at=st.just(NOW),
            updated_at=st.just(NOW),
        ),
        min_size=1,
        max_size=4,
    ),
    form=st.sampled_from(["csv", "json"]),
)
def test_what_is_written_is_read_back(rows: list[StoredPreference], form: preference_files.Format) -> None:
    file = io.StringIO(newline="")
    assert preference_files.write(rows, file, form) == len(rows)
    read = preference_files.read(file.getvalue()).rows
    assert [row["customer_id"] for row in read.values()] in (
        [row.customer_id for row in rows],
        [str(row.customer_id) for row in rows],
    )
    if form == "csv":
        assert [row["job_types"] for row in read.values()] == [";".join(row.job_types) for row in rows]
    else:
        assert [row["job_types"] for row in read.values()] == [list(row.job_types) for row in rows]
    assert all(set(row) == {*FIELDS} for row in read.values())


def test_no_preferences_are_an_empty_array() -> None:
    file = io.StringIO()
    preference_files.write([], file, "json")
    assert preference_files.read(file.getvalue()) == preference_files.Lines()


def test_a_spreadsheet_with_semicolons_is_csv_too() -> None:
    text = "customer_id;user_id;event_type\n1;2;job_failed\n"
    assert preference_files.read(text).rows == {
        2: {"customer_id": "1", "user_id": "2", "event_type": "job_failed"}
    }


def test_json_lines_keep_their_line_numbers() -> None:
    read = preference_files.read('{"user_id": 1}\n\n{"user_id": 2}')
    assert read.rows == {1: {"user_id": 1}, 3: {"user_id": 2}}


@pytest.mark.parametrize(
    ("text", "field", "told"),
    [
        ("", "line 1", "the first line names the columns: customer_id,user_id,event_type"),
        ("1,2,job_failed\n", "line 1", "is no header"),
        ("[{]", "file", "is not JSON"),
        ("[" * 100_000, "file", "is not JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(text: str, field: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        preference_files.read(text)
    assert told in caught.value.problems[field][0]


@pytest.mark.parametrize(
    ("text", "good", "told"),
    [
        (
            "customer_id,user_id,event_type\n1,2\n1,2,job_failed\n1,2,3,4\n",
            [3],
            {2: "has 2 cells, the header has 3", 4: "has 4 cells, the header has 3"},
        ),
        ('customer_id,user_id,event_type\n1,2,job_failed\n"1,2,3\n', [2], {3: "is not CSV"}),
        ('[1, {"a": 1}, 2]', [2], {1: "is not a JSON object", 3: "is not a JSON object"}),
        ('{"a": 1}\n{\n5\n{"a": 2}', [1, 4], {2: "is not JSON", 3: "is not a JSON object"}),
    ],
)
def test_a_line_that_cannot_be_read_hides_no_other(text: str, good: list[int], told: dict[int, str]) -> None:
    read = preference_files.read(text)
    assert list(read.rows) == good
    assert read.faults.keys() == told.keys()
    assert all(read.faults[line].startswith(start) for line, start in told.items())


def test_a_file_of_another_encoding_or_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "latin.csv"
    file.write_bytes("Jörg".encode("latin-1"))
    with pytest.raises(InvalidInput, match="is not UTF-8 at byte 1; save it as UTF-8"):
        preference_files.read_text(str(file))
    with pytest.raises(NotFound, match="cannot be read"):
        preference_files.read_text(str(tmp_path / "none"))
    file.write_bytes(b"\xef\xbb\xbfcustomer_id")
    assert preference_files.read_text(str(file)) == "customer_id"


# -- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_said_in_plain_words(rule: Rule) -> None:
    candidate = Candidate(
        user_id=1,
        username="anna",
        role="operator",
        email=None,
        is_active=True,
        has_access=True,
        preference=Preference(enabled=True, job_types=("config_deploy",)),
    )
    decision = Decision(user_id=1, rule=rule, selected=False, address="a@b.example")
    words = reason(candidate, decision, event_type="job_failed", job_type="config_backup")
    assert rule not in words
    assert words.isascii()
