"""The unit files, judged by systemd-analyze: no unknown key, little exposure, and the same confinement in all."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from notifier.config import Settings
from notifier.config.environment import variable_names

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = sorted(path.name for path in FOLDER.glob("*.service"))
UNITS = [*SERVICES, *sorted(path.name for path in FOLDER.glob("*.timer"))]
TARGETS = ("sysinit", "basic", "shutdown", "network-online", "multi-user", "timers")
EXPOSURE = 15  # tenths; systemd's scale ends at 100
LEAVE = 10  # s, for what follows the drain


def settings_of(unit: str) -> dict[str, list[str]]:
    """Return every key of a unit file with its values, in order."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / unit).read_text("utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def verify(analyze: list[str], folder: Path, texts: dict[str, str]) -> str:
    """Return what systemd says of these units on a machine that has the program and nothing else of ours.

    `systemd-analyze verify` ends with 0 even on keys it does not know: its words are the verdict.
    """
    units = folder / "etc/systemd/system"
    program = folder / "opt/notifier/bin/notifier"
    units.mkdir(parents=True)
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)
    for target in TARGETS:
        (units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n", "utf-8")
    for name, text in texts.items():
        (units / name).parent.mkdir(exist_ok=True)
        (units / name).write_text(text, "utf-8")
    judged = [name for name in texts if not name.endswith(".conf")]
    done = subprocess.run(
        [*analyze, "verify", f"--root={folder}", *judged], capture_output=True, text=True, check=False
    )
    return done.stderr + ("" if done.returncode == 0 else f"exit code {done.returncode}")


def units() -> dict[str, str]:
    return {name: (FOLDER / name).read_text("utf-8") for name in UNITS}


def test_systemd_has_nothing_to_say_about_the_units(systemd_analyze: list[str], tmp_path: Path) -> None:
    assert len(UNITS) == 4
    assert verify(systemd_analyze, tmp_path, units()) == ""


@pytest.mark.parametrize("unit", UNITS)
def test_a_misspelt_key_in_any_unit_is_noticed(unit: str, systemd_analyze: list[str], tmp_path: Path) -> None:
    key = "OnCalendar=" if unit.endswith(".timer") else "ProtectSystem="
    seeded = units()
    seeded[unit] = seeded[unit].replace(key, f"X{key}")
    assert f"Unknown key name 'X{key[:-1]}'" in verify(systemd_analyze, tmp_path, seeded).replace(
        "Unknown key '", "Unknown key name '"
    )


def exposure(analyze: list[str], path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*analyze, "security", "--offline=true", f"--threshold={EXPOSURE}", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_exposed_no_more_than_it_must(service: str, systemd_analyze: list[str]) -> None:
    done = exposure(systemd_analyze, FOLDER / service)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout.splitlines()[-1]


def test_a_service_that_gives_up_its_confinement_is_noticed(
    systemd_analyze: list[str], tmp_path: Path
) -> None:
    seeded = tmp_path / "notifier.service"
    text = units()["notifier.service"]
    seeded.write_text(text.replace("CapabilityBoundingSet=\n", ""), "utf-8")
    assert exposure(systemd_analyze, seeded).returncode == 1


def test_all_services_are_confined_alike() -> None:
    """Retention alone has no templates of customers, and needs no more memory than its batches."""
    own = {"MemoryMax", "SystemCallFilter"}
    confinement = [
        {
            key: value
            for key, value in settings_of(service).items()
            if re.match(
                r"Dynamic|UMask|Limit|Tasks|NoNew|Cap|Ambient|Prot|Priv|Rem|Key|Lock|Mem|Restrict|Sys", key
            )
            and key not in own | {"RestartPreventExitStatus"}
        }
        for service in SERVICES
    ]
    assert all(one == confinement[0] for one in confinement)
    assert len(confinement[0]) > 25
    for service in SERVICES:
        filters = settings_of(service)["SystemCallFilter"]
        assert filters[:2] == ["@system-service", "~@privileged @resources"]
        assert filters[2:] in ([], ["prlimit64"])


@pytest.mark.parametrize("service", ["notifier.service", "notifier-api.service"])
def test_a_drain_has_time_and_a_missed_watchdog_ends_the_service(service: str) -> None:
    found = settings_of(service)
    drain = Settings().delivery.drain_timeout
    assert float(found["TimeoutStopSec"][0]) >= drain + LEAVE
    assert found["Type"] == ["notify"]
    assert float(found["WatchdogSec"][0]) == 60
    assert found["KillMode"] == ["mixed"]
    assert found["RestartPreventExitStatus"] == ["78"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_secret_has_the_name_of_a_setting(service: str) -> None:
    credentials = [value.partition(":")[0] for value in settings_of(service)["LoadCredential"]]
    assert credentials
    assert [name for name in credentials if name not in variable_names()] == []


def test_the_drop_in_of_the_page_is_understood(systemd_analyze: list[str], tmp_path: Path) -> None:
    """install.md gives it for the secrets that not every site has."""
    (block,) = re.findall(r"```ini\n(.*?)```", (FOLDER / "install.md").read_text("utf-8"), re.DOTALL)
    place = "notifier.service.d/secrets.conf"
    assert verify(systemd_analyze, tmp_path / "right", units() | {place: block}) == ""
    wrong = block.replace("LoadCredential", "LoadCredentials")
    assert "LoadCredentials" in verify(systemd_analyze, tmp_path / "wrong", units() | {place: wrong})
    credentials = re.findall(r"LoadCredential=(\w+):", block)
    assert credentials
    assert [name for name in credentials if name not in variable_names()] == []
