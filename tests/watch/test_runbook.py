"""Each alert has its entry in the runbook, and every command of it can be typed as it stands."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest

from notifier.cli.program import Context, notifier
from tests.watch import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = files.RUNBOOK.read_text("utf-8")
ENTRIES = files.runbook()
PARTS = ("**It means** ", "**People notice** ", "**Look first**\n", "**Cure**")
PAGES = {"/livez", "/readyz", "/healthz", "/metrics"}
# What is not ours, word for word: whoever adds one has to look it up.
FOREIGN = {
    "systemctl status notifier",
    "systemctl restart notifier",
    "systemctl show notifier -p WatchdogUSec",
    "journalctl -u notifier -n 50 --no-pager",
    "journalctl -u notifier -n 100 --no-pager",
    "journalctl -u notifier -n 200 --no-pager",
}


def commands() -> Iterator[str]:
    """Yield every line of the shell blocks, and every command in a code span."""
    for block in files.blocks(TEXT, "sh"):
        yield from (line.partition("  #")[0].strip() for line in block.splitlines())
    yield from re.findall(r"`((?:notifier|systemctl|journalctl|curl) [^`\n]+)`", TEXT)


COMMANDS = sorted(set(commands()))


def test_every_alert_has_one_entry_and_every_entry_one_alert() -> None:
    assert list(ENTRIES) == [alert["alert"] for alert in files.alerts()]


@pytest.mark.parametrize("name", ENTRIES)
def test_each_entry_tells_meaning_effect_first_look_and_cure(name: str) -> None:
    text = ENTRIES[name]
    places = [text.find(part) for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)
    assert files.blocks(text, "sh")
    assert files.blocks(text, "sql") or name == "NotifierWorkerAbsent"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_typed_as_it_stands(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").touch()  # the file that an example names
    if command in FOREIGN:
        return
    if command.startswith("curl "):
        match = re.fullmatch(r"curl -s http://127\.0\.0\.1:8080(/\w+)", command)
        assert match, "only the health pages, at their default address"
        assert match[1] in PAGES
        return
    words = shlex.split(command.partition(" <")[0])
    assert words[0] == "notifier", "neither ours nor looked up"
    understood(words[1:])


def understood(words: list[str]) -> None:
    """Let click read the whole line: command, options, values, arguments. Nothing is run."""
    command: click.Command = notifier
    parent = click.Context(notifier, obj=Context(config_path=None, environ={}))
    while isinstance(command, click.Group):
        found = command.get_command(parent, words.pop(0))
        assert found is not None
        command = found
    command.make_context(command.name, words, parent=parent)


def test_a_wrong_command_would_be_noticed() -> None:
    for wrong in (["events", "list", "--sinse", "2h"], ["smtp", "test", "17"], ["events", "show", "x"]):
        with pytest.raises(click.UsageError):
            understood(wrong)
