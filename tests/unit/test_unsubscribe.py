from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.unsubscribe import Claim, sign, verify
from notifier.domain.vocabulary import EVENT_TYPES, MAX_ID, EventType

KEYS = ["newest key", "older key"]
KEY = "anna@example.org"


def token(**changes: object) -> str:
    plain: dict[str, object] = {"customer_id": 7, "event_type": "job_failed", "recipient_key": KEY}
    return sign(KEYS, **(plain | changes))  # type: ignore[arg-type] # a table of arguments


def claim(text: str) -> Claim:
    found = verify(KEYS, text)
    assert found is not None
    return found


@given(
    st.integers(1, MAX_ID), st.sampled_from(EVENT_TYPES), st.text(st.characters(exclude_categories=["Cs"]))
)
def test_a_token_says_what_was_signed(customer_id: int, event_type: EventType, recipient_key: str) -> None:
    found = claim(token(customer_id=customer_id, event_type=event_type, recipient_key=recipient_key))
    assert (found.customer_id, found.event_type) == (customer_id, event_type)
    assert found.covers(recipient_key)
    assert not found.covers(recipient_key + "x")


def test_a_token_is_opaque_short_and_fit_for_a_url() -> None:
    text = token(customer_id=MAX_ID)
    assert len(text) <= 50
    assert text.replace("-", "").replace("_", "").isalnum()
    assert "anna" not in text


def test_a_retired_key_still_verifies() -> None:
    old = sign(KEYS[1:], customer_id=7, event_type="job_failed", recipient_key=KEY)
    assert claim(old).customer_id == 7
    assert verify(["another key"], old) is None
    assert verify([], old) is None


@given(st.integers(0), st.characters(codec="ascii"))
def test_no_changed_token_verifies(at: int, letter: str) -> None:
    text = token()
    at %= len(text)
    changed = text[:at] + letter + text[at + 1 :]
    assert changed == text or verify(KEYS, changed) is None


@given(st.text() | st.text("Zm9yLXRlc3Rz_-=", max_size=80))
def test_any_text_from_the_internet_is_answered_without_an_error(text: str) -> None:
    assert verify(KEYS, text) is None


@pytest.mark.parametrize("text", ["", "x", "=" * 40, "AAAA", "ö" * 40, "A" * 200, token() + "="])
def test_what_cannot_be_a_token_is_none(text: str) -> None:
    assert verify(KEYS, text) is None


def test_signing_needs_a_key_and_a_lawful_customer() -> None:
    with pytest.raises(ValueError, match="signing_keys"):
        sign([], customer_id=7, event_type="job_failed", recipient_key=KEY)
    for customer_id in (0, MAX_ID + 1):
        with pytest.raises(ValueError, match="outside"):
            token(customer_id=customer_id)
