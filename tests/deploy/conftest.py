"""The checkers that `make check-deploy` brings: from requirements-deploy.lock and from Debian's packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from notifier.sandbox import debian_packages

ROOT = Path(__file__).parents[2]


def _say(line: str) -> None:
    sys.__stderr__.write(f"\n{line}\n") if sys.__stderr__ else None


def _installed(name: str) -> str:
    """Return a program beside this Python: the locked one, whatever else the machine has."""
    found = Path(sys.executable).with_name(name)
    assert found.exists(), f"{name} is not installed; run these tests with: make check-deploy"
    return str(found)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def systemd_analyze() -> list[str]:
    """The command `systemd-analyze`, of this machine or unpacked from Debian's package."""
    return debian_packages.program("systemd-analyze", "systemd", say=_say)


@pytest.fixture(scope="session")
def hadolint() -> str:
    """The linter of Dockerfiles."""
    return _installed("hadolint")


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The renderer of kustomizations; it talks to no cluster here."""
    return _installed("kubectl")


@pytest.fixture(scope="session")
def kubernetes_validate() -> str:
    """The validator with the schemas of the Kubernetes releases in it."""
    return _installed("kubernetes-validate")
