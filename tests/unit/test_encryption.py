from __future__ import annotations

import base64
import json

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.errors import ConfigurationError, SecretUnreadable
from notifier.encryption import SecretBox, generate_key

OLD, NEW = generate_key(), generate_key()


@given(customer_id=st.integers(1, 2**63 - 1), password=st.text())
def test_a_password_comes_back_for_its_customer_and_host(customer_id: int, password: str) -> None:
    box = SecretBox([NEW])
    token = box.encrypt(customer_id=customer_id, host="smtp.x.org", password=password)
    assert box.decrypt(customer_id=customer_id, host="SMTP.x.org", token=token) == password


@pytest.mark.parametrize(("customer_id", "host"), [(2, "smtp.x.org"), (1, "evil.example")])
def test_a_token_moved_to_another_customer_or_host_cannot_be_read(customer_id: int, host: str) -> None:
    box = SecretBox([NEW])
    token = box.encrypt(customer_id=1, host="smtp.x.org", password="p4ss")
    with pytest.raises(SecretUnreadable, match="another customer or host; set the password again"):
        box.decrypt(customer_id=customer_id, host=host, token=token)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "ü",
        "gAAAAA",
        "p4ss",
        pytest.param(Fernet(NEW).encrypt(b"[1]").decode(), id="readable but not ours"),
    ],
)
def test_a_broken_token_names_the_cure(token: str) -> None:
    with pytest.raises(SecretUnreadable, match="set the password again"):
        SecretBox([NEW]).decrypt(customer_id=1, host="h", token=token)


def test_a_token_of_an_unknown_key_cannot_be_read_and_is_not_shown() -> None:
    token = SecretBox([OLD]).encrypt(customer_id=1, host="h", password="p4ss")
    with pytest.raises(SecretUnreadable) as caught:
        SecretBox([NEW]).decrypt(customer_id=1, host="h", token=token)
    assert token not in str(caught.value)


def test_rotation_moves_a_token_to_the_newest_key() -> None:
    token = SecretBox([OLD]).encrypt(customer_id=1, host="h", password="p4ss")
    both = SecretBox([NEW, OLD])
    assert both.needs_rotation(token)
    fresh = both.rotate(customer_id=1, host="h", token=token)
    assert not both.needs_rotation(fresh)
    assert SecretBox([NEW]).decrypt(customer_id=1, host="h", token=fresh) == "p4ss"


def test_rotation_refuses_a_token_of_another_customer() -> None:
    token = SecretBox([OLD]).encrypt(customer_id=1, host="h", password="p4ss")
    with pytest.raises(SecretUnreadable):
        SecretBox([NEW, OLD]).rotate(customer_id=2, host="h", token=token)


def test_bad_keys_are_all_named_and_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        SecretBox(["short-key", NEW, base64.urlsafe_b64encode(b"x" * 31).decode()])
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "security.encryption_keys[0]",
        "security.encryption_keys[2]",
    ]
    assert "short-key" not in str(caught.value)


def test_without_a_key_storing_is_a_configuration_error_and_reading_names_the_cure() -> None:
    box = SecretBox([])
    with pytest.raises(ConfigurationError, match="generate-key"):
        box.encrypt(customer_id=1, host="h", password="p4ss")
    with pytest.raises(SecretUnreadable, match="encryption_keys is empty"):
        box.decrypt(customer_id=1, host="h", token="x")
    assert not box.needs_rotation("x")


def test_the_password_is_not_readable_in_the_token() -> None:
    token = SecretBox([NEW]).encrypt(customer_id=1, host="h", password="p4ss-canary")
    assert b"p4ss" not in base64.urlsafe_b64decode(token)
    assert json.loads(Fernet(NEW).decrypt(token.encode())) == {"c": 1, "h": "h", "p": "p4ss-canary"}
