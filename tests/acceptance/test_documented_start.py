"""docs/start.md is followed as a newcomer would, block after block; then the encryption key is changed as the page
on operations says.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from notifier.encryption import generate_key
from tests.acceptance.world import world
from tests.services import Database, execute
from tests.support.documented import ROOT, blocks, shell_blocks
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.world import World
    from tests.support.smtp_server import SmtpServer

PAGE = ROOT / "docs" / "start.md"
OPERATIONS = "docs/operations.md"
NOT_RUN = {
    "make demo": "has a test of its own, tests/acceptance/test_demo.py",
    "sudo apt-get install postgresql rabbitmq-server python3-venv": "changes the machine; the suite brings its own",
    "export NOTIFIER_DATABASE__URL=postgresql://notifier:choose-one@127.0.0.1/notifier": "they are the suite's here",
}


class Newcomer:
    """A shell in the checkout, and a database session."""

    def __init__(self, world: World, server: SmtpServer) -> None:
        self._world = world
        self._server = server
        (world.folder / "smtp-password.txt").write_text("correct horse", "utf-8")

    def types(self, command: str) -> str:
        """Run a block in a shell; returns what it printed."""
        environ = self._world.environ(security__encryption_keys=self._world.key)
        environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
        text = command.replace("smtp-password.txt", str(self._world.folder / "smtp-password.txt"))
        done = subprocess.run(
            ["bash", "-e", "-c", text],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def writes(self, statements: str) -> None:
        """Run a block in the database."""
        execute(self._world.database.url, statements)

    def has_a_server(self) -> None:
        """From here on a server of this test stands in for smtp.acme.example."""
        execute(
            self._world.database.url,
            "UPDATE smtp_configs SET host = '127.0.0.1', port = %s, use_tls = false, username = NULL, password = NULL",
            (self._server.port,),
        )


@pytest.fixture
def newcomer(
    empty_database: Database, amqp_url: str, tmp_path: Path
) -> Iterator[tuple[Newcomer, World, SmtpServer]]:
    with world(empty_database, amqp_url, tmp_path) as made:
        made.key = generate_key()
        server = made.smtp()
        yield Newcomer(made, server), made, server


def rows(world: World, query: str) -> list[tuple[object, ...]]:
    return world.ask(query)


@pytest.mark.timeout(300)  # some twenty processes, one after the other
def test_a_newcomer_gets_to_a_mail_knows_why_there_was_none_replays_a_dead_letter_and_changes_the_key(
    newcomer: tuple[Newcomer, World, SmtpServer],
) -> None:
    """One story, in the page's order: each block works because of those before it."""
    person, world, server = newcomer
    printed: dict[str, str] = {}
    for block in blocks(PAGE):
        if block.first_line in NOT_RUN:
            continue
        if block.language == "sql":
            person.writes(block.text)
        elif block.first_line == "notifier run":
            world.worker().ready()
        elif block.language == "sh":
            printed[block.first_line] = person.types(block.text)
            if block.first_line.startswith("notifier smtp set"):
                assert rows(
                    world, "SELECT password IS NOT NULL AND password <> 'correct horse' FROM smtp_configs"
                ) == [(True,)]
                person.has_a_server()
            if "publish" in block.text:
                _settled(world)
    assert set(NOT_RUN) <= {block.first_line for block in blocks(PAGE)}

    said = "\n".join(printed.values())
    assert [mail.rcpt_tos[0] for mail in server.mails] == [
        "anna@acme.example",
        "anna@acme.example",
        "anna@acme.example",
        "oscar@acme.example",
    ]  # the test mail, the first event, the second event to both
    assert "did not ask for job_failed" in " ".join(printed["notifier explain 1"].split())
    assert "unknown_customer" in said
    assert rows(world, "SELECT outcome FROM job_events WHERE customer_id = 2") == [("no_recipients",)]
    assert rows(world, "SELECT count(*) FROM rejected_events") == [(1,)]

    _changes_the_key(person, world)


def _settled(world: World) -> None:
    """Wait until what was published has been taken, and no mail waits."""

    def done() -> bool:
        waiting = rows(world, "SELECT count(*) FROM notification_events WHERE status = 'pending'")
        return world.depth(world.topology.queue) == 0 and waiting == [(0,)]

    wait_until(done, 60, "the events to be taken and the mails to be sent")


def _changes_the_key(person: Newcomer, world: World) -> None:
    """The three steps of docs/operations.md, in one shell; the old key alone no longer opens anything."""
    person.types(
        'printf "correct horse" | notifier smtp set 1 --username anna --password-stdin --allow-plaintext-auth'
    )
    steps = [
        block.text
        for block in shell_blocks(OPERATIONS)
        if "NEW_KEY" in block.text or "secrets rotate" in block.text
    ]
    assert len(steps) == 3
    before = rows(world, "SELECT password FROM smtp_configs")
    said = person.types("\n".join(steps))
    assert "1 passwords, 1 encrypted anew, 0 unreadable" in said
    assert rows(world, "SELECT password FROM smtp_configs") != before
    old = world.tried("check", security__encryption_keys=world.key)
    assert old.returncode == 78
    assert "cannot be read with the keys" in old.stdout + old.stderr
