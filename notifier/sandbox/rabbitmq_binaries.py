"""Where RabbitMQ's programs are: installed, or from Debian's packages."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from notifier.sandbox import debian_packages
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
    debian_packages.run([*options, "update"])
    debian_packages.run([*options, "install", "--no-install-recommends", "rabbitmq-server"])
    return local()


def unpacked(cache: Path, say: Callable[[str], None]) -> Binaries:
    """Download Debian's packages and unpack them below `cache`, once, without root. Raises Absent."""
    root = cache / "rabbitmq"
    debian_packages.unpacked("rabbitmq-server", root, dependencies=_WANTED, relocate=_relocate, say=say)
    scripts = sorted(root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"))
    erlang = root / _ERLANG / "bin"
    if not scripts or not (erlang / "erl").exists():
        msg = f"{root} is not complete; remove it and try again"
        raise Absent(msg)
    return Binaries(
        server=scripts[-1],
        epmd=str(erlang / "epmd"),
        path=(str(erlang),),
        libraries=debian_packages.library_folders(root),
        source=f"Debian's packages below {cache}",
    )


def _relocate(unpacked_root: Path, final_root: Path) -> None:
    """Tell Erlang's start script its new home: the path is written in, and the variable for it is ignored."""
    erl = unpacked_root / _ERLANG / "bin/erl"
    text = erl.read_text(encoding="utf-8")
    erl.write_text(text.replace(f"/{_ERLANG}", str(final_root / _ERLANG)), encoding="utf-8")
