"""Exactly one plain mailbox, or a sentence naming the fault (B28-B36)."""

from __future__ import annotations

from email.headerregistry import Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.addresses import Mailbox, ascii_domain, hidden, parse_mailbox
from notifier.domain.errors import InvalidAddress
from tests.properties import examples

LONG_DOMAIN = ".".join(["d" * 60] * 3)

ACCEPTED = {
    "anna@example.org": "anna@example.org",
    "Anna.Berg+alerts@Example.ORG": "Anna.Berg+alerts@example.org",
    "o'neil!#$%&*/=?^_`{|}~-@x.org": "o'neil!#$%&*/=?^_`{|}~-@x.org",
    "b@bücher.example": "b@xn--bcher-kva.example",  # B33
    "b@BÜCHER.example": "b@xn--bcher-kva.example",
    "b@xn--bcher-kva.example": "b@xn--bcher-kva.example",
    "b@x。org": "b@x.org",
    "b@пример.рф": "b@xn--e1afmkfd.xn--p1ai",
    "b@a.b.c.d.internal": "b@a.b.c.d.internal",
    "1@2.3com.de": "1@2.3com.de",
    "ü@x.org": "ü@x.org",
    f"{'l' * 64}@x.org": f"{'l' * 64}@x.org",
    f"{'l' * 64}@{LONG_DOMAIN}.orgsde": f"{'l' * 64}@{LONG_DOMAIN}.orgsde",  # 254
}

REFUSED = {
    "": "is empty",
    "b@x.org, evil@y.org": "space",  # B28
    "b@x.org,evil@y.org": "exactly one @",
    "b@x.org;evil@y.org": "exactly one @",
    "b@x.org\r\nRCPT TO:<e@x>": "U+000D",  # B29
    "b@x.org> NOTIFY=SUCCESS": "U+0020",
    "b@x.org>": "host name|mail domain",
    "<b@x.org>": "not allowed there",
    "Anna <b@x.org>": "space",
    "b@@x": "exactly one @",  # B30
    "b@@x.org": "exactly one @",
    "x.org": "exactly one @",
    "@x.org": "before the @ is missing",
    "b@": "after the @ is missing",
    "b\x00@x.org": "U+0000",
    '""@x.org': "not allowed there",
    '"a b"@x.org': "space",
    '"a.b"@x.org': "not allowed there",
    "b(comment)@x.org": "not allowed there",
    f"{'l' * 65}@x.org": "longer than 64",
    f"{'ü' * 33}@x.org": "longer than 64",
    f"{'l' * 64}@{LONG_DOMAIN}.orgsdee": "at most 254",
    f"{'ü' * 32}@{LONG_DOMAIN}.orgsdee": "at most 254",
    "alice@example.org]bob": "not a valid mail domain",  # B31
    "b@[127.0.0.1]": "brackets",  # B32
    "b@127.0.0.1": "not a valid mail domain",
    "b@\uff11\uff12\uff17.\uff10.\uff10.\uff11": "not a valid mail domain",
    "b@localhost": "no dot",
    "b@x.org.": "not a valid mail domain",
    "b@.x.org": "not a valid mail domain",
    "b@x..org": "not a valid mail domain",
    "b@-x.org": "not a valid mail domain",
    "b@x_y.org": "not a valid mail domain",
    "b@x.4": "not a valid mail domain",
    f"b@{'d' * 64}.org": "not a valid mail domain",
    f"b@{'ü' * 60}.org": "not a valid host name",
    "b@ü..org": "not a valid host name",
    "b@ü_.org": "host name|mail domain",
    "-oQ/x@x.org": "hyphen",  # B35
    ".b@x.org": "two dots",
    "b.@x.org": "two dots",
    "b..c@x.org": "two dots",
    "b\u2028@x.org": "U+2028",
    "b\u200b@x.org": "U+200B",
    "b\u202e@x.org": "U+202E",
    "b@x.org\u00a0": "U+00A0",
    "\ud800@x.org": "U+D800",
    "ü,b@x.org": "not allowed there",
}


def outcome(text: str) -> Mailbox | InvalidAddress:
    try:
        return parse_mailbox(text)
    except InvalidAddress as fault:
        return fault


@pytest.mark.parametrize(("text", "address"), ACCEPTED.items())
def test_a_plain_mailbox_is_accepted_with_its_domain_in_lower_case_ascii(text: str, address: str) -> None:
    assert parse_mailbox(text).address == address


@pytest.mark.parametrize(("text", "sentence"), REFUSED.items(), ids=map(ascii, REFUSED))
def test_anything_else_is_refused_with_the_fault_named(text: str, sentence: str) -> None:
    with pytest.raises(InvalidAddress, match=sentence.replace("+", r"\+")):
        parse_mailbox(text)


def test_a_domain_alone_is_checked_the_same_way() -> None:
    assert ascii_domain("Bücher.Example") == "xn--bcher-kva.example"
    with pytest.raises(InvalidAddress, match="at most 253"):
        ascii_domain("d." * 130)


def test_the_same_mailbox_has_one_key_and_another_local_part_another() -> None:  # B36
    assert parse_mailbox("A@X.org").key == parse_mailbox("A@x.ORG").key == "A@x.org"
    assert parse_mailbox("a@x.org").key != parse_mailbox("A@x.org").key


def test_only_a_non_ascii_local_part_needs_smtputf8() -> None:  # B34
    assert not parse_mailbox("ü@x.org").address.isascii()
    assert parse_mailbox("b@bücher.example").address.isascii()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("anna@x.org", "a***@x.org"),
        ("a@x.org", "a***@x.org"),
        ("anna", "***"),
        ("@x.org", "***"),
        ("", "***"),
        ("a@b@x.org", "a***@x.org"),
    ],
)
def test_a_hidden_address_shows_one_letter_and_the_domain(address: str, shown: str) -> None:
    assert hidden(address) == shown


@examples(60)
@given(
    text=st.text(alphabet="ab.@-+_\"'<>()[]\\,;: \r\n\0ü\u200b。\uff11%!", max_size=20) | st.text(max_size=20)
)
def test_what_is_accepted_is_safe_on_an_smtp_line(text: str) -> None:
    mailbox = outcome(text)
    if isinstance(mailbox, InvalidAddress):
        assert str(mailbox)
        return
    assert mailbox.address.isprintable()
    assert not set(mailbox.address) & set(' <>,;"()[]\\:')
    assert mailbox.address.count("@") == 1
    assert parse_mailbox(mailbox.address) == mailbox
    assert Address(username=mailbox.local, domain=mailbox.domain).addr_spec == mailbox.address


@examples(60)
@given(text=st.text(max_size=30))
def test_hiding_never_raises_and_never_shows_a_local_part(text: str) -> None:
    assert "***" in hidden(text)
    assert hidden("geheim" + text.replace("@", "") + "@x.org") == "g***@x.org"
