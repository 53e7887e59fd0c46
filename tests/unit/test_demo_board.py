"""The lines of `notifier demo`."""

from __future__ import annotations

import io
from dataclasses import replace

from notifier.cli import demo_board
from notifier.cli.output import Output
from notifier.sandbox import demo_cast
from notifier.sandbox.demo_record import LogRow

SAMPLE = next(sample for sample in demo_cast.samples("1234abcd") if sample.event_type == "job_failed")
ROW = LogRow(
    id=5,
    event_id=SAMPLE.event_id,
    customer_id=1,
    event_type="job_failed",
    address="george@acme.example",
    rule="preference_enabled",
    subject="[Failed]",
    status="failed",
    failure_reason="permanent_smtp",
    error_message="550 no such mailbox",
    attempts=1,
    smtp_code=550,
    message_id="<5@acme.example>",
    generation=0,
)


def printed(*rows: LogRow) -> list[str]:
    stdout = io.StringIO()
    demo_board.lines(Output(as_json=False, stdout=stdout, stderr=io.StringIO()))(rows)
    return stdout.getvalue().splitlines()


def test_a_sample_says_what_it_is_there_to_show() -> None:
    (line,) = printed(ROW)
    assert line.startswith(
        "failed   job_failed                 george@acme.example    permanent_smtp  attempts 1  "
    )
    assert line.endswith(str(demo_cast.shows(ROW.event_id, ROW.key)))


def test_a_mail_that_is_no_sample_or_was_sent_again_says_what_became_of_it_and_nothing_else() -> None:
    stranger, again = replace(ROW, event_id="another"), replace(ROW, id=6, generation=1)
    assert [line.partition("attempts 1  ")[2] for line in printed(stranger, again)] == [
        "550 no such mailbox",
        "550 no such mailbox",
    ]
    (line,) = printed(replace(again, status="sent", failure_reason=None, error_message=None))
    assert line.endswith("attempts 1")
