"""What the documents name exists: files, headings, tests, commands, reasons, metrics; each code block has its test."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import click
import pytest

from notifier.cli.program import COMMANDS, notifier
from notifier.domain.vocabulary import FAILURE_REASONS, REJECTION_REASONS
from notifier.metrics import Metrics
from tests.support import documented
from tests.support.documented import PAGES, ROOT

README = (ROOT / "README.md").read_text("utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
CONTRACT = (ROOT / "docs" / "contract.md").read_text("utf-8")
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text("utf-8")
OUTPUT = {"", "text"}  # what a command prints

# Which test runs the blocks of a page.
RUN = {
    ("README.md", "sh"): "tests/integration/test_documented_commands.py",
    ("README.md", "python"): "tests/acceptance/test_documented_publishing.py",
    ("README.md", "sql"): "tests/integration/test_documented_queries.py",
    ("deploy/systemd/install.md", "ini"): "tests/deploy/test_systemd_units.py",
    ("deploy/systemd/install.md", "sh"): "tests/deploy/test_systemd_install.py",
    ("docs/api.md", "bash"): "tests/acceptance/test_api_way.py",
    ("docs/api.md", "sh"): "tests/integration/test_documented_commands.py",
    ("docs/operations.md", "sh"): "tests/integration/test_documented_commands.py",
    ("docs/operations.md", "sql"): "tests/integration/test_documented_commands.py",
    ("docs/publish.md", "python"): "tests/acceptance/test_documented_publishing.py",
    ("docs/publish.md", "sql"): "tests/acceptance/test_documented_publishing.py",
    ("docs/publish.md", "js"): "tests/acceptance/test_documented_publishing.py",
    ("docs/publish.md", "sh"): "tests/acceptance/test_documented_publishing.py",
    ("docs/runbook.md", "sh"): "tests/integration/test_documented_commands.py",
    ("docs/runbook.md", "sql"): "tests/integration/test_runbook_queries.py",
    ("docs/scaling.md", "sql"): "tests/integration/test_runbook_queries.py",
    ("docs/sql.md", "sql"): "tests/integration/test_documented_queries.py",
    ("docs/start.md", "sh"): "tests/acceptance/test_documented_start.py",
    ("docs/start.md", "sql"): "tests/acceptance/test_documented_start.py",
    ("docs/troubleshooting.md", "sh"): "tests/integration/test_documented_commands.py",
    ("docs/troubleshooting.md", "sql"): "tests/integration/test_documented_commands.py",
}

# Why no test runs it.
UNRUN = {
    (
        "deploy/systemd/install.md",
        "ini",
    ): "a choice; the unit that is run has the same directive for other secrets",
    (
        "deploy/kubernetes/README.md",
        "sh",
    ): "needs a cluster; tests/deploy/test_kubernetes.py checks what they apply",
    (
        "docs/api.md",
        "toml",
    ): "a part of config.toml, whose every key is loaded by the tests of the configuration",
    (
        "docs/performance.md",
        "sh",
    ): "takes a quarter of an hour and judges the machine; tests/unit/test_bench.py holds its parts",
    ("docs/security.md", "sql"): "the logins are the site's own; what each role may do has tests of its own",
}

SOURCES = sorted(path for folder in ("notifier", "tests", "bench") for path in (ROOT / folder).rglob("*.py"))

PROGRAM = sorted((ROOT / "notifier").rglob("*.py"))

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@every_page
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """Files must be there; a part of a page must have its heading."""
    text = page.read_text("utf-8")
    pictures = [(target, "") for target in re.findall(r'<img src="([^"]+)"', text)]
    for target, anchor in [*re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]+))?\)", text), *pictures]:
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file), f"{target}#{anchor}"


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_block_of_code_is_run_by_a_test() -> None:
    found = {(block.page, block.language) for page in PAGES for block in documented.blocks(page)}
    code = {key for key in found if key[1] not in OUTPUT}
    assert code - set(RUN) - set(UNRUN) == set(), "name the test that runs it, or in UNRUN why none can"
    assert (set(RUN) | set(UNRUN)) - found == set(), "there is no such block any more"
    for (page, _), test in RUN.items():
        assert Path(page).stem in (ROOT / test).read_text("utf-8"), f"{test} does not read {page}"


_BY_NAME = re.compile(r"pip3? install(?: --?[\w-]+)* ['\"]?notifier(?![\w./-])")


def test_nobody_is_told_to_install_this_project_by_its_bare_name() -> None:
    """The public package index has somebody else's package under it."""
    assert _BY_NAME.search("pip install --no-deps 'notifier[api]'")
    assert not _BY_NAME.search("pip install --no-deps ./notifier-0.1.0-py3-none-any.whl")
    assert [path for path in (*PAGES, *PROGRAM) if _BY_NAME.search(path.read_text("utf-8"))] == []


