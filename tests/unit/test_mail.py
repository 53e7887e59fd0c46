from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain import bodies
from notifier.domain.bodies import (
    REASON_PLACEHOLDER,
    UNSUBSCRIBE_PLACEHOLDER,
    Body,
    Both,
    encode_body,
)
from notifier.domain.errors import HeaderInjection, InvalidAddress
from notifier.domain.headers import clean_header
from notifier.domain.mail import assemble
from notifier.domain.mail_headers import MailFacts
from notifier.domain.vocabulary import MAIL_TYPES
from tests.properties import examples
from tests.support.reference_mail import ended, headers, personal, reference

if TYPE_CHECKING:
    from email.message import EmailMessage

URL = "https://app.example.com/u/" + "Zm9yLXRlc3Rz" * 3
AT = datetime(2025, 3, 4, 2, 6, 13, tzinfo=timezone(timedelta(hours=1)))
LINK_BODY = {
    "text": f"Bye:\n{UNSUBSCRIBE_PLACEHOLDER}\n",
    "html": f'<a href="{UNSUBSCRIBE_PLACEHOLDER}">Bye</a>',
}

anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
sentence = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "C", "Z"]) | st.just(" "), min_size=1), min_size=1
)
content = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t.=\r"), max_size=150)


def body(**changes: object) -> Body:
    plain: dict[str, object] = {
        "text": "Hello\n",
        "html": "<p>Hello</p>\n",
        "language": "en",
        "sender": "Webnet (Acme)",
        "list_name": "Failed jobs at Acme",
        "severity": "error",
    }
    return Body(**(plain | changes))  # type: ignore[arg-type] # a table of fields


def facts(**changes: object) -> MailFacts:
    plain: dict[str, object] = {
        "mail_type": "job_failed",
        "product": "Webnet",
        "environment": "production",
        "customer_id": 1,
        "customer_name": "Acme",
        "subject": "[Failed] Config backup #4812 - Acme",
        "from_email": "webnet@example.com",
        "reply_to_email": "noc@example.com",
        "to_address": "anna@example.org",
        "message_id": "<0193@example.com>",
        "date": AT,
        "job_id": 4812,
    }
    return MailFacts(**(plain | changes))  # type: ignore[arg-type] # a table of fields


def parsed(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw, policy=policy.default)


def header_values(raw: bytes) -> dict[str, str]:
    """Headers decoded as RFC 2047 says; the modern parser puts blanks between the encoded words of a name."""
    message = message_from_bytes(raw, policy=policy.compat32)
    found = {name: str(make_header(decode_header(value))) for name, value in message.items()}
    # To EmailMessage these are plain text, to us phrases, which are not quoted when they are encoded (RFC 2919).
    # The standard library loses some blanks between encoded words, and makes others.
    return {name: "".join(value.replace('"', "").replace("\\", "").split()) for name, value in found.items()}


def contents(message: EmailMessage) -> list[str]:
    parts = cast("list[EmailMessage]", list(message.iter_parts()))
    return [str(part.get_content()).replace("\r\n", "\n") for part in parts]


def test_every_header_of_a_failed_job_is_there_byte_for_byte() -> None:
    raw = assemble(facts(trace_id="4bf92f3577b34da6a3ce929d0e0e4736"), encode_body(body()), URL)
    assert raw.partition(b"\r\n\r\n")[0].decode().split("\r\n") == [
        'From: "Webnet (Acme)" <webnet@example.com>',
        "Reply-To: noc@example.com",
        "Subject: [Failed] Config backup #4812 - Acme",
        "To: anna@example.org",
        "Date: Tue, 04 Mar 2025 02:06:13 +0100",
        "Message-ID: <0193@example.com>",
        f"List-Unsubscribe: <{URL}>" if len(URL) < 59 else "List-Unsubscribe:",
        *([] if len(URL) < 59 else [f" <{URL}>"]),
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "In-Reply-To: <job.1.4812@example.com>",
        "References: <job.1.4812@example.com>",
        "Auto-Submitted: auto-generated",
        "X-Auto-Response-Suppress: All",
        'List-Id: "Failed jobs at Acme" <job-failed.acme.notify.example.com>',
        "Feedback-ID: job_failed:1:production:webnet",
        "X-Webnet-Event: job_failed",
        "X-Webnet-Job: 4812",
        "X-Webnet-Customer: Acme",
        "X-Webnet-Severity: error",
        "X-Webnet-Trace-Id: 4bf92f3577b34da6a3ce929d0e0e4736",
        "Content-Language: en",
        "MIME-Version: 1.0",
        raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[-1],
    ]


def test_one_moment_in_two_zones_is_told_as_each_tells_it() -> None:
    told = [
        parsed(assemble(facts(date=AT.astimezone(zone)), encode_body(body()), URL))["Date"]
        for zone in (AT.tzinfo, UTC)
    ]
    assert told == ["Tue, 04 Mar 2025 02:06:13 +0100", "Tue, 04 Mar 2025 01:06:13 +0000"]


