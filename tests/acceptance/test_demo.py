"""`notifier demo` as a person runs it: everything comes up, every row ends as expected, nothing stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import psutil
import pytest

from tests import services
from tests.orphans import lives
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

END_SECONDS = 150.0
_one_demo = pytest.mark.xdist_group("kept_demo")


class Demo:
    """A running `notifier demo` with its output in files, and every process it has ever started."""

    def __init__(self, *options: str, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._output, self._errors = folder / "output", folder / "errors"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_")}
        # Settings of somebody's real worker, which the demo must not read.
        environ |= {
            "NOTIFIER_RABBITMQ__QUEUE": "not.ours",
            "EMAIL_HOST": "mail.example",
            "TMPDIR": str(self.temporary),
        }
        if os.environ.get(services.APT_INSTALL) == "0":
            options = (*options, "--no-apt-install")
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "notifier", "demo", *options],
                env=environ,
                cwd=folder,
                stdout=output,
                stderr=errors,
            )
        self._top = psutil.Process(self._process.pid)
        self._seen: dict[psutil.Process, str] = {}

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def ended(self) -> bool:
        """Whether it has ended; also notes which processes it has."""
        if self._process.poll() is None:
            for child in self._top.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):  # it may end while we look
                    self._seen[child] = " ".join(child.cmdline())
            return False
        return True

    def says(self, text: str) -> bool:
        if self.ended():
            raise RuntimeError(self.output + self.errors)  # not an assertion: waiting longer is no use
        return text in self.output

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        wait_until(self.ended, END_SECONDS, "the demo to end")
        return self._process.returncode

    def left_behind(self) -> tuple[list[str], list[str]]:
        """Processes that live on, and files in the temporary folder."""
        assert len(self._seen) > 5, "the servers and their guardians were seen"
        return (
            [command for one, command in self._seen.items() if lives(one)],
            [str(path) for path in self.temporary.iterdir()],
        )

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def demos(folder: Path) -> Iterator[list[Demo]]:
    del folder
    started: list[Demo] = []
    yield started
    for one in started:
        one.kill()


@pytest.fixture(name="kept", scope="module")
def _kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo that has run once to its end and kept its data in `kept` of its folder."""
    folder = tmp_path_factory.mktemp("kept")
    demo = Demo("--once", "--json", "--data", str(folder / "kept"), folder=folder)
    try:
        demo.wait()
        yield demo
    finally:
        demo.kill()


@_one_demo
def test_every_row_of_one_demo_ends_as_expected_and_nothing_is_left_behind(kept: Demo) -> None:
    demo = kept
    assert demo.wait() == 0, demo.output + demo.errors
    told = json.loads(demo.output)
    assert told["ok"]
    assert told["differences"] == []
    ends = {
        (row["event"], row["recipient"]): (row["status"], row["reason"], row["attempts"])
        for row in told["rows"]
    }
    assert len(told["rows"]) == len(ends) == 11
    assert ends["job_failed", "george@acme.example"] == ("failed", "permanent_smtp", 1)
    assert ends["job_success", "grace@acme.example"] == ("sent", None, 2)
    assert sum(status == "sent" for status, _, _ in ends.values()) == 10
    assert "deprecated" not in demo.errors
    wait_until(lambda: demo.left_behind() == ([], []), what="everything to be gone")


def test_ctrl_c_ends_the_demo_and_everything_it_started(demos: list[Demo], folder: Path) -> None:
    demo = Demo(folder=folder)
    demos.append(demo)
    wait_until(lambda: demo.says("Ctrl-C ends everything"), END_SECONDS, "the demo to be up")
    assert "as expected: 11 rows, 10 sent, 1 failed" in demo.output
    inbox = re.search(r"^inbox +(http://\S+)", demo.output, re.MULTILINE)
    health = re.search(r"^health +(http://\S+)", demo.output, re.MULTILINE)
    broker = re.search(r"^broker +(amqp://\S+)", demo.output, re.MULTILINE)
    assert inbox is not None
    assert health is not None
    assert broker is not None
    assert f"\n  export AMQP_URL={broker[1]}\n" in demo.output  # what the documents' programs read
    with urllib.request.urlopen(inbox[1]) as page:  # noqa: S310 - loopback
        assert "security@acme.example" in page.read().decode()
    with urllib.request.urlopen(health[1]) as page:  # noqa: S310 - loopback
        assert json.load(page)["ready"] is True
    demo.interrupt()
    assert demo.wait() == 0, demo.errors
    wait_until(lambda: demo.left_behind() == ([], []), what="everything to be gone")


def test_a_killed_demo_leaves_nothing_behind_either(demos: list[Demo], folder: Path) -> None:
    demo = Demo(folder=folder)
    demos.append(demo)
    wait_until(lambda: demo.says("the rows as they settle"), END_SECONDS, "the worker to be up")
    demo.kill()
    wait_until(lambda: demo.left_behind() == ([], []), 60.0, "the guardians to clear up")


def test_a_port_that_is_taken_is_named_with_its_cure(
    demos: list[Demo], folder: Path, amqp_url: str, postgres_url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        demo = Demo(
            "--once",
            "--inbox-port",
            port,
            "--amqp-url",
            amqp_url,
            "--database-url",
            postgres_url,
            folder=folder,
        )
        demos.append(demo)
        assert demo.wait() == 1
    assert (
        f"the inbox cannot listen on port {port} (Address already in use); choose another --inbox-port"
        in demo.errors
    )
    assert list(demo.temporary.iterdir()) == []


def test_a_broker_that_was_named_and_does_not_answer_is_an_error_and_not_replaced(
    demos: list[Demo], folder: Path, postgres_url: str
) -> None:
    demo = Demo("--once", "--amqp-url", "amqp://127.0.0.1:1/", "--database-url", postgres_url, folder=folder)
    demos.append(demo)
    assert demo.wait() == 78
    assert "the given RabbitMQ does not answer: 127.0.0.1:1" in demo.errors


def test_given_servers_are_left_as_they_were(
    demos: list[Demo], folder: Path, amqp_url: str, postgres_url: str
) -> None:
    demo = Demo("--once", "--amqp-url", amqp_url, "--database-url", postgres_url, folder=folder)
    demos.append(demo)
    assert demo.wait() == 0, demo.output + demo.errors
    name = re.search(r"/(notifier_demo_[0-9a-f]+)", demo.output)
    assert name is not None
    server = services.Database(name="postgres", url=postgres_url)
    assert server.rows("SELECT 1 FROM pg_database WHERE datname = %s", (name[1],)) == []


@_one_demo
def test_a_kept_demo_goes_on_where_it_ended(demos: list[Demo], kept: Demo, folder: Path) -> None:
    assert kept.wait() == 0, kept.output + kept.errors
    again = Demo("--once", "--json", "--data", str(kept.folder / "kept"), folder=folder)
    demos.append(again)
    assert again.wait() == 0, again.output + again.errors
    first, second = (json.loads(one.output)["rows"] for one in (kept, again))
    assert min(row["id"] for row in second) > max(row["id"] for row in first)
