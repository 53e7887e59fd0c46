"""Hostile texts, addresses and hosts, end to end: judged by the bytes the SMTP server got and by the rows.

One worker serves all cases of this file; each has a customer and a server of its own.
"""

from __future__ import annotations

import email
import email.policy
import json
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest

from tests.acceptance.world import failed_job
from tests.support.certificates import authority
from tests.support.smtp_script import say
from tests.support.smtp_server import Options, SmtpServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage

    from tests.acceptance.world import Customer, World

pytestmark = pytest.mark.xdist_group("hostile_input")

# Loopback has to be allowed here, so the networks a customer's server may not lie in are others.
DENIED = ["127.0.0.2/32", "169.254.0.0/16", "0.0.0.0/32", "224.0.0.0/4"]
ENCODED_WORD = "=?utf-8?q?x=0d=0aBcc:_e@x.example?="
# What a hostile name server would answer: the allowed address at the first question and the denied one afterwards, or
# both at once. Each question is noted.
RESOLVER = """
import socket
_real = socket.getaddrinfo
def getaddrinfo(host, *args, **named):
    if not str(host).endswith(".rebinding.example"):
        return _real(host, *args, **named)
    with open("asked", "a+") as asked:
        asked.seek(0)
        known = asked.read().split().count(host)
        asked.write(host + "\\n")
    addresses = ["127.0.0.1", "127.0.0.2"] if host.startswith("both.") else ["127.0.0.2" if known else "127.0.0.1"]
    return [found for one in addresses for found in _real(one, *args, **named)]
socket.getaddrinfo = getaddrinfo
"""
HOSTILE_NAMES = {
    "B22 line break": "x\r\nBcc: e@x.example",
    "B23 encoded word": ENCODED_WORD,
    "B25 other line ends": "a\u2028b\u2029c\u0085d\x0be\x0cf",
    "B26 bidi and zero width": "a\u202egpj.exe\u202c\u200bb\ufeff",
    "B27 very long": "n" * 10_000,
    "B39 markup": "<script>alert(1)</script><img src=x onerror=alert(2)>",
}


@pytest.fixture(scope="module", name="field")
def _field(shared_world: World) -> Iterator[World]:
    (shared_world.folder / "sitecustomize.py").write_text(RESOLVER)
    shared_world.worker(
        variables={"PYTHONPATH": str(shared_world.folder)}, delivery__denied_networks=json.dumps(DENIED)
    ).ready()
    yield shared_world
    verdict = shared_world.verdict()
    assert (verdict.lost, verdict.extra, verdict.stuck, verdict.violations) == (0, 0, 0, ())


def _parsed(data: bytes) -> EmailMessage:
    return email.message_from_bytes(data, policy=email.policy.default)


def _part(data: bytes, kind: str) -> str:
    part = _parsed(data).get_body((kind,))
    assert part is not None
    return str(part.get_content())


def _header_names(data: bytes) -> list[bytes]:
    head = data.partition(b"\r\n\r\n")[0]
    return [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b" \t"]


def _one_mail(world: World, customer: Customer, number: int = 1, **job: Any) -> bytes:
    world.fail_job(customer, number, **job)
    world.wait_log(customer, lambda rows: len(rows) == number and rows[-1]["status"] == "sent", 60)
    return customer.server.mails[number - 1].data


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_name_adds_a_header_or_a_line_to_the_mail(field: World, name: str) -> None:  # B22-B27, B39
    text = HOSTILE_NAMES[name]
    customer = field.customer()
    usual = _one_mail(field, customer)
    field.database.execute("UPDATE customers SET name = %s WHERE id = %s", (text[:500], customer.id))
    devices = [{"id": 1, "hostname": text, "status": "failed", "message": text}]
    schedule = {"id": 1, "name": text}
    mail = _one_mail(
        field,
        customer,
        2,
        type=text,
        requested_by=text,
        schedule=schedule,
        devices=devices,
        error=text,
        storage=text,
    )

    assert _header_names(mail) == _header_names(usual)
    assert b"\nbcc" not in mail.lower()
    subject = str(_parsed(mail)["Subject"])
    assert subject.isprintable()
    assert len(subject) <= 201
    assert all(len(line) <= 998 for line in mail.split(b"\r\n"))
    html = _part(mail, "html")
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    if name.startswith("B39"):
        assert "&lt;script&gt;alert(1)" in html
        assert "<script>alert(1)" in _part(mail, "plain")
    if name.startswith("B23"):
        assert "Bcc" in subject  # as text
    for row in field.log(customer):
        assert len(row["subject"]) <= 201


