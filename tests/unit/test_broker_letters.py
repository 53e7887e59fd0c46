from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties

from notifier.broker.backoff import Backoff
from notifier.broker.letters import DeadLetter, Death, Selection, last_death, second_life
from notifier.broker.messages import BrokerMessage

DIGEST = "ab" * 32


def letter(position: int, message_id: str | None = None) -> DeadLetter:
    message = BrokerMessage(body=b"{}", message_id=message_id)
    return DeadLetter(position=position, message=message, body_sha256=DIGEST, death=Death())


def test_a_letter_is_named_by_its_message_id_or_else_by_its_body() -> None:
    assert letter(1, "job-1").id == "job-1"
    assert letter(1).id == DIGEST[:16]
    assert letter(1, "job-1").names == {"job-1", DIGEST, DIGEST[:16]}


@pytest.mark.parametrize(
    ("selection", "chosen", "last"),
    [
        (Selection(everything=True), True, None),
        (Selection(positions=frozenset({2, 7})), False, 7),
        (Selection(positions=frozenset({3})), True, 3),
        (Selection(ids=frozenset({"job-1"})), True, None),
        (Selection(ids=frozenset({DIGEST})), True, None),
        (Selection(ids=frozenset({"job-2"})), False, None),
        (Selection(positions=frozenset({1}), ids=frozenset({"job-2"})), False, None),
        (Selection(), False, 0),
    ],
)
def test_a_selection_knows_its_letters_and_where_it_may_stop(
    selection: Selection,
    chosen: bool,  # noqa: FBT001 - a column of the table
    last: int | None,
) -> None:
    assert selection.matches(letter(3, "job-1")) is chosen
    assert selection.last_position == last


def test_the_last_death_is_read_for_people() -> None:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    entry = {"reason": "rejected", "queue": "q", "exchange": "e", "routing-keys": ["job_failed"], "time": at}
    older = {"reason": "expired", "queue": "old"}
    expected = Death(reason="rejected", queue="q", exchange="e", routing_key="job_failed", at=at)
    assert last_death({"x-death": [entry, older]}) == expected


@pytest.mark.parametrize(
    "forged",
    [None, 7, [], {}, [7], [{}], [{"reason": 7, "queue": b"x", "routing-keys": "abc", "time": "now"}]],
)
def test_a_forged_death_is_no_death(forged: object) -> None:
    """B53."""
    assert last_death({"x-death": forged}) == Death()


def test_a_second_life_keeps_the_event_and_drops_the_traces_of_its_death() -> None:
    replayed = second_life(
        BasicProperties(
            content_type="application/cloudevents+json",
            message_id="job-1",
            type="job_failed",
            timestamp=1_700_000_000,
            app_id="webnet",
            user_id="publisher",
            expiration="5",
            headers={
                "traceparent": "00-1-2-01",
                "ce-specversion": "1.0",
                "x-death": [],
                "x-first-death-queue": "q",
                "x-last-death-reason": "rejected",
                "x-delivery-count": 3,
                "BCC": ["elsewhere"],
            },
        )
    )
    assert replayed.headers == {"traceparent": "00-1-2-01", "ce-specversion": "1.0"}
    assert (replayed.content_type, replayed.message_id) == ("application/cloudevents+json", "job-1")
    assert (replayed.type, replayed.timestamp, replayed.app_id) == ("job_failed", 1_700_000_000, "webnet")
    assert (replayed.user_id, replayed.expiration) == (None, None)
    assert replayed.delivery_mode == 2


@given(st.integers(0, 200), st.floats(0, 1, exclude_max=True))
def test_a_delay_never_exceeds_its_cap_and_the_first_never_a_second(failures: int, chance: float) -> None:
    backoff = Backoff(cap=30, chance=lambda: chance)
    assert 0 <= backoff.next() <= 1
    for _failure in range(failures):
        assert 0 <= backoff.next() <= 30
    backoff.reset()
    assert backoff.next() <= 1
