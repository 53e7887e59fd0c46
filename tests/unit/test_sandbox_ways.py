"""How a service is chosen among the ways that a machine may have."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from notifier.domain.errors import ConfigurationError, NotifierError
from notifier.sandbox import debian_packages, postgres_binaries, rabbitmq_binaries, ways
from notifier.sandbox.ways import Absent, Way

if TYPE_CHECKING:
    from pathlib import Path


def absent(reason: str) -> Way[str]:
    def take() -> str:
        raise Absent(reason)

    return Way(name=f"way of {reason}", take=take)


def test_the_first_way_that_exists_is_taken() -> None:
    order = [absent("one"), Way(name="two", take=lambda: "two"), Way(name="three", take=lambda: "three")]

    assert ways.first("database", order) == "two"


def test_without_any_way_the_error_names_every_one_and_its_reason() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ways.first("database", [absent("one"), absent("two")])

    assert caught.value.problems == (
        "no database can be obtained on this machine. Any one of these is enough:",
        "way of one: one",
        "way of two: two",
    )


def test_a_way_that_exists_and_fails_is_not_covered_up_by_the_next() -> None:
    def broken() -> str:
        msg = "disk full"
        raise NotifierError(msg)

    with pytest.raises(NotifierError, match="disk full"):
        ways.first("database", [Way(name="one", take=broken), Way(name="two", take=lambda: "two")])


def programs(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch(mode=0o755)


def test_of_debians_postgresql_folders_the_newest_complete_one_is_taken(tmp_path: Path) -> None:
    for version in ("9.6", "15", "14"):
        programs(tmp_path / version / "bin", "initdb", "postgres")
    programs(tmp_path / "16" / "bin", "psql")

    assert postgres_binaries.local(str(tmp_path), tmp_path).bin == tmp_path / "15" / "bin"


def test_without_postgresql_the_reason_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(Absent, match="apt-get install postgresql"):
        postgres_binaries.local(str(tmp_path), tmp_path)


def test_debians_wrapper_that_changes_the_user_is_not_taken_for_rabbitmq(tmp_path: Path) -> None:
    """In Debian the name on the PATH is a link to a wrapper that lies beside links to the real scripts."""
    programs(tmp_path / "lib" / "bin", "rabbitmq-script-wrapper", "rabbitmq-server", "rabbitmq-env")
    programs(tmp_path / "sbin", "erl")
    (tmp_path / "sbin" / "rabbitmq-server").symlink_to(tmp_path / "lib" / "bin" / "rabbitmq-script-wrapper")

    with pytest.raises(Absent, match="apt-get install rabbitmq-server"):
        rabbitmq_binaries.local(str(tmp_path / "sbin"), [])


def test_a_rabbitmq_whose_own_script_is_on_the_path_is_found(tmp_path: Path) -> None:
    home = tmp_path / "rabbitmq_server-4.1.0"
    programs(home / "sbin", "rabbitmq-server", "erl", "epmd")
    (home / "plugins").mkdir()

    assert rabbitmq_binaries.local(str(home / "sbin"), []).server == home / "sbin" / "rabbitmq-server"


def test_rabbitmq_without_erlang_says_so(tmp_path: Path) -> None:
    programs(tmp_path / "rabbitmq_server-3.13.7" / "sbin", "rabbitmq-server")

    with pytest.raises(Absent, match="erl is not on the PATH"):
        rabbitmq_binaries.local(str(tmp_path), [f"{tmp_path}/rabbitmq_server-*"])


def test_an_installed_program_is_taken_before_any_package(tmp_path: Path) -> None:
    assert debian_packages.program("sh", "dash", cache=tmp_path) == [shutil.which("sh")]
    assert list(tmp_path.iterdir()) == []


def test_a_program_of_an_unpacked_package_finds_the_libraries_beside_it(tmp_path: Path) -> None:
    programs(tmp_path / "prometheus" / "usr" / "bin", "promtool-of-the-tests")
    libraries = tmp_path / "prometheus" / "usr" / "lib" / "x86_64-linux-gnu"
    programs(libraries, "libz.so.1")

    command = debian_packages.program("promtool-of-the-tests", "prometheus", cache=tmp_path)

    assert command == ["env", f"LD_LIBRARY_PATH={libraries}", command[-1]]
    assert subprocess.run(command, check=False).returncode == 0


def test_a_package_that_lacks_its_program_says_what_to_remove(tmp_path: Path) -> None:
    (tmp_path / "prometheus").mkdir()
    with pytest.raises(Absent, match=f"{tmp_path}/prometheus; remove"):
        debian_packages.program("promtool-of-the-tests", "prometheus", cache=tmp_path)