STATEMENTS = {
    "from_email": "UPDATE smtp_configs SET from_email = %s WHERE customer_id = %s",
    "reply_to_email": "UPDATE smtp_configs SET reply_to_email = %s WHERE customer_id = %s",
}


@pytest.mark.parametrize("column", STATEMENTS)
@pytest.mark.parametrize("text", [f"{ENCODED_WORD} <a@b.example>", "a@b.example\r\nBcc: e@x.example", "a@b"])
def test_a_sender_that_is_no_address_fails_the_mail_and_is_named(
    field: World, column: str, text: str
) -> None:  # B24
    customer = field.customer()
    field.database.execute(STATEMENTS[column], (text, customer.id))
    field.fail_job(customer, 1)
    (row,) = field.wait_final(customer, 1)
    assert (row["status"], row["failure_reason"], row["attempts"]) == ("failed", "header_injection", 0)
    assert column in row["error_message"]
    assert customer.server.mails == []


def test_nul_characters_are_stored_as_replacement_characters_and_sent_as_question_marks(
    field: World,
) -> None:  # B20
    customer = field.customer()
    body = failed_job(customer, 1, error="be@fore").replace(b"be@fore", b"be\\u0000fore")
    field.publish(body)
    field.expect(customer, "job-1-failed")
    field.wait_final(customer, 1)
    ((stored,),) = field.ask(
        "SELECT payload #>> '{data,job,error}' FROM job_events WHERE customer_id = %s", (customer.id,)
    )
    assert stored == "be\ufffdfore"
    assert "be?fore" in _part(
        customer.server.mails[0].data, "plain"
    )  # which no reader takes for a broken mail


NO_ADDRESSES = {
    "B28 two": "b@x.example, evil@y.example",
    "B29 command": "b@x.example\r\nRCPT TO:<e@x.example>",
    "B29 option": "b@x.example> NOTIFY=SUCCESS",
    "B30 two at": "b@@x.example",
    "B30 no local part": "@x.example",
    "B30 quoted": '""@x.example',
    "B30 long local part": "l" * 65 + "@x.example",
    "B30 long": "l" * 60 + "@" + ".".join(["d" * 60] * 4) + ".example",
    "B31 bracket": "alice@example.org]bob",
    "B32 literal": "b@[127.0.0.1]",
    "B32 localhost": "b@localhost",
    "B35 option of sendmail": "-oQ/x@x.example",
    "display name": "B <b@x.example>",
}


def test_addresses_that_are_none_fail_at_once_and_never_reach_a_server(field: World) -> None:  # B28-B32, B35
    customer = field.customer(admins=0)
    for address in NO_ADDRESSES.values():
        field.user(customer.id, email=address)
    good = field.user(customer.id, email="good@x.example")
    field.fail_job(customer, 1)

    rows = {row["recipient_email"]: row for row in field.wait_final(customer, len(NO_ADDRESSES) + 1)}
    assert rows.pop(good)["status"] == "sent"
    assert {row["failure_reason"] for row in rows.values()} == {"invalid_recipient"}
    assert {row["attempts"] for row in rows.values()} == {0}
    assert [command.line for command in customer.server.commands if "RCPT" in command.line] == [
        f"RCPT TO:<{good}>"
    ]


