"""The worker has CSS inlined by another process, and does it itself where it may not start one."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from notifier import resources
from notifier.domain.errors import ConfigurationError
from notifier.rendering import compose, inlining
from notifier.rendering.compose import Pages, Sources
from notifier.rendering.themes import THEMES

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATES = resources.path("templates")


def pages() -> list[Pages]:
    sources = Sources("job_failed", (TEMPLATES,))
    return [compose.pages(sources, theme) for theme in THEMES.values()]


def test_another_process_inlines_as_this_one_would() -> None:
    assert inlining.inlined_elsewhere(pages()) == compose.all_inlined(pages())


def test_where_no_process_may_start_the_pages_are_inlined_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert inlining.inlined_elsewhere(pages()) == compose.all_inlined(pages())


def test_no_secret_of_ours_reaches_the_other_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "told"
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nenv > {told}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("NOTIFIER_DATABASE__URL", "postgresql://worker:a-secret@db.example/notifier")
    inlining.inlined_elsewhere(pages())
    assert "PATH=" in told.read_text()
    assert "a-secret" not in told.read_text()


def test_what_is_wrong_with_a_page_is_said_by_its_name() -> None:
    broken = Pages(html="<style>@import 'x.css';</style>", text="")
    with pytest.raises(ConfigurationError, match="@import"):
        inlining.inlined_elsewhere([*pages(), broken])


def test_a_worker_at_rest_holds_no_inliner_no_rich_and_without_passwords_no_cryptography() -> None:
    program = (
        "import sys, notifier.cli.worker_process\n"
        "from notifier.encryption import SecretBox\n"
        "SecretBox([])\n"
        "print(*sorted({'premailer', 'lxml', 'cssutils', 'rich', 'cryptography'} & sys.modules.keys()))\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
