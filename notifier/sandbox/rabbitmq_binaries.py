"""Where RabbitMQ's programs are: installed, or from Debian's packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from notifier.sandbox.ways import Absent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Debian, then upstream's generic archive and Homebrew.
_INSTALLED = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*",
    "/opt/rabbitmq_server-*",
    "/opt/homebrew/opt/rabbitmq",
    "/usr/local/opt/rabbitmq",
)
_ERLANG = "usr/lib/erlang"
# RabbitMQ, Erlang, and the libraries that a slim machine may lack; the C library and the rest are everywhere.
_WANTED = re.compile(r"rabbitmq-server|erlang-.+|libsctp1|libssl3.*|libtinfo6|libsystemd0")
_APT_SECONDS = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Binaries:
    """The script that starts a node, epmd, and the folders that must lead the PATH (Erlang's)."""

    server: Path
    epmd: str
    path: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    source: str


def local(search_path: str | None = None, installed: Sequence[str] = _INSTALLED) -> Binaries:
    """Find an installed RabbitMQ. Raises Absent.

    The script below lib/ is taken, not Debian's wrapper in /usr/sbin: that one changes folder and user.
    """
    scripts = [
        script for pattern in installed for script in Path("/").glob(f"{pattern[1:]}/sbin/rabbitmq-server")
    ]
    on_path = shutil.which("rabbitmq-server", path=search_path)
    if on_path is not None and (Path(on_path).resolve().parents[1] / "plugins").is_dir():
        scripts.append(Path(on_path).resolve())
    erl = shutil.which("erl", path=search_path)
    if not scripts or erl is None:
        lacking = "Erlang's erl is not on the PATH" if scripts else "no rabbitmq-server found"
        msg = f"{lacking} (apt-get install rabbitmq-server, or brew install rabbitmq)"
        raise Absent(msg)
    return Binaries(
        server=max(scripts, key=_version),
        epmd=_epmd(Path(erl), search_path),
        path=(str(Path(erl).parent),),
        source=f"the installed {max(scripts, key=_version).parent.parent.name}",
    )


def _version(script: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", script.parent.parent.name))


def _epmd(erl: Path, search_path: str | None) -> str:
    beside = erl.resolve().parent / "epmd"
    found = str(beside) if beside.exists() else shutil.which("epmd", path=search_path)
    if found is None:
        msg = f"Erlang's epmd is neither beside {erl} nor on the PATH (install Erlang again)"
        raise Absent(msg)
    return found


def installed_by_apt(say: Callable[[str], None]) -> Binaries:
    """Install Debian's package; only root can. Raises Absent."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        msg = "apt-get needs to be there and to run as root"
        raise Absent(msg)
    say("installing rabbitmq-server with apt-get; the package may start a broker of its own on port 5672")
    options = [apt, "-y", "-qq"]
    _run([*options, "update"])
    _run([*options, "install", "--no-install-recommends", "rabbitmq-server"])
    return local()


def unpacked(cache: Path, say: Callable[[str], None]) -> Binaries:
    """Download Debian's packages and unpack them below `cache`, once, without root. Raises Absent."""
    root = cache / "rabbitmq"
    if not root.is_dir():
        apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg")
        if apt is None or dpkg is None:
            msg = "apt-get and dpkg are not there: not a Debian or Ubuntu"
            raise Absent(msg)
        say(f"downloading RabbitMQ's and Erlang's Debian packages (about 35 MB, once) into {cache}")
        cache.mkdir(parents=True, exist_ok=True)
        scratch = cache / f"unpacking-{os.getpid()}"
        try:
            packages = _download(apt, scratch)
            for package in packages:
                _run([dpkg, "-x", str(package), str(scratch / "root")])
            _relocate(scratch / "root", root)
            if not root.is_dir():  # another process may have been quicker
                (scratch / "root").rename(root)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    scripts = sorted(root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"))
    erlang = root / _ERLANG / "bin"
    if not scripts or not (erlang / "erl").exists():
        msg = f"{root} is not complete; remove it and try again"
        raise Absent(msg)
    return Binaries(
        server=scripts[-1],
        epmd=str(erlang / "epmd"),
        path=(str(erlang),),
        libraries=tuple(
            str(folder) for folder in sorted({so.parent for so in root.glob("usr/lib/*/lib*.so*")})
        ),
        source=f"Debian's packages below {cache}",
    )


def _download(apt: str, scratch: Path) -> list[Path]:
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
    _run([apt, *options, "-qq", "update"])
    apt_cache = str(Path(apt).with_name("apt-cache"))
    kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances", "pre-depends")
    only_depends = [f"--no-{kind}" for kind in kinds]
    listed = _run([apt_cache, *options, "depends", "--recurse", *only_depends, "rabbitmq-server"])
    names = sorted({line for line in listed.splitlines() if _WANTED.fullmatch(line)})
    _run([apt, *options, "-qq", "download", *names], cwd=scratch / "packages")
    return sorted((scratch / "packages").glob("*.deb"))


def _relocate(unpacked_root: Path, final_root: Path) -> None:
    """Tell Erlang's start script its new home: the path is written in, and the variable for it is ignored."""
    erl = unpacked_root / _ERLANG / "bin/erl"
    text = erl.read_text(encoding="utf-8")
    erl.write_text(text.replace(f"/{_ERLANG}", str(final_root / _ERLANG)), encoding="utf-8")


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
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