def test_international_addresses_go_out_as_far_as_the_server_understands_them(
    field: World,
) -> None:  # B33, B34, B36
    customer = field.customer(admins=0)
    for address in ("b@b\u00fccher.example", "\u00fc@x.example", "A@X.example", "A@x.EXAMPLE"):
        field.user(customer.id, email=address)
    field.publish(failed_job(customer, 1))
    expected = frozenset({"b@xn--bcher-kva.example", "\u00fc@x.example", "A@x.example"})
    field.expect(customer, "job-1-failed", expected)

    ends = {
        row["recipient_email"]: (row["status"], row["failure_reason"])
        for row in field.wait_final(customer, 3)
    }
    assert ends == {
        "b@xn--bcher-kva.example": ("sent", None),
        "\u00fc@x.example": ("failed", "smtputf8_unsupported"),
        "A@x.example": ("sent", None),
    }
    assert customer.server.connections == 1  # the connection stayed clean


def test_an_international_local_part_reaches_a_server_that_takes_it(field: World) -> None:  # B34
    customer = field.customer(field.smtp(Options(smtputf8=True)), admins=0)
    address = field.user(customer.id, email="\u00fc@x.example")
    field.fail_job(customer, 1)
    field.wait_final(customer, 1)
    (mail,) = customer.server.mails
    assert mail.rcpt_tos == (address,)
    assert "SMTPUTF8" in mail.options


def test_a_huge_error_text_is_cut_and_cleaned(field: World) -> None:  # B38, B42
    customer = field.customer()
    text = "\x1b[31mred\x1b[0m alert\n" * 500 + "x" * 3000 + "\n" + "line\n" * 20_000 + "the end"
    mail = _one_mail(field, customer, error=text, log_excerpt=text[:50_000])
    assert len(mail) < 100_000
    assert all(len(line) <= 998 for line in mail.split(b"\r\n"))
    for kind in ("plain", "html"):
        content = _part(mail, kind)
        assert "red alert" in content
        assert "\x1b" not in content
    (row,) = field.log(customer)
    assert len(row["subject"]) <= 201


def test_links_of_others_are_never_made(field: World) -> None:  # B40
    customer = field.customer()
    links = [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example/x",
        "https://localhost:8000@evil.example/x",
    ]
    devices = [
        {"id": n, "hostname": link, "status": "failed", "message": link} for n, link in enumerate(links, 1)
    ]
    mail = _one_mail(
        field, customer, devices=devices, error=" ".join(links), storage=links[3], requested_by=links[0]
    )
    html = _part(mail, "html")
    targets = [piece.split('"', 1)[0] for piece in html.split('href="')[1:]]
    assert targets
    assert all(target.startswith("http://localhost:8000/") for target in targets), targets


def test_a_text_cannot_end_the_mail_and_begin_another(field: World) -> None:  # B41
    customer = field.customer()
    text = "first\n.\nMAIL FROM:<evil@x.example>\nRCPT TO:<e@x.example>\r.\r\n..\nlast"
    mail = _one_mail(field, customer, error=text)
    assert len(customer.server.mails) == 1
    for verb in ("MAIL", "RCPT"):
        assert customer.server.verbs().count(verb) == 1
    plain = _part(mail, "plain")
    assert "MAIL FROM:<evil@x.example>" in plain
    assert plain.index("first") < plain.index("last")


HOSTS = {
    "B47 denied": "127.0.0.2",
    "B47 metadata": "169.254.169.254",
    "B47 unspecified": "0.0.0.0",  # noqa: S104 - to be refused
    "B47 mapped": "::ffff:127.0.0.2",
    "B48 decimal": "2130706434",
    "B48 octal": "0177.0.0.2",
    "B48 short": "127.2",
    "B49 NAT64": "64:ff9b::7f00:2",
    "B49 6to4": "2002:7f00:2::",
    "B49 Teredo": "2001:0:7f00:2::",
    "B49 multicast": "224.0.0.1",
}