@examples(40)
@given(
    text=content,
    html=content,
    subject=anything,
    name=anything,
    customer=anything,
    mail_type=st.sampled_from(MAIL_TYPES),
    url=st.sampled_from([None, URL, "http://localhost:8081/u/x?a=b&c=%3d"]),
    reason=st.none() | st.builds(Both, sentence.map("\n".join), sentence.map("\n".join)),
)
def test_the_fast_mail_is_the_mail_the_standard_library_makes(
    text: str,
    html: str,
    subject: str,
    name: str,
    customer: str,
    mail_type: str,
    url: str | None,
    reason: Both | None,
) -> None:
    """Same headers, same bodies, whatever is in them; link and reason change nothing around them."""
    reasons = {}
    if reason:
        reasons = {"role_default": reason, "preference_enabled": Both("other", "other")}
        text, html = text + REASON_PLACEHOLDER + text, html + REASON_PLACEHOLDER
    if url:
        text, html = text + LINK_BODY["text"] + text, html + LINK_BODY["html"] + html
    rendered = body(text=text, html=html, sender=name or "x", list_name=customer, reasons=reasons)
    about = facts(
        subject=subject or "x", customer_name=customer or "x", mail_type=mail_type, rule="role_default"
    )
    raw = assemble(about, encode_body(rendered), url)
    standard = reference(about, rendered, url).as_bytes()
    fast, slow = parsed(raw), parsed(standard)
    assert header_values(raw) == header_values(standard)
    assert contents(fast) == contents(slow)
    assert [part.get_content_type() for part in fast.iter_parts()] == ["text/plain", "text/html"]
    assert not fast.defects
    assert all(len(line) <= 998 and not line.startswith(b".") for line in raw.split(b"\r\n"))
    assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")


dotted = st.text(st.sampled_from("..x\n é="), max_size=300) | st.builds(
    "{}{}".format, st.text("x", max_size=80), st.text(".", max_size=240)
)


@given(content | dotted, content | dotted)
def test_encoded_lines_are_short_and_no_line_begins_with_a_dot(text: str, html: str) -> None:
    """B41, B42: nothing in a body can end the mail or overflow a line, and its sender has no dots to double."""
    made = body(text=text + UNSUBSCRIBE_PLACEHOLDER + text, html=html)
    for line in b"".join(encode_body(made).pieces).split(b"\r\n"):
        assert len(line) <= 76 or line.startswith(b"Content-Type")
        assert not line.startswith(b".")
    plain = parsed(assemble(facts(), encode_body(made), URL))
    assert contents(plain) == [ended(part) for part in personal(made, URL)]


@pytest.mark.parametrize("letter", ["x", "é", "."])
def test_what_stands_before_a_personal_part_or_in_it_overflows_no_line(letter: str) -> None:
    """RFC 2045 section 6.7: 76 octets with the soft break behind a place, a reason or a link of any length."""
    for length in range(1, 90):
        words = letter * length
        text = f"{words}{REASON_PLACEHOLDER}{words}{UNSUBSCRIBE_PLACEHOLDER}{words}"
        made = body(text=text, html=text, reasons={"role_default": Both(words, words)})
        url = f"https://x.example/{'u' * length}"
        raw = assemble(facts(rule="role_default"), encode_body(made), url)
        lines = raw.partition(b"\r\n\r\n")[2].split(b"\r\n")
        assert max(map(len, lines)) <= 76
        assert not any(line.startswith(b".") for line in lines)
        assert contents(parsed(raw))[0] == f"{words * 3}{url}{words}\n"


def test_no_boundary_can_occur_in_a_body() -> None:
    encoded = encode_body(body(text="=_" * 50, html="=_" * 50))
    assert b"".join(encoded.pieces).count(b"=_") == 4  # the header, the two parts and the end


def test_one_encoding_serves_every_recipient_with_their_own_link() -> None:
    encoded = encode_body(body(**LINK_BODY))
    for token in ("first", "second=&<"):
        url = f"https://app.example.com/u/{token.replace('<', '')}"
        text, html = contents(parsed(assemble(facts(), encoded, url)))
        assert text == f"Bye:\n{url}\n"
        assert html == f'<a href="{url.replace("&", "&amp;")}">Bye</a>\n'


def test_a_body_with_a_place_for_a_link_needs_one() -> None:
    with pytest.raises(ValueError, match="no link was given"):
        assemble(facts(), encode_body(body(**LINK_BODY)), None)


def test_a_body_with_a_place_for_the_reason_needs_one() -> None:
    encoded = encode_body(body(text=REASON_PLACEHOLDER, reasons={"role_default": Both("a", "b")}))
    assert contents(parsed(assemble(facts(rule="role_default"), encoded, None)))[0] == "a\n"
    for rule in (None, "preference_enabled"):
        with pytest.raises(ValueError, match="none was chosen"):
            assemble(facts(rule=rule), encoded, None)


def test_one_click_is_promised_for_https_only() -> None:
    """RFC 8058 section 3.1"""
    names = parsed(assemble(facts(), encode_body(body()), "http://localhost/u/x")).keys()
    assert "List-Unsubscribe" in names
    assert "List-Unsubscribe-Post" not in names
    assert "List-Unsubscribe" not in parsed(assemble(facts(), encode_body(body()), None))


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://x/>\r\nBcc: e@x", "https://x/ö", "https://x y"]
)
def test_a_crooked_unsubscribe_link_is_refused(url: str) -> None:
    with pytest.raises(HeaderInjection, match=r"links\.unsubscribe"):
        assemble(facts(), encode_body(body()), url)


