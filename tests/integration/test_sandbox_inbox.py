"""The mail inbox: takes and refuses as its script says, and shows hostile mails without harm."""

from __future__ import annotations

import smtplib
import urllib.error
import urllib.request
from email.message import EmailMessage
from typing import TYPE_CHECKING

import pytest

from notifier.sandbox.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse

HOSTILE = "<script>alert('subject')</script>"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox(refuse=frozenset({"Gone@example.org"}), greylist={"slow@example.org": 2}) as running:
        yield running


def send(inbox: Inbox, to: str, source: bytes) -> int:
    """Send one mail; return the reply code that decided."""
    with smtplib.SMTP(inbox.smtp_host, inbox.smtp_port, timeout=5) as client:
        try:
            client.sendmail("notifier@example.net", [to], source)
        except smtplib.SMTPRecipientsRefused as refusal:
            return next(iter(refusal.recipients.values()))[0]
        return 250


def mail(subject: str, *, html: str = "<p>Hello <b>reader</b></p>") -> bytes:
    message = EmailMessage()
    message["From"] = "Notifier <notifier@example.net>"
    message["To"] = "anna@example.org"
    message["Subject"] = subject
    message["Message-ID"] = "<one@example.net>"
    message.set_content("Hello reader\n")
    message.add_alternative(html, subtype="html")
    return bytes(message)


def get(inbox: Inbox, path: str, *, host: str | None = None) -> HTTPResponse:
    request = urllib.request.Request(inbox.url + path, headers={"Host": host} if host else {})  # noqa: S310 - http
    response: HTTPResponse = urllib.request.urlopen(request, timeout=5)  # noqa: S310 - as above
    return response


def page(inbox: Inbox, path: str) -> str:
    with get(inbox, path) as response:
        return response.read().decode()


def test_a_mail_is_kept_with_envelope_and_both_bodies(inbox: Inbox) -> None:
    assert send(inbox, "Anna@example.org", mail("Größe")) == 250

    (kept,) = inbox.to("anna@EXAMPLE.org")
    assert (kept.mail_from, kept.rcpt_tos) == ("notifier@example.net", ("Anna@example.org",))
    assert (kept.subject, kept.message_id) == ("Größe", "<one@example.net>")
    assert kept.text == "Hello reader\n"
    assert kept.html == "<p>Hello <b>reader</b></p>\n"
    assert inbox.to("berta@example.org") == ()


def test_a_mailbox_on_the_refuse_list_always_answers_550(inbox: Inbox) -> None:
    assert [send(inbox, "gone@example.org", mail("x")) for _ in range(3)] == [550, 550, 550]
    assert inbox.mails() == ()


def test_a_greylisted_mailbox_answers_451_so_many_times_and_then_takes_the_mail(inbox: Inbox) -> None:
    assert [send(inbox, "slow@example.org", mail("x")) for _ in range(4)] == [451, 451, 250, 250]
    assert inbox.attempts("slow@example.org") == 4
    assert len(inbox.mails()) == 2


def test_the_list_shows_the_newest_mail_first(inbox: Inbox) -> None:
    for subject in ("first subject", "second subject"):
        send(inbox, "anna@example.org", mail(subject))

    shown = page(inbox, "")

    assert 0 < shown.index("second subject") < shown.index("first subject")


@pytest.mark.parametrize("path", ["", "mail/1", "mail/1/text", "mail/1/headers", "mail/1/source"])
def test_no_page_lets_markup_of_a_mail_through(inbox: Inbox, path: str) -> None:
    send(inbox, '"<script>a"@example.org', mail(HOSTILE, html="<script>alert('body')</script>"))

    shown = page(inbox, path)

    assert "<script" not in shown
    assert "&lt;script&gt;" in shown


@pytest.mark.parametrize(
    "path", ["", "mail/1", "mail/1/text", "mail/1/headers", "mail/1/source", "mail/1/body"]
)
def test_no_page_may_run_scripts_or_load_anything_from_elsewhere(inbox: Inbox, path: str) -> None:
    send(inbox, "anna@example.org", mail("x"))

    with get(inbox, path) as response:
        policy = response.headers["Content-Security-Policy"]
        shown = response.read().decode()

    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "http://" not in shown
    assert "https://" not in shown


def test_the_html_of_a_mail_is_shown_in_a_sandboxed_frame_only(inbox: Inbox) -> None:
    send(inbox, "anna@example.org", mail("x"))

    assert '<iframe src="/mail/1/body" sandbox ' in page(inbox, "mail/1")
    with get(inbox, "mail/1/body") as response:
        assert response.headers["Content-Security-Policy"].startswith("sandbox;")
        assert response.read() == b"<p>Hello <b>reader</b></p>\n"


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"no header at all",
        b"Subject: =?utf-9?q?x?=\r\nContent-Type: text/html; charset=no-such\r\n\r\n\xff\xfe",
        b"Subject: \xff\xfe\r\nFrom: <<>>\r\nTo: @\r\nDate: never\r\n\r\nbody",
        b"Content-Type: multipart/alternative\r\n\r\nno boundary",
    ],
    ids=["empty", "no header", "unknown charset", "broken headers", "broken multipart"],
)
@pytest.mark.parametrize(
    "path", ["", "mail/1", "mail/1/text", "mail/1/headers", "mail/1/source", "mail/1/body"]
)
def test_a_broken_mail_does_not_break_the_page(inbox: Inbox, source: bytes, path: str) -> None:
    assert send(inbox, "anna@example.org", source) == 250

    assert get(inbox, path).status == 200


@pytest.mark.parametrize("path", ["mail/99", "mail/0/html", "nothing", "mail/1/../../etc"])
def test_what_does_not_exist_is_404(inbox: Inbox, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(inbox, path)
    with caught.value as answer:
        assert answer.code == 404


def test_a_page_asked_for_under_a_foreign_name_is_refused(inbox: Inbox) -> None:
    """A web page elsewhere can give its own name this address and would then read the mails."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(inbox, "", host="evil.example:80")
    with caught.value as answer:
        assert answer.code == 421


def test_a_closed_inbox_frees_its_ports_and_can_open_on_them_again() -> None:
    with Inbox() as first:
        port = first.smtp_port
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP("127.0.0.1", port, timeout=5)

    with Inbox(smtp_port=port) as second:
        assert send(second, "anna@example.org", mail("x")) == 250


def test_with_a_login_nothing_is_taken_before_the_right_password() -> None:
    with (
        Inbox(login=("acme", "right")) as inbox,
        smtplib.SMTP(inbox.smtp_host, inbox.smtp_port, timeout=5) as client,
    ):
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="530"):
            client.sendmail("notifier@example.net", ["anna@example.org"], mail("early"))
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("acme", "wrong")
        client.login("acme", "right")
        client.sendmail("notifier@example.net", ["anna@example.org"], mail("in time"))
    assert [kept.subject for kept in inbox.mails()] == ["in time"]