def test_denied_hosts_are_never_connected_to_however_they_are_written(field: World) -> None:  # B47-B49
    with SmtpServer(Options(host="127.0.0.2")) as forbidden:
        customers = {name: field.customer(host=host, port=forbidden.port) for name, host in HOSTS.items()}
        for customer in customers.values():
            field.fail_job(customer, 1)
        for name, customer in customers.items():
            (row,) = field.wait_final(customer, 1)
            assert (row["status"], row["failure_reason"], row["attempts"]) == ("failed", "policy_host", 0), (
                name
            )
            assert "delivery.denied_networks" in row["error_message"]
        assert forbidden.connections == 0


def test_a_name_that_leads_elsewhere_the_second_time_leads_nowhere(field: World) -> None:
    """B50: resolved once per connection, every address checked, and the one that was checked connected to."""
    name = "first.rebinding.example"
    context = authority().server_context(names=(name,))  # TLS is asked for the name, not for the address
    with SmtpServer(Options(starttls=True, context=context)) as allowed:
        field.servers.append(allowed)
        with SmtpServer(Options(host="127.0.0.2", port=allowed.port)) as forbidden:
            customer = field.customer(allowed, host=name, use_tls=True, ca_certificate=authority().pem)
            field.fail_job(customer, 1)
            assert field.wait_final(customer, 1)[0]["status"] == "sent"
            asked = (field.folder / "asked").read_text().split()
            assert asked.count(name) == 1
            allowed.hang_up()
            field.fail_job(customer, 2)
            assert field.wait_final(customer, 2)[1]["failure_reason"] == "policy_host"

            both = field.customer(allowed, host="both.rebinding.example")
            field.fail_job(both, 1)
            (row,) = field.wait_final(both, 1)
            assert (row["failure_reason"], row["attempts"]) == ("policy_host", 0)
            assert forbidden.connections == 0


def test_ports_outside_the_range_are_refused_by_the_database_and_others_are_free(field: World) -> None:  # B51
    customer = field.customer()
    for port in (0, 70000, -1):
        with pytest.raises(psycopg2.errors.CheckViolation):
            field.database.execute(
                "UPDATE smtp_configs SET port = %s WHERE customer_id = %s", (port, customer.id)
            )
    for port in (1, 22, 5432, 65535):
        field.database.execute(
            "UPDATE smtp_configs SET port = %s WHERE customer_id = %s", (port, customer.id)
        )


def test_a_reply_that_repeats_the_password_is_masked_in_row_and_log(field: World) -> None:  # B55
    password = "Tr0ub4dor&3"
    options = Options(mechanisms=("PLAIN",), users={"jobs": password}, require_auth=True)
    customer = field.customer(field.smtp(options), username="jobs", password=password)
    token = "ghp_0123456789abcdefghij"  # of the server, not of ours
    customer.server.on("rcpt", say(f"550 5.1.1 jobs/{password} may not do this; token={token}"))
    field.fail_job(customer, 1)
    (row,) = field.wait_final(customer, 1)
    assert row["smtp_response"] == "5.1.1 jobs/*** may not do this; token=********"
    for secret in (password, token):
        assert secret not in json.dumps(row)
        assert secret not in field.workers[0].log.read_text()


def test_mails_of_one_customer_cannot_be_moved_to_another(
    field: World,
) -> None:  # B17: only B's users get B's event
    first, second = field.customer(admins=2), field.customer(admins=1)
    for customer in (first, second):
        field.fail_job(customer, 7)
    ours = field.admins(first.id)
    assert {row["recipient_email"] for row in field.wait_final(first, 2)} == ours
    assert {row["recipient_email"] for row in field.wait_final(second, 1)} == field.admins(second.id)
    assert {address for mail in first.server.mails for address in mail.rcpt_tos} == ours
