"""Every command of the pages for operators is run as printed: README.md, docs/operations.md, docs/troubleshooting.md,
docs/runbook.md, and the set-up of docs/api.md.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import click
import pytest
from pika import BasicProperties

from notifier.cli.program import notifier
from tests.store_rows import add_mail
from tests.support.documented import ROOT, blocks, shell_blocks
from tests.support.smtp_server import SmtpServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from tests.broker_objects import BrokerObjects
    from tests.support.command_line import CommandLine

PAGES = ("README.md", "docs/operations.md", "docs/troubleshooting.md", "docs/runbook.md", "docs/api.md")
HEALTH_PAGES = {"/livez", "/readyz", "/healthz", "/metrics"}
SAMPLE = (ROOT / "docs" / "events" / "job_failed.json").read_text("utf-8")

# Why this test does not run them; each names where it is run instead.
NOT_RUN = {
    "run": "a process of its own: tests/integration/test_cli_process.py and every acceptance test",
    "init-db --roles": "makes roles for the whole cluster: tests/acceptance/test_secrets_and_rights.py",
}
# What else stands in shell blocks, by its first words.
OTHERS = {
    "make": "the targets are the Makefile's",
    "systemctl": "needs a machine run by systemd",
    "journalctl": "needs a machine run by systemd",
    "NEW_KEY=$(notifier": "tests/acceptance/test_documented_start.py",
    "export": "tests/acceptance/test_documented_start.py, tests/acceptance/test_api_way.py",
}

_ROWS = """
INSERT INTO customers (id, name) VALUES (1, 'Acme Networks'), (17, 'Helios Energy');
INSERT INTO users (id, username, email, role) VALUES (1, 'anna', 'anna@acme.example', 'admin');
INSERT INTO customer_users (customer_id, user_id) VALUES (1, 1), (17, 1);
INSERT INTO job_events (customer_id, source, event_id, event_type, payload, payload_sha256, outcome)
VALUES (1, 'webnet/jobs', 'e-1', 'job_failed', %(payload)s::jsonb, sha256('1'), 'accepted');
INSERT INTO smtp_configs (customer_id, host, port, use_tls, from_email)
SELECT id, '127.0.0.1', %(port)s, false, 'jobs@acme.example' FROM customers;
"""


@pytest.fixture
def busy(connection: Connection, cli: CommandLine) -> Iterator[SmtpServer]:
    """What the pages' examples speak of: customers 1 and 17, user 1, event 1, mails 1 and 4711, a mail server."""
    with SmtpServer() as server:
        connection.exec_driver_sql(_ROWS, {"payload": SAMPLE, "port": server.port})
        add_mail(
            connection, 1, 1, status="failed", failure_reason="no_smtp_config", address="anna@acme.example"
        )
        connection.exec_driver_sql("ALTER TABLE notification_events ALTER COLUMN id RESTART WITH 4711")
        add_mail(connection, 1, 1)
        cli.configure({"DELIVERY__DENIED_NETWORKS": "[]"})
        yield server


def _commands() -> list[list[str]]:
    """Each command once, in the order of the pages."""
    found = [words for page in PAGES for block in shell_blocks(page) for words in block.commands()]
    return [
        words for at, words in enumerate(found) if words not in found[:at] and " ".join(words) not in NOT_RUN
    ]


def _letter(objects: BrokerObjects) -> None:
    """A dead letter that answers to the id 1."""
    properties = BasicProperties(message_id="1", delivery_mode=2)
    objects.channel.basic_publish("", objects.topology.dead_letter_queue, b"{", properties, mandatory=True)


def test_every_command_of_the_pages_does_its_work(
    busy: SmtpServer, objects: BrokerObjects, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    commands = _commands()
    assert len(commands) > 25
    for words in commands:
        if words[0] == "dead-letters":
            _letter(objects)
        said = cli(*words, *_consent(words), stdin="correct horse" if "--password-stdin" in words else "")
        assert said.code == 0, (words, said)
        assert said.out, words
    assert {mail.rcpt_tos[0] for mail in busy.mails} == {"you@acme.example", "you@example.com"}


def _consent(words: list[str]) -> list[str]:
    """`--yes` where a person at a terminal would be asked."""
    command: click.Command | None = notifier
    for word in words:
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), word)
    asks = command is not None and any("--yes" in param.opts for param in command.params)
    return ["--yes"] if asks and not {"--yes", "--dry-run"} & set(words) else []


def test_every_query_of_the_pages_is_answered(connection: Connection, busy: SmtpServer) -> None:
    assert busy.mails == []
    queries = [block.text for page in PAGES[1:3] for block in blocks(ROOT / page) if block.language == "sql"]
    assert len(queries) >= 2
    for query in queries:
        connection.exec_driver_sql(query.replace("%", "%%")).all()


def test_what_else_stands_in_shell_blocks_is_known() -> None:
    """Lines that are no command of ours: a health page that exists, or one of a short list."""
    for page in PAGES:
        for block in shell_blocks(page):
            for line in block.text.replace("\\\n", " ").splitlines():
                words = line.split()
                if (
                    not words
                    or words[0].startswith("#")
                    or words[0] == "notifier"
                    or block.language == "bash"
                ):
                    continue
                health = re.match(r"curl -s http://127\.0\.0\.1:8080(/\w+)(\s|$)", line)
                assert (health and health[1] in HEALTH_PAGES) or words[0] in OTHERS, line


def test_what_is_not_run_stands_in_the_pages() -> None:
    found = {" ".join(words) for page in PAGES for block in shell_blocks(page) for words in block.commands()}
    assert set(NOT_RUN) <= found
    assert json.loads(SAMPLE)["data"]["customer_id"] == 1
