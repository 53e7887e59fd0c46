"""What the documents name exists: files, tests, commands, reasons, metrics, events."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from notifier.cli.program import COMMANDS, notifier
from notifier.domain.vocabulary import FAILURE_REASONS
from notifier.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text("utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")


def _commands(page: Path) -> Iterator[list[str]]:
    """Each `notifier …` of a page as its words: in code spans, and in lines of shell blocks."""
    text = page.read_text("utf-8")
    spans = re.findall(r"`(notifier [^`\n]+)`", text)
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("notifier ")]
    for command in (*spans, *lines):
        yield re.split(r"\s+#|\s+<", command)[0].split()[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_promise_names_a_test_that_exists() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", README)
    assert len(named) > 10
    for file, name in named:
        assert f"\ndef {name}(" in (ROOT / file).read_text("utf-8"), f"{file}::{name}"


def test_every_failure_reason_is_explained_and_no_other() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|", README.partition("## Outcomes")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert set(rows) == {*FAILURE_REASONS, "pending", "sent"}


def test_every_command_is_in_the_table() -> None:
    rows = re.findall(r"^\| `notifier ([\w-]+)` \|", README, re.MULTILINE)
    assert sorted(rows) == sorted(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    for words in _commands(page):
        command: click.Command = notifier
        rest = list(words)
        while rest and isinstance(command, click.Group):
            name = rest.pop(0)
            found = command.get_command(click.Context(command), name)
            assert found is not None, f"notifier {' '.join(words)}"
            command = found
        options = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        used = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert used <= options, f"notifier {' '.join(words)}"


def test_every_metric_that_the_operations_page_names_exists() -> None:
    exposed = Metrics(version="1").exposition()[0].decode()
    named = set(re.findall(r"`(notifier_\w+)`", OPERATIONS))
    assert len(named) > 5
    assert [name for name in named if not re.search(rf"^# TYPE {name} ", exposed, re.MULTILINE)] == []
