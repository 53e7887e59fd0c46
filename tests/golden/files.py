"""The mails on file. `python -m tests.golden.files` writes them again, after a change that was meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.golden.build import build
from tests.golden.states import samples

if TYPE_CHECKING:
    from tests.golden.build import Mail

FOLDER = Path(__file__).parent / "mails"


def contents(mail: Mail) -> dict[str, str]:
    """What is kept of a mail: its headers and text in one file, its HTML in another."""
    name = mail.sample.name
    return {f"{name}.txt": f"{mail.head}\n{mail.text}", f"{name}.html": mail.html}


def main() -> None:
    """Write every mail again and remove files that belong to none."""
    FOLDER.mkdir(exist_ok=True)
    wanted = {name: text for sample in samples() for name, text in contents(build(sample)).items()}
    for path in FOLDER.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
