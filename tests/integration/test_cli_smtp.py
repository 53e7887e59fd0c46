"""`notifier smtp` and `notifier secrets rotate`, with a real database and a real SMTP server."""

from __future__ import annotations

from email import message_from_bytes
from typing import TYPE_CHECKING

import pytest

from notifier.encryption import SecretBox, generate_key
from tests.store_rows import add_customer, one
from tests.support.certificates import authority
from tests.support.command_line import CANARY
from tests.support.smtp_script import say
from tests.support.smtp_server import Options, SmtpServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from tests.support.command_line import CommandLine

LOGIN = Options(mechanisms=("PLAIN",), users={"acme": CANARY}, require_auth=True)


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    with SmtpServer(LOGIN) as running:
        yield running


def configure(cli: CommandLine, customer: int, *more: object, port: int = 587) -> None:
    cli.configure({"DELIVERY__DENIED_NETWORKS": "multicast"})
    result = cli(
        *("smtp", "set", customer, "--host", "127.0.0.1", "--port", port, "--no-use-tls"),
        *("--username", "acme", "--password-stdin", "--from-email", "jobs@acme.example", *more),
        stdin=f"{CANARY}\n",
    )
    assert result.code == 0, result.err


def test_a_password_is_stored_encrypted_and_never_shown(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    configure(cli, customer)
    token = one(connection, "SELECT password FROM smtp_configs")
    assert isinstance(token, str)
    assert SecretBox([cli.key]).decrypt(customer_id=customer, host="127.0.0.1", token=token) == CANARY
    outputs = [
        cli("smtp", "list"),
        cli("smtp", "list", "--json"),
        cli("smtp", "show", customer),
        cli("smtp", "show", customer, "--json"),
        cli("smtp", "set", customer, "--host", "elsewhere.example"),
        cli("smtp", "set", customer, "--reply-to-email", "help@acme.example", "--json"),
        cli("smtp", "test", customer, "--to", "anna@example.org", "--json"),
        cli("secrets", "rotate", "--json"),
        cli("check", "--json"),
    ]
    for output in outputs:
        assert CANARY not in output.out + output.err
        assert token not in output.out + output.err
    assert outputs[1].json[0]["password"] == outputs[3].json["password"] == "********"


def test_a_change_keeps_what_is_not_named(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    configure(cli, customer, port=2525)
    saved = cli("smtp", "set", customer, "--from-email", "noc@acme.example", "--no-enabled", "--json").json
    assert (saved["port"], saved["username"], saved["enabled"]) == (2525, "acme", False)
    cure = f"gets no mail until notifier smtp set {customer} --enabled"
    assert cure in cli("smtp", "set", customer, "--no-enabled").err
    assert saved["from_email"] == "noc@acme.example"


def test_another_host_needs_the_password_again_and_the_flag_is_named(
    cli: CommandLine, connection: Connection
) -> None:
    customer = add_customer(connection)
    configure(cli, customer)
    result = cli("smtp", "set", customer, "--host", "elsewhere.example")
    assert result.code == 2
    ways = "--password-stdin, --ask-password or --no-password"
    assert result.err.startswith(f"notifier: {ways}: --host changed: give the password again")
    assert "or remove the stored one" in result.err
    file = cli.folder / "ca.pem"
    file.write_text(authority().pem)
    assert ": --ca-file changed: give" in cli("smtp", "set", customer, "--ca-file", file).err
    login_less = ("smtp", "set", customer, "--no-use-tls", "--use-ssl", "--username", "")
    assert cli(*login_less).code == 2
    assert cli(*login_less, "--no-password").code == 0
    long = cli("smtp", "set", customer, "--password-stdin", stdin="x" * 501)
    assert (long.code, long.err.startswith("notifier: --password-stdin: is longer")) == (2, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::ffff:127.0.0.1"])
def test_a_host_that_the_configuration_forbids_is_stored_with_a_warning(
    cli: CommandLine, connection: Connection, host: str
) -> None:
    customer = add_customer(connection)
    server = ("smtp", "set", customer, "--host", host, "--from-email", "a@b.example")
    told = cli(*server)
    assert (told.code, "delivery.denied_networks forbids" in told.err) == (0, True)
    cli.configure({"DELIVERY__DENIED_NETWORKS": "multicast"})
    assert cli(*server).err == ""


def test_contradicting_flags_are_wrong_usage(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    for args, told in (
        (["--use-tls", "--use-ssl"], "choose one of --use-tls"),
        (["--password-stdin"], "the password is empty"),
        (["--password-stdin", "--no-password"], "choose one of --password-stdin"),
        (["--ca-file", "/dev/null/none"], "--ca-file"),
    ):
        result = cli("smtp", "set", customer, "--host", "h.example", *args)
        assert result.code == 2
        assert told in result.err


def test_every_fault_of_a_new_server_is_told_at_once(cli: CommandLine, connection: Connection) -> None:
    result = cli("smtp", "set", add_customer(connection), "--from-email", "nobody")
    assert result.code == 2
    assert "notifier: --from-email: " in result.err
    assert "notifier: --host: is missing" in result.err


def test_a_server_of_a_customer_that_does_not_exist_is_refused(cli: CommandLine) -> None:
    result = cli("smtp", "set", 99, "--host", "h.example", "--from-email", "a@b.example")
    assert (result.code, "there is no customer 99" in result.err) == (1, True)


def test_a_deleted_server_is_gone(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    configure(cli, customer)
    asked = cli("smtp", "delete", customer)
    assert (asked.code, "with its password? Nobody can be asked here; add --yes" in asked.err) == (2, True)
    assert cli("smtp", "show", customer).code == 0
    assert cli("smtp", "delete", customer, "--yes").code == 0
    assert cli("smtp", "list").out == "no customer has a mail server of its own\n"
    again = cli("smtp", "delete", customer)
    assert (again.code, f"customer {customer} has no SMTP configuration" in again.err) == (1, True)


def test_a_test_mail_arrives_and_is_a_row_of_the_log(
    cli: CommandLine, connection: Connection, server: SmtpServer
) -> None:
    customer = add_customer(connection, "Acme")
    configure(cli, customer, "--allow-plaintext-auth", port=server.port)
    result = cli("smtp", "test", customer, "--to", "anna@example.org", "--by", "otto", "--json").json
    assert [(one["stage"], one["ok"]) for one in result["stages"]] == [
        (name, True) for name in ("DNS", "TCP", "TLS", "AUTH", "MAIL", "RCPT", "DATA")
    ]
    (mail,) = server.mails
    message = message_from_bytes(mail.data)
    assert mail.rcpt_tos == ("anna@example.org",)
    assert b"otto" in mail.data
    row = connection.exec_driver_sql(
        "SELECT id, event_type, status, recipient_email, subject, message_id, attempts, smtp_code, job_event_id"
        " FROM notification_events"
    ).one()
    assert tuple(row[:4]) == (result["id"], "test", "sent", "anna@example.org")
    assert (row.subject, row.message_id) == (message["Subject"], message["Message-ID"])
    assert (row.attempts, row.smtp_code, row.job_event_id) == (1, 250, None)


def test_a_test_mail_that_arrives_closes_the_breaker(
    cli: CommandLine, connection: Connection, server: SmtpServer
) -> None:
    """Whoever mended the server and sees the test mail arrive need not wait for the pause to end."""
    customer = add_customer(connection)
    configure(cli, customer, port=server.port)
    connection.exec_driver_sql("UPDATE smtp_breakers SET open_until = now() + interval '1 hour', trips = 3")
    connection.exec_driver_sql("UPDATE delivery_lanes SET next_due_at = now() + interval '1 hour'")
    assert cli("smtp", "test", customer, "--to", "anna@example.org").code == 0
    assert one(connection, "SELECT trips FROM smtp_breakers WHERE server_id > 0") == 0
    assert one(connection, "SELECT bool_and(next_due_at <= now()) FROM delivery_lanes") is True


def test_a_refused_recipient_is_named_at_its_stage_with_a_cure_and_logged(
    cli: CommandLine, connection: Connection, server: SmtpServer
) -> None:
    customer = add_customer(connection)
    configure(cli, customer, port=server.port)
    server.on("rcpt", say("550 5.1.1 no such user"))
    result = cli("smtp", "test", customer, "--to", "anna@example.org")
    assert result.code == 1
    lines = result.out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("FAIL  RCPT"))
    assert "550 5.1.1 no such user" in lines[at]
    assert "Check the recipient's address" in lines[at + 1]
    row = connection.exec_driver_sql(
        "SELECT status, failure_reason, smtp_code, smtp_enhanced_code FROM notification_events"
    ).one()
    assert tuple(row) == ("failed", "permanent_smtp", 550, "5.1.1")


def test_a_server_that_echoes_the_password_does_not_give_it_away(
    cli: CommandLine, connection: Connection, server: SmtpServer
) -> None:
    customer = add_customer(connection)
    configure(cli, customer, port=server.port)
    server.on("auth", say(f"535 5.7.8 wrong password {CANARY}"))
    result = cli("smtp", "test", customer, "--to", "anna@example.org", "--json")
    assert result.json["failure_reason"] == "auth"
    logged = one(connection, "SELECT concat(error_message, smtp_response) FROM notification_events")
    assert CANARY not in f"{result.out}{result.err}{logged}"
    assert CANARY not in cli("events", "list", "--json").out


@pytest.mark.parametrize(
    ("more", "reason", "told"),
    [
        (["--no-enabled"], "smtp_disabled", "notifier smtp set"),
        (None, "no_smtp_config", "notifier smtp set"),
    ],
)
def test_without_a_usable_server_nothing_is_sent_and_the_row_says_why(
    cli: CommandLine, connection: Connection, more: list[str] | None, reason: str, told: str
) -> None:
    customer = add_customer(connection)
    if more is not None:
        configure(cli, customer, *more)
    result = cli("smtp", "test", customer, "--to", "anna@example.org")
    assert result.code == 1
    assert told in result.out
    row = connection.exec_driver_sql("SELECT status, failure_reason, attempts FROM notification_events").one()
    assert tuple(row) == ("failed", reason, 0)


def test_a_sender_address_that_is_none_is_blamed_on_its_setting(
    cli: CommandLine, connection: Connection
) -> None:
    customer = add_customer(connection)
    configure(cli, customer)
    connection.exec_driver_sql("UPDATE smtp_configs SET from_email = 'two@a.example, b@c.example'")
    result = cli("smtp", "test", customer, "--to", "anna@example.org")
    assert result.code == 1
    assert "Set from_email to exactly one plain address" in result.out
    assert one(connection, "SELECT failure_reason FROM notification_events") == "header_injection"


def test_a_test_mail_goes_only_where_mails_may_go(cli: CommandLine, connection: Connection) -> None:
    customer = add_customer(connection)
    cli.configure({"RECIPIENTS__ALLOWED_DOMAINS": "acme.example"})
    assert cli("smtp", "test", customer, "--to", "anna@example.org").code == 2
    assert cli("smtp", "test", customer, "--to", "nobody").code == 2
    assert cli("smtp", "test", 99, "--to", "a@acme.example").err.startswith(
        "notifier: there is no customer 99"
    )
    assert one(connection, "SELECT count(*) FROM notification_events") == 0


def test_rotation_encrypts_anew_and_names_what_no_key_reads(cli: CommandLine, connection: Connection) -> None:
    first, second = add_customer(connection), add_customer(connection)
    configure(cli, first)
    configure(cli, second)
    connection.exec_driver_sql(
        "UPDATE smtp_configs SET password = 'plain' WHERE customer_id = %(c)s", {"c": second}
    )
    newest = generate_key()
    cli.configure({"SECURITY__ENCRYPTION_KEYS": f"{newest},{cli.key}"})
    result = cli("secrets", "rotate", "--json")
    assert (result.code, result.json) == (1, {"rotated": 1, "unreadable": [second]})
    token = one(connection, "SELECT password FROM smtp_configs WHERE customer_id = %(c)s", c=first)
    assert SecretBox([newest]).decrypt(customer_id=first, host="127.0.0.1", token=str(token)) == CANARY


def test_without_a_key_neither_a_password_is_stored_nor_rotation_begun(
    cli: CommandLine, connection: Connection
) -> None:
    cli.configure({"SECURITY__ENCRYPTION_KEYS": ""})
    args = ("--host", "h.example", "--from-email", "a@b.example", "--password-stdin")
    assert cli("smtp", "set", add_customer(connection), *args, stdin=CANARY).code == 78
    assert cli("secrets", "rotate").code == 78
    assert one(connection, "SELECT count(*) FROM smtp_configs") == 0
