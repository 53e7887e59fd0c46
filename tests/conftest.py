"""Fixtures of the whole suite: real services, obtained without asking anybody and never skipped.

`database`, `empty_database`, `amqp_url`: shared servers, a database of its own per test, and a broker on which
each test uses names of its own. `own_postgres`, `own_rabbitmq`: servers that a test may kill and start again. Put
such tests into the xdist group of the fixture's name, `pytest.mark.xdist_group("own_rabbitmq")`, so that only one
worker starts a server.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Protocol

import hypothesis
import pytest
import structlog

from notifier.sandbox import postgres, rabbitmq
from tests import services
from tests.properties import USUAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notifier.sandbox.postgres import PostgresServer
    from notifier.sandbox.rabbitmq_node import RabbitNode

# Properties are judged by outcome, not by how busy the machine is. `make test-unit` takes fewer examples.
_PATIENT = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("default", _PATIENT, max_examples=USUAL)
hypothesis.settings.register_profile("quick", _PATIENT, max_examples=USUAL // 10)
hypothesis.settings.load_profile("default")

_DESK = "services_desk"
_services = pytest.StashKey[services.Services]()
_desk = pytest.StashKey[services.Desk]()


class _Node(Protocol):
    """The part of an xdist worker's handle that we use."""

    workerinput: dict[str, object]


def _say(line: str) -> None:
    sys.__stderr__.write(f"\n{line}\n") if sys.__stderr__ else None


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the controller, or the only process
        config.stash[_services] = services.Services(os.environ, _say)
        config.stash[_desk] = services.Desk(config.stash[_services])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: _Node) -> None:
    """Tell each xdist worker where to ask."""
    node.workerinput[_DESK] = node.config.stash[_desk].address  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    if _desk in config.stash:
        config.stash[_desk].close()
        config.stash[_services].close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Make xdist's groups count: it writes them to an attribute that pytest reads no more since 9.2.

    Its processes take the acceptance tests first, in their random order: a long test at the end would run alone.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: "acceptance" not in item.path.parts)
    for item in items:
        grouped = getattr(item, "_nodeid", item.nodeid)
        if grouped != item.nodeid:
            item._id = type(item.id).parse(grouped)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests measured, if the faults were played in full."""
    if os.environ.get("NOTIFIER_FAULTS") != "full":
        return
    terminalreporter.section("measured")
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                name = report.nodeid.rpartition("::")[2]
                for key, value in report.user_properties:
                    terminalreporter.write_line(f"{name}: {key} {value}")


def _ask(config: pytest.Config, kind: services.Kind) -> str:
    if _services in config.stash:
        return config.stash[_services].ask(kind)
    return services.ask_desk(str(config.workerinput[_DESK]), kind)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A command that a test ran in this process leaves logging pointed at a stream that is closed by then."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in [one for one in root.handlers if type(one).__module__ == "notifier.log"]:
        root.removeHandler(handler)


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config) -> str:
    """The suite's PostgreSQL as its superuser, database `postgres`."""
    return _ask(pytestconfig, "database")


@pytest.fixture(scope="session")
def database_template(pytestconfig: pytest.Config) -> str:
    """The name of a database with schema.sql loaded; nobody connects to it."""
    return _ask(pytestconfig, "template")


@pytest.fixture
def database(postgres_url: str, database_template: str) -> Iterator[services.Database]:
    """This test's own database with the schema and no rows."""
    with services.fresh_database(postgres_url, database_template) as fresh:
        yield fresh


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[services.Database]:
    """This test's own database without any table."""
    with services.fresh_database(postgres_url, "template0") as fresh:
        yield fresh


@pytest.fixture(scope="session")
def amqp_url(pytestconfig: pytest.Config) -> str:
    """The suite's broker. Others use it too: give every object a name of its own and delete it afterwards."""
    return _ask(pytestconfig, "broker")


@pytest.fixture(scope="session")
def _kept_postgres() -> Iterator[PostgresServer]:
    with postgres.private(durable=False) as server:
        yield server


@pytest.fixture
def own_postgres(_kept_postgres: PostgresServer) -> PostgresServer:
    """A running cluster of this worker's own, which the test may stop, kill and start."""
    _kept_postgres.start()
    return _kept_postgres


@pytest.fixture(scope="session")
def _kept_rabbitmq() -> Iterator[RabbitNode]:
    with rabbitmq.private(say=_say, apt_install=os.environ.get(services.APT_INSTALL, "1") != "0") as node:
        yield node


@pytest.fixture
def own_rabbitmq(_kept_rabbitmq: RabbitNode) -> RabbitNode:
    """A running node of this worker's own, which the test may stop, kill and start."""
    _kept_rabbitmq.start()
    return _kept_rabbitmq
