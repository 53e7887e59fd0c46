"""The rules of a customer's SMTP configuration, whichever way it comes in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifier.domain.errors import InvalidInput
from notifier.domain.smtp_settings import MASK, SmtpChange, SmtpSettings, changed
from tests.support.certificates import authority

STORED = SmtpSettings(host="smtp.example.org", from_email="alerts@example.org", username="acme")


@pytest.mark.parametrize(
    ("change", "tls"),
    [
        (SmtpChange(use_ssl=True), (False, True)),
        (SmtpChange(use_tls=True), (True, False)),
        (SmtpChange(use_tls=False), (False, False)),
        (SmtpChange(), (True, False)),
    ],
)
def test_asking_for_one_kind_of_tls_gives_up_the_other(change: SmtpChange, tls: tuple[bool, bool]) -> None:
    settings = changed(STORED, change, has_password=False)
    assert (settings.use_tls, settings.use_ssl) == tls


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (SmtpChange(use_tls=True, use_ssl=True), "use_ssl"),
        (SmtpChange(host="smtp://smtp.example.org"), "host"),
        (SmtpChange(host="smtp.example.org:587"), "host"),
        (SmtpChange(host=" "), "host"),
        (SmtpChange(port=0), "port"),
        (SmtpChange(port=65536), "port"),
        (SmtpChange(from_email="Acme <alerts@example.org>"), "from_email"),
        (SmtpChange(reply_to_email="a@b.example, c@d.example"), "reply_to_email"),
        (
            SmtpChange(ca_certificate="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"),
            "ca_certificate",
        ),
        (SmtpChange(ca_certificate="é"), "ca_certificate"),
        (SmtpChange(ca_certificate="x" * 100_001), "ca_certificate"),
        (SmtpChange(host="ü" * 64), "host"),
        (SmtpChange(username="acme\r\nQUIT"), "username"),
        (SmtpChange(username="x" * 501), "username"),
        (SmtpChange(password="two\nlines"), "password"),
        (SmtpChange(password="x" * 501), "password"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_field(change: SmtpChange, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        changed(STORED, change, has_password=False)
    assert set(caught.value.problems) == {field}


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        (" smtp.example.org ", "smtp.example.org"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:DB8::1]", "2001:db8::1"),
    ],
)
def test_a_host_is_stored_as_a_name_or_address_that_can_be_looked_up(written: str, stored: str) -> None:
    assert changed(STORED, SmtpChange(host=written), has_password=False).host == stored


def test_empty_texts_remove_what_is_optional() -> None:
    full = replace(STORED, reply_to_email="noc@example.org", ca_certificate=authority().pem.strip())
    change = SmtpChange(username="", reply_to_email=" ", ca_certificate=" ")
    assert changed(full, change, has_password=False) == replace(STORED, username=None)


def test_a_certificate_authority_is_stored_as_it_is_without_blanks_around_it() -> None:
    pem = authority().pem.strip()
    kept = changed(STORED, SmtpChange(ca_certificate=f"\n{pem}\n\n"), has_password=False)
    assert kept.ca_certificate == pem


def test_a_new_configuration_needs_a_host_and_a_sender() -> None:
    with pytest.raises(InvalidInput) as caught:
        changed(None, SmtpChange(), has_password=False)
    assert set(caught.value.problems) == {"host", "from_email"}


@pytest.mark.parametrize(
    "change",
    [
        SmtpChange(host="other.example.org"),
        SmtpChange(port=2525),
        SmtpChange(use_tls=False),
        SmtpChange(use_ssl=True),
        SmtpChange(allow_plaintext_auth=True),
        SmtpChange(host="other.example.org", password=MASK),
    ],
)
def test_what_leads_the_password_elsewhere_asks_for_it_again(change: SmtpChange) -> None:
    with pytest.raises(InvalidInput, match="give the password again"):
        changed(STORED, change, has_password=True)
    assert changed(STORED, change, has_password=False)


@pytest.mark.parametrize(
    "change",
    [
        SmtpChange(host="SMTP.example.org", port=587, use_tls=True, use_ssl=False),
        SmtpChange(enabled=False, from_email="new@example.org"),
        SmtpChange(host="other.example.org", password="again"),
        SmtpChange(host="other.example.org", password=None),
    ],
)
def test_what_leads_it_nowhere_else_does_not(change: SmtpChange) -> None:
    assert changed(STORED, change, has_password=True)
