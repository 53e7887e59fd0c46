"""Debian's packages without root: downloaded with lists of our own and unpacked below a cache, once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from notifier.sandbox.ways import Absent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# A library of the package's own release works beside the machine's; the C library must be the machine's.
LIBRARIES = re.compile(r"lib(?!c6$|c-bin$|c-l10n$)[a-z0-9.+-]+")
_APT_SECONDS = 600


def default_cache() -> Path:
    """Where unpacked packages are kept: $XDG_CACHE_HOME/notifier, else ~/.cache/notifier."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "notifier"


def unpacked(
    package: str,
    root: Path,
    *,
    dependencies: re.Pattern[str] | None = None,
    relocate: Callable[[Path, Path], None] = lambda _unpacked, _final: None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Unpack `package`, and those of its dependencies whose whole name matches, as the folder `root`.

    Does nothing when the folder is there. relocate(unpacked, final) may change files that name their place.
    Raises Absent when this machine has no apt or no package index answers.
    """
    if root.is_dir():
        return
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg")
    if apt is None or dpkg is None:
        msg = "apt-get and dpkg are not there: not a Debian or Ubuntu"
        raise Absent(msg)
    say(f"downloading Debian's package {package} (once) into {root.parent}")
    root.parent.mkdir(parents=True, exist_ok=True)
    scratch = root.with_name(f"unpacking-{root.name}-{os.getpid()}")
    try:
        for archive in _download(apt, package, dependencies, scratch):
            run([dpkg, "-x", str(archive), str(scratch / "root")])
        relocate(scratch / "root", root)
        if not root.is_dir():  # another process may have been quicker
            (scratch / "root").rename(root)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def program(
    name: str,
    package: str,
    *,
    dependencies: re.Pattern[str] | None = LIBRARIES,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Return the command that starts a program: the installed one, else out of the unpacked package.

    A program that needs no library but the C library saves a download of all with `dependencies=None`.
    Raises Absent when there is neither.
    """
    installed = shutil.which(name)
    if installed is not None:
        return [installed]
    root = (cache or default_cache()) / package
    unpacked(package, root, dependencies=dependencies, say=say)
    found = next(
        (path for folder in ("usr/bin", "bin", "usr/sbin") if (path := root / folder / name).exists()), None
    )
    if found is None:
        msg = f"{name} is not in {root}; remove that folder and try again"
        raise Absent(msg)
    libraries = os.pathsep.join(library_folders(root))
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(found)] if libraries else [str(found)]


def library_folders(root: Path) -> tuple[str, ...]:
    """Return every folder below an unpacked package that holds shared libraries."""
    objects = [so for base in ("lib", "usr/lib") for so in (root / base).glob("*-linux-gnu*/**/lib*.so*")]
    return tuple(sorted({str(so.parent) for so in objects}))


def _download(apt: str, package: str, dependencies: re.Pattern[str] | None, scratch: Path) -> list[Path]:
    """Fetch the packages with lists and cache of our own: neither root nor fresh system lists are needed."""
    for folder in ("state/lists/partial", "cache/archives/partial", "packages", "root"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "state/status").touch()
    options = [
        f"-oDir::State={scratch / 'state'}",
        f"-oDir::State::lists={scratch / 'state/lists'}",
        f"-oDir::State::status={scratch / 'state/status'}",
        f"-oDir::Cache={scratch / 'cache'}",
        "-oAPT::Sandbox::User=",
    ]
    run([apt, *options, "-qq", "update"])
    names = {package}
    if dependencies is not None:
        apt_cache = str(Path(apt).with_name("apt-cache"))
        kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
        only_depends = [f"--no-{kind}" for kind in kinds]
        listed = run([apt_cache, *options, "depends", "--recurse", *only_depends, package])
        names |= {line for line in listed.splitlines() if dependencies.fullmatch(line)}
    run([apt, *options, "-qq", "download", *sorted(names)], cwd=scratch / "packages")
    return sorted((scratch / "packages").glob("*.deb"))


def run(command: Sequence[str], cwd: Path | None = None) -> str:
    """Run one of apt's or dpkg's programs. Raises Absent with what it said: the way does not work here."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603 - apt and dpkg, found on the PATH
            command,
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_APT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        msg = f"{command[0]} did not end within {_APT_SECONDS} s (look at the network and the package mirror)"
        raise Absent(msg) from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        msg = f"{' '.join(command[:1])} failed: {' / '.join(said) or done.returncode}"
        raise Absent(msg)
    return done.stdout
