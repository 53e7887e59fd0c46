from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties

from notifier.broker.backoff import Backoff
from notifier.broker.letters import DeadLetter, Death, Oldest, Selection, last_death, second_life
from notifier.broker.messages import BrokerMessage

DIGEST = "ab" * 32


def letter(message_id: str | None = None, *, at: datetime | None = None, digest: str = DIGEST) -> DeadLetter:
    message = BrokerMessage(body=b"{}", message_id=message_id)
    return DeadLetter(message=message, size=2, body_sha256=digest, death=Death(at=at))


def test_a_letter_is_named_by_its_message_id_or_else_by_its_body() -> None:
    assert letter("job-1").id == "job-1"
    assert letter().id == DIGEST[:16]
    assert letter("job-1").names == {"job-1", DIGEST, DIGEST[:16]}


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(everything=True), True),
        (Selection(ids=frozenset({"job-1"})), True),
        (Selection(ids=frozenset({DIGEST})), True),
        (Selection(ids=frozenset({"job-2"})), False),
        (Selection(ids=frozenset({"job-1"}), among=frozenset({("job-1", DIGEST)})), True),
        (Selection(ids=frozenset({"job-1"}), among=frozenset({("job-1", "cd" * 32)})), False),
        (Selection(everything=True, among=frozenset()), False),
        (Selection(), False),
    ],
)
def test_a_selection_knows_its_letters(
    selection: Selection,
    chosen: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert selection.matches(letter("job-1")) is chosen


@given(st.data(), st.integers(1, 12))
def test_the_oldest_letters_are_the_same_in_whatever_order_the_broker_hands_them_out(
    data: st.DataObject, limit: int
) -> None:
    """Some died in the same second, some have no time of death."""
    letters = [
        letter(
            f"job-{number}", at=datetime(2026, 11, 23, 4, 0, number // 3, tzinfo=UTC) if number < 25 else None
        )
        for number in range(10, 30)
    ]
    oldest = Oldest(limit)
    for one in data.draw(st.permutations(letters)):
        oldest.add(one)
    assert oldest.letters() == letters[:limit]


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
