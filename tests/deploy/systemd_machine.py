"""A machine of its own for systemd: namespaces, control groups and a copy of the root that forgets every change.

systemd runs as process 1 of a PID namespace, on an overlay over this machine's files, with empty /run, /tmp and /dev,
with read-only /sys and kernel settings, and with the network of this machine, so that services on loopback are in
reach. It starts no unit of this machine: only those put into /etc/systemd/system, a journal, a bus, and empty targets.
Needs root. Nothing outside changes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEMD = Path("/lib/systemd/systemd")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_MACHINE = ("dbus.socket", "dbus.service", "systemd-journald.service", "systemd-journald.socket")
_TARGETS = (
    *("sysinit", "basic", "shutdown", "umount", "final", "multi-user", "network-online"),
    *("sockets", "paths", "timers", "slices", "local-fs"),
)
_ENTER = ("--pid", "--mount", "--cgroup", "--ipc", "--uts", "--root", "--wd")

# $1: a folder for this machine; $2: how control groups are mounted here; the rest: folders to be seen inside.
_BOOT = """
set -eu
folder=$1 groups=$2
shift 2
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/changes" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/changes,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
if [ "$groups" = unified ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mkdir sys/fs/cgroup/unified sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
fi
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
for seen; do
    mkdir -p ".$seen"
    mount --bind "$seen" ".$seen"
done
mkdir .before
pivot_root . .before
umount -l .before
mount --make-rshared /
exec env -i container=trial PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
    SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/transient:/trial-units \\
    /lib/systemd/systemd --system --unit=trial.target --log-target=journal --show-status=no
"""


class SystemdMachine:
    """Boots at `with`. Raises subprocess.CalledProcessError with what went wrong; `seen`: folders shared with it."""

    def __init__(self, folder: Path, *, seen: tuple[Path, ...] = ()) -> None:
        self._folder = folder / "machine"
        self._folder.mkdir()
        self._log = folder / "machine.log"
        self._seen = (*seen, folder / "units")
        self._units = folder / "units"
        self._groups: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._write_units()
        bases = control_groups()
        self._groups = [base / f"notifier-trial-{os.getpid()}" for base in bases]
        for group in self._groups:
            group.mkdir()
        script = _BOOT.replace("/trial-units", str(self._units))
        boot = [str(self._folder), "unified" if len(bases) == 1 else "hybrid", *map(str, self._seen)]
        join = "".join(f"echo $$ > {group}/cgroup.procs; " for group in self._groups)
        namespaces = ["--pid", "--mount", "--cgroup", "--ipc", "--uts", "--fork", "--kill-child"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "sh",
                    "-c",
                    f'{join}exec unshare {" ".join(namespaces)} sh -c "$0" boot "$@"',
                    script,
                    *boot,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self._is_up, 30, "systemd to be up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            for child in _children(self._process.pid):  # process 1 takes all of its namespace along
                os.kill(child, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        for group in self._groups:
            wait_until(partial(_remove_groups, group), 10, f"{group} to be empty")

    def run(
        self, *command: str, text: str | None = None, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, however it ends."""
        assert self._process is not None
        (init,) = _children(self._process.pid)
        return subprocess.run(
            ["nsenter", f"--target={init}", *_ENTER, "--", *command],
            env=environ,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit."""
        done = self.run("systemctl", "show", unit, f"--property={','.join(properties)}")
        return dict(line.split("=", 1) for line in done.stdout.splitlines())

    def journal(self, unit: str) -> str:
        """Return what a unit and systemd said about it."""
        return self.run("journalctl", "--no-pager", "--unit", unit).stdout

    def _write_units(self) -> None:
        self._units.mkdir()
        for target in _TARGETS:
            (self._units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n", "utf-8")
        for unit in _MACHINE:
            shutil.copy(SYSTEMD.parent / "system" / unit, self._units)
        text = f"[Unit]\nRequires=basic.target {' '.join(_MACHINE)}\nAfter={' '.join(_MACHINE)}\n"
        (self._units / "trial.target").write_text(text, "utf-8")

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text("utf-8")
        assert _children(self._process.pid), "no process yet"
        return self.show("trial.target", "ActiveState") == {"ActiveState": "active"}


def control_groups() -> list[Path]:
    """Return the hierarchies that systemd needs here: one, or on older set-ups two. They may not be there."""
    if (_CONTROL_GROUPS / "cgroup.controllers").exists():
        return [_CONTROL_GROUPS]
    return [_CONTROL_GROUPS / "unified", _CONTROL_GROUPS / "systemd"]


def _children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    return []


def _remove_groups(top: Path) -> bool:
    """Remove a control group with those below it. Raises OSError while a process is still in one."""
    for folder, _, _ in os.walk(top, topdown=False):
        Path(folder).rmdir()
    return True