@every_page
def test_every_command_of_a_block_is_one_that_the_program_takes(page: Path) -> None:
    """Not only the names of its options: their values too, and the number of arguments."""
    for block in documented.blocks(page):
        if block.language in {"sh", "bash"}:
            for words in block.commands():
                _parse(words)


def _parse(words: list[str]) -> None:
    """Read the arguments as the program would. Raises AssertionError or UsageError."""
    command, rest = _resolved(words)
    assert not isinstance(command, click.Group), f"notifier {' '.join(words)}: which one?"
    command.make_context("notifier", rest, parent=click.Context(notifier))


@every_page
def test_every_command_in_the_text_exists_with_its_options(page: Path) -> None:
    for span in re.findall(r"`notifier ([^`\n]+)`", page.read_text("utf-8")):
        command, rest = _resolved(span.split())
        options = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        used = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert used <= options, f"notifier {span}"


def _resolved(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that is meant, and its arguments."""
    command: click.Command = notifier
    rest = list(words)
    while rest and isinstance(command, click.Group):
        name = rest.pop(0)
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"notifier {' '.join(words)}"
        command = found
    return command, rest


@pytest.mark.parametrize("words", ["smtp sett 1", "smtp set", "events list --status lost", "publish", "smtp"])
def test_a_command_that_the_program_does_not_take_is_noticed(words: str) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        _parse(words.split())


def test_every_promise_names_a_test_that_exists() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", README)
    assert len(named) > 10
    for file, name in named:
        assert f"\ndef {name}(" in (ROOT / file).read_text("utf-8"), f"{file}::{name}"


def test_every_fault_names_a_test_that_exists() -> None:
    named = re.findall(r"`((?:tests/\w+/)?test_\w+\.py)(?:::(test_\w+))?`", RELIABILITY)
    assert len(named) > 20
    for file, name in named:
        path = ROOT / (file if "/" in file else f"tests/acceptance/{file}")
        assert f"\ndef {name or 'test_'}" in path.read_text("utf-8"), f"{file}::{name}"


def _codes(text: str) -> set[str]:
    """The codes of faults and bad inputs in a text (F12, B3); a range stands for all that are in it."""
    found: set[str] = set()
    for kind, first, last in re.findall(r"\b([BF])([1-9]\d?)(?:[-\u2013]\1([1-9]\d?))?\b", text):
        found.update(f"{kind}{number}" for number in range(int(first), int(last or first) + 1))
    return found


def test_a_range_of_codes_stands_for_each_of_them() -> None:
    assert _codes("B9\u2013B11, B21; F3: see B47-B48, 0xB1, F0") == {
        "B9",
        "B10",
        "B11",
        "B21",
        "F3",
        "B47",
        "B48",
    }


def test_every_code_of_a_fault_or_a_bad_input_is_explained() -> None:
    known = _codes(RELIABILITY)
    assert len(known) > 90
    for path in SOURCES:
        assert _codes(path.read_text("utf-8")) - known == set(), path


def test_no_comment_and_no_docstring_speaks_in_codes_that_no_document_explains() -> None:
    """What a reader cannot look up is said in words, or by the name and heading of a document."""
    told = re.compile(
        r"\b[DT]\d{1,2}\b|\b(?i:architecture|reliability|contract),? (?:sections? |decision )?\d"
    )
    for path in SOURCES:
        if not told.search(path.read_text("utf-8")):  # nearly all, and to take them apart would take a second
            continue
        with path.open("rb") as source:
            for token in tokenize.tokenize(source.readline):
                if token.type == tokenize.COMMENT or token.string.startswith('"""'):
                    assert not told.search(token.string), f"{path.name}:{token.start[0]}: {token.string}"


def test_every_failure_reason_is_explained_and_no_other() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|", README.partition("## Outcomes")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert set(rows) == {*FAILURE_REASONS, "pending", "sent"}


def test_every_reason_of_a_rejection_is_explained_and_no_other() -> None:
    part = CONTRACT.partition("## What cannot be accepted")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)) == sorted(REJECTION_REASONS)


def test_every_command_is_in_the_table() -> None:
    rows = re.findall(r"^\| `notifier ([\w-]+)` \|", README, re.MULTILINE)
    assert sorted(rows) == sorted(COMMANDS)


def test_every_metric_that_the_operations_page_names_exists() -> None:
    exposed = Metrics(version="1").exposition()[0].decode()
    named = set(re.findall(r"`(notifier_\w+)`", OPERATIONS))
    assert len(named) > 5
    assert [name for name in named if not re.search(rf"^# TYPE {name} ", exposed, re.MULTILINE)] == []
