from __future__ import annotations

from email import message_from_bytes, policy
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain import headers
from notifier.domain.errors import HeaderInjection, InvalidAddress
from notifier.domain.headers import MAX_LENGTH, Header, clean_header, mailbox, serialise
from tests.properties import examples

anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("x\r\nBcc: e@x", "x Bcc: e@x"),  # B22
        ("=?utf-8?q?x=0d=0aBcc:_e@x?=", "= ?utf-8?q?x=0d=0aBcc:_e@x?="),  # B23
        ("a\u2028b\x85c\x0bd\x0ce", "a b c d e"),  # B25
        ("a\u202eb\u200bc", "a b c"),  # B26
        ("\x1b[31mred\x1b[0m \x1b]0;t\x07x", "red x"),
        ("  two   blanks ", "two blanks"),
        ("plain", "plain"),
    ],
)
def test_foreign_text_becomes_one_harmless_line(given: str, shown: str) -> None:
    assert clean_header(given) == shown


def test_a_subject_of_ten_thousand_characters_is_cut() -> None:
    """B27"""
    assert clean_header("x" * 10_000) == "x" * (MAX_LENGTH - 1) + "…"


@given(anything)
def test_cleaning_is_total_and_settled_after_once(text: str) -> None:
    cleaned = clean_header(text)
    assert clean_header(cleaned) == cleaned
    assert len(cleaned) <= MAX_LENGTH
    assert cleaned.isprintable()
    assert "=?" not in cleaned


def letters(text: str) -> str:
    """The text without what quoting adds."""
    return "".join(text.replace("\\", "").replace('"', "").split())


@examples(50)
@given(anything, anything)
def test_whatever_the_words_the_header_reads_back_and_no_other_appears(words: str, name: str) -> None:
    block = serialise(
        (
            Header("From", clean_header(name) or "x", "<a@b.example>", quoted=True),
            Header("Subject", clean_header(words) or "x"),
            Header("To", machine="c@d.example"),
        )
    )
    assert block.isascii()
    message = message_from_bytes(block + b"\r\n", policy=policy.compat32)
    assert message.keys() == ["From", "Subject", "To"]
    assert str(make_header(decode_header(message["Subject"]))).split() == (clean_header(words) or "x").split()
    sender = str(make_header(decode_header(message["From"])))
    assert sender.endswith("<a@b.example>")
    assert letters(sender.removesuffix("<a@b.example>")) == letters(clean_header(name) or "x")


@given(st.lists(st.text(st.sampled_from("abc öäü"), min_size=1, max_size=30), min_size=1, max_size=12))
def test_lines_keep_to_78_characters_where_words_allow_it(words: list[str]) -> None:
    text = clean_header(" ".join(words)) or "x"
    block = serialise((Header("List-Id", text, "<job-failed.acme.notify.example.com>", quoted=True),))
    assert all(len(line) <= 78 for line in block.split(b"\r\n"))


def test_an_address_with_a_foreign_local_part_goes_out_as_utf8() -> None:
    """RFC 6532; only for servers with SMTPUTF8."""
    assert serialise((Header("To", machine=mailbox("jürgen@bücher.example")),)) == (
        "To: jürgen@xn--bcher-kva.example\r\n".encode()
    )


def test_what_is_not_one_mailbox_is_refused() -> None:
    with pytest.raises(InvalidAddress):
        mailbox("a@b.example, c@d.example")


@pytest.mark.parametrize(
    "header",
    [
        Header("Subject", "x\r\nBcc: e@x"),
        Header("Subject", "=?utf-8?q?x?="),
        Header("Message-ID", machine="<a@b>\r\nBcc: e@x"),
        Header("Message-ID", machine="=?utf-8?q?x?="),
        Header("X-Evil: x\r\nBcc", machine="1"),
        Header("Sub ject", "x"),
        Header("", "x"),
    ],
)
def test_what_was_not_cleaned_never_gets_into_a_mail(header: Header) -> None:
    """B24"""
    with pytest.raises(HeaderInjection):
        serialise((header,))


def test_a_header_without_words_and_machine_part_keeps_its_name() -> None:
    assert serialise((Header("Subject"),)) == b"Subject: \r\n"


def test_a_header_that_slips_past_the_first_check_stops_at_the_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The finished block is compared with the names that were asked for, whatever was checked before."""
    monkeypatch.setattr(headers, "_is_one_line", lambda _: True)
    with pytest.raises(HeaderInjection, match="Message-ID, Bcc"):
        serialise((Header("Message-ID", machine="<a@b>\r\nBcc: e@x"),))