def test_a_compliance_result_without_a_job_has_its_own_thread() -> None:
    about = facts(mail_type="compliance_violation", job_id=None, compliance_result_id=9001)
    message = parsed(assemble(about, encode_body(body()), None))
    assert message["References"] == message["In-Reply-To"] == "<compliance-result.1.9001@example.com>"
    assert message["X-Webnet-Compliance-Result"] == "9001"
    assert "X-Webnet-Job" not in message


def test_a_test_mail_is_no_list_mail_and_never_threads() -> None:
    message = parsed(assemble(facts(mail_type="test", job_id=None), encode_body(body(list_name="")), None))
    assert not {"List-Id", "References", "In-Reply-To"} & set(message)
    assert message["X-Entity-Ref-ID"] == "<0193@example.com>"


def test_without_a_reply_address_there_is_no_reply_to() -> None:
    assert "Reply-To" not in parsed(assemble(facts(reply_to_email=None), encode_body(body()), None))


@pytest.mark.parametrize(
    ("product", "prefix", "sender"),
    [
        ("Webnet", "X-Webnet", "webnet"),
        ("Net Öps", "X-Net-Ops", "netops"),
        ("X", "X-X", "xnotifier"),
        ("東京", "X-Notifier", "notifier"),
    ],
)
def test_any_product_name_makes_lawful_header_names(product: str, prefix: str, sender: str) -> None:
    message = parsed(assemble(facts(product=product), encode_body(body()), None))
    assert message[f"{prefix}-Event"] == "job_failed"
    assert message["Feedback-ID"] == f"job_failed:1:production:{sender}"


@pytest.mark.parametrize(("name", "label"), [("Acme Nörd & Co.", "acme-nord-co"), ("חברת", "customer-1")])
def test_list_id_is_ascii_for_any_customer(name: str, label: str) -> None:
    assert f"<job-failed.{label}.notify.example.com>" in str(
        parsed(assemble(facts(customer_name=name), encode_body(body()), None))["List-Id"]
    )


def test_a_long_sender_name_is_cut() -> None:
    address = parsed(assemble(facts(), encode_body(body(sender="x" * 200)), None))["From"].addresses[0]
    assert address.display_name == "x" * 61 + "..."


@pytest.mark.parametrize("field", ["from_email", "reply_to_email", "to_address"])
def test_a_bad_address_is_named_not_sent(field: str) -> None:
    with pytest.raises(InvalidAddress):
        assemble(facts(**{field: "a@b.example\r\nBcc: e@x"}), encode_body(body()), None)


@pytest.mark.parametrize("field", ["message_id", "trace_id"])
def test_a_crooked_id_never_makes_a_header(field: str) -> None:
    with pytest.raises(HeaderInjection):
        assemble(facts(**{field: "<x>\r\nBcc: e@x"}), encode_body(body()), None)


@given(anything)
def test_headers_hold_only_cleaned_words(text: str) -> None:
    encoded = encode_body(body(sender=text or "x", list_name=text))
    for header in headers(facts(subject=text, customer_name=text, date=AT.astimezone(UTC)), encoded, URL):
        assert clean_header(header.words) == header.words


@pytest.mark.parametrize("smuggled", ["a\nBcc: e@x", "a\rBcc: e@x"])
def test_an_encoder_that_lets_a_line_end_through_stops_the_mail(
    monkeypatch: pytest.MonkeyPatch, smuggled: str
) -> None:
    """The standard library has done so (CVE-2024-6923)."""
    monkeypatch.setattr("notifier.domain.headers.EncodedHeader.encode", lambda _self, **_how: smuggled)
    with pytest.raises(HeaderInjection, match=r"bare CR or LF|would have the headers"):
        assemble(facts(subject=f"Störung {ord(smuggled[1])}"), encode_body(body()), None)


def test_what_is_remembered_of_bodies_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of templates come again and again; those of jobs are new each time, and may be long."""
    monkeypatch.setattr(bodies, "_encoded_lines", bodies._EncodedLines())
    short = [f"line {number}" for number in range(3000)]
    long = "x" * 5000
    text = "\n".join([*short, long])
    raw = assemble(facts(), encode_body(body(text=text)), None)
    plain, _ = message_from_bytes(raw, policy=policy.default).iter_parts()
    assert str(plain.get_content()).splitlines() == [*short, long]
    assert 0 < len(bodies._encoded_lines) <= bodies._REMEMBERED_LINES
    assert long not in bodies._encoded_lines


@pytest.mark.parametrize("line", ["a\nb", "a\rb", "a\r\nb", "\n" * 2000])
def test_a_line_end_that_slips_in_stops_the_mail(line: str) -> None:
    """What is encoded as one line is one line, whatever made it."""
    with pytest.raises(HeaderInjection, match="bare CR or LF"):
        bodies._encoded_line(line)
