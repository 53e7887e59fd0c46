"""Secrets in JSON that could not be read are hidden as well as in JSON that could."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.masking import MASK, mask_json_source, mask_text
from tests.properties import examples

CONFIGURATION = [
    "neighbor 10.0.0.1 password 7 {}",
    "snmp-server community {} RO",
    "db_password={}",
    "enable secret 5 {}",
    "password\t{}",
]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\t"])
def test_every_line_of_a_text_in_a_broken_document_is_masked(end: str, indent: int | None) -> None:
    secrets = [f"hunter{number}x" for number in range(len(CONFIGURATION))]
    text = end.join(line.format(secret) for line, secret in zip(CONFIGURATION, secrets, strict=True))
    source = json.dumps({"id": "1", "error": text}, indent=indent)[:-1]
    masked = mask_json_source(source)
    assert not [secret for secret in secrets if secret in masked]
    assert MASK in masked


def test_a_key_in_a_broken_document_is_masked_whole() -> None:
    lines = ("BEGIN PRIVATE KEY", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "BKcwggSjAgEAAoIBAQ", "END PRIVATE KEY")
    key = "\n".join(f"-----{line}-----" if " " in line else line for line in lines)
    masked = mask_json_source(json.dumps({"log": key})[:-1])
    assert "MIIE" not in masked
    assert "BKcw" not in masked


@examples(200)
@given(text=st.text(alphabet='ab\\\\nrt\n\r\t"{}:,', max_size=60))
def test_what_holds_no_secret_stays_as_it_was_written(text: str) -> None:
    assert mask_json_source(text) == mask_text(text)


def test_a_text_with_real_backslashes_keeps_its_secret_whole() -> None:
    masked = mask_json_source(json.dumps({"error": "password=ab\\next and more"})[:-1])
    assert "next" not in masked
    assert "ab" not in masked.partition("password")[2]
