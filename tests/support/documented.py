"""The pages people read, taken apart: code blocks, and the commands of this program in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "deploy").glob("**/*.md"),
    ]
)

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"(?:^|[|(;&]\s*|sudo )notifier(?= |$)([^|)<>#;&]*)")
# What a person replaces, by something that a command takes.
_PLACEHOLDERS = {
    "TIME": "1h",
    "ADDRESS": "a@b.example",
    "YOUR_ADDRESS": "a@b.example",
    "FILE": "-",
    "USERNAME": "anna",
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One code block of a page. `page` is its path in the project."""

    page: str
    language: str
    text: str

    @property
    def first_line(self) -> str:
        """The first line, which names the block."""
        return self.text.partition("\n")[0].strip()

    def commands(self) -> Iterator[list[str]]:
        """Yield the arguments of each `notifier …` in a shell block, placeholders filled in."""
        for line in self.text.replace("\\\n", " ").splitlines():
            for arguments in _COMMAND.findall(line.strip()):
                yield [_filled(word) for word in shlex.split(arguments)]


def blocks(page: Path) -> list[Block]:
    """Every code block of a page, without its indentation."""
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(page=name, language=language, text=re.sub(rf"^{indent}", "", text, flags=re.MULTILINE))
        for indent, language, text in _BLOCK.findall(page.read_text("utf-8"))
    ]


def shell_blocks(page: str) -> list[Block]:
    """The shell blocks of the page at this path."""
    return [block for block in blocks(ROOT / page) if block.language in {"sh", "bash"}]


def _filled(word: str) -> str:
    return _PLACEHOLDERS.get(word, "1") if re.fullmatch(r"[A-Z][A-Z_]+(\|[A-Z_]+)*", word) else word
