"""The judge of the acceptance tests finds every kind of violation that is put before it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.acceptance.judgement import Expected, History, Row, judge


def _row(number: int = 1, **changes: object) -> Row:
    row = Row(
        customer_id=1,
        event_id="job-1-failed",
        recipient=f"user{number}@reader.example",
        generation=0,
        status="sent",
        failure_reason=None,
        ambiguous_count=0,
        attempts=1,
        message_id=f"<{number}@sender.example>",
    )
    return replace(row, **changes)  # type: ignore[arg-type]


GOOD = History(
    events=(
        Expected(
            customer_id=1,
            event_id="job-1-failed",
            recipients=frozenset({"user1@reader.example", "user2@reader.example"}),
        ),
    ),
    rows=(_row(1), _row(2)),
    accepted={"<1@sender.example>": 1, "<2@sender.example>": 1},
)


def _with(first: Row, copies: int = 1, **changes: object) -> History:
    """The good history with another first row, accepted so often."""
    accepted = {"<2@sender.example>": 1, **({first.message_id: copies} if copies else {})}
    return replace(GOOD, rows=(first, _row(2)), accepted=accepted, **changes)  # type: ignore[arg-type]


def test_a_good_run_is_found_good() -> None:
    verdict = judge(GOOD)
    assert (verdict.lost, verdict.extra, verdict.ambiguous, verdict.stuck, verdict.violations) == (
        0,
        0,
        0,
        0,
        (),
    )


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(_with(_row(ambiguous_count=1), 2), id="one copy for one ambiguous end"),
        pytest.param(_with(_row(ambiguous_count=2), 3), id="two copies for two"),
        pytest.param(_with(_row(ambiguous_count=1), 1), id="an ambiguous end without a copy"),
        pytest.param(_with(_row(status="failed", failure_reason="permanent_smtp"), 0), id="refused"),
        pytest.param(
            _with(_row(status="failed", failure_reason="permanent_smtp", ambiguous_count=1), 1),
            id="refused after an ambiguous end that was an arrival",
        ),
        pytest.param(
            _with(_row(status="failed", failure_reason="ambiguous", ambiguous_count=3), 3), id="given up"
        ),
        pytest.param(replace(GOOD, dead=1, dead_expected=1), id="a dead letter that was expected"),
        pytest.param(
            replace(
                GOOD,
                rows=(*GOOD.rows, _row(3, recipient="user1@reader.example", generation=1)),
                accepted={**GOOD.accepted, "<3@sender.example>": 1},
            ),
            id="a resend",
        ),
    ],
)
def test_what_is_allowed_is_no_violation(history: History) -> None:
    assert judge(history).violations == ()


@pytest.mark.parametrize(
    ("invariant", "history"),
    [
        pytest.param(
            "I1: no row",
            replace(GOOD, rows=GOOD.rows[:1], accepted={"<1@sender.example>": 1}),
            id="row missing",
        ),
        pytest.param(
            "I1: 2 rows",
            replace(GOOD, rows=(*GOOD.rows, _row(3, recipient="user1@reader.example"))),
            id="row twice",
        ),
        pytest.param("I1: a row nobody", replace(GOOD, rows=(*GOOD.rows, _row(3))), id="foreign row"),
        pytest.param("I1: no row", _with(_row(customer_id=2)), id="row of another customer"),
        pytest.param("I2", _with(_row(status="pending"), 0), id="still pending"),
        pytest.param("I3: sent", _with(_row(), 0), id="sent but never accepted"),
        pytest.param(
            "I3: refused",
            _with(_row(status="failed", failure_reason="permanent_smtp")),
            id="refused but accepted",
        ),
        pytest.param("I4", _with(_row(), 2), id="copy without an ambiguous end"),
        pytest.param("I4", _with(_row(ambiguous_count=1), 3), id="more copies than ambiguous ends"),
        pytest.param("I4", _with(_row(ambiguous_count=3), 4), id="more copies than allowed"),
        pytest.param(
            "I4", _with(_row(ambiguous_count=1), 2, max_ambiguous=0), id="copy where none is allowed"
        ),
        pytest.param("I5", replace(GOOD, queued=1), id="message left"),
        pytest.param("I5", replace(GOOD, dead=1), id="dead letter"),
        pytest.param("I5", replace(GOOD, dead_expected=1), id="dead letter missing"),
        pytest.param("I6: 2 rows", _with(_row(message_id="<2@sender.example>")), id="shared Message-ID"),
        pytest.param(
            "I6: accepted", replace(GOOD, accepted={**GOOD.accepted, "<x@y>": 1}), id="mail without a row"
        ),
        pytest.param(
            "I6: a secret", replace(GOOD, canaries={"the log": True, "the rows": False}), id="secret"
        ),
    ],
)
def test_a_seeded_violation_is_found(invariant: str, history: History) -> None:
    assert any(line.startswith(invariant) for line in judge(history).violations)


def test_losses_copies_and_stuck_rows_are_counted() -> None:
    rows = (_row(1), _row(2, ambiguous_count=2), _row(3, status="pending", ambiguous_count=1))
    recipients = frozenset(f"user{number}@reader.example" for number in range(1, 5))
    history = History(
        events=(Expected(customer_id=1, event_id="job-1-failed", recipients=recipients),),
        rows=rows,
        accepted={"<2@sender.example>": 3},
    )
    verdict = judge(history)
    assert (verdict.lost, verdict.extra, verdict.ambiguous, verdict.stuck) == (2, 2, 3, 1)


def test_a_row_too_many_is_a_violation_but_no_loss() -> None:
    verdict = judge(
        replace(GOOD, rows=(*GOOD.rows, _row(3, recipient="user1@reader.example", status="failed")))
    )
    assert verdict.lost == 0
    assert verdict.violations
