from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from notifier.cli import main, program
from notifier.config import Settings
from notifier.domain.errors import ConfigurationError, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAVY = (
    "pika",
    "sqlalchemy",
    "lxml",
    "premailer",
    "rich.table",
    "cryptography",
    "jinja2",
    "pydantic",
    "structlog",
)


def command(body: Callable[[program.Context], object]) -> click.Command:
    @click.command("probe")
    @click.pass_obj
    def probe(context: program.Context) -> object:
        return body(context)

    return probe


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def call(body: Callable[[program.Context], object], *options: str) -> int:
        monkeypatch.setattr(program.notifier, "get_command", lambda _ctx, _name: command(body))
        return main([*options, "probe"])

    return call


def fail(error: BaseException) -> Callable[[program.Context], object]:
    def body(_context: program.Context) -> object:
        raise error

    return body


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys; from notifier.cli import main; main(['--help']);"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", list(program.COMMANDS))
def test_every_command_of_the_overview_shows_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"Usage: notifier {name}" in capsys.readouterr().out


def test_every_command_has_a_module_of_its_own_name() -> None:
    for name, (module, line) in program.COMMANDS.items():
        found = getattr(importlib.import_module(f"notifier.cli.{module}"), name.replace("-", "_"))
        assert isinstance(found, click.Command)
        assert line.endswith(".")


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("notifier, version ")


@pytest.mark.parametrize("args", [["nope"], ["--bad"], []])
def test_wrong_usage_is_exit_code_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    assert "Usage: notifier" in capsys.readouterr().err


def test_a_configuration_fault_is_78_with_every_problem(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fail(ConfigurationError(["config.toml:3: a.b: wrong", "config.toml:9: c.d: wrong"]))) == 78
    captured = capsys.readouterr()
    assert captured.err == "notifier: config.toml:3: a.b: wrong\nnotifier: config.toml:9: c.d: wrong\n"
    assert captured.out == ""


def test_a_known_failure_is_1_with_one_line_and_no_traceback(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fail(NotFound("there is no customer 7\x1b[31m"))) == 1
    assert capsys.readouterr().err == "notifier: there is no customer 7\\x1b[31m\n"


def test_a_click_failure_keeps_its_code(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(fail(click.ClickException("no"))) == 1
    assert run(fail(click.BadParameter("no"))) == 2
    assert "no" in capsys.readouterr().err


def test_an_interrupt_is_told_in_one_line(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fail(KeyboardInterrupt())) == 1
    assert capsys.readouterr().err.strip() == "notifier: stopped"


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1), ("text", 0)])
def test_a_command_returns_its_exit_code(run: Callable[..., int], result: object, code: int) -> None:
    assert run(lambda _context: result) == code


def test_the_config_option_is_what_settings_read(run: Callable[..., int], tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[app]\nproduct = "Mine"\n', encoding="utf-8")
    seen: list[Settings] = []
    assert run(lambda context: seen.append(context.settings), "--config", str(file)) == 0
    assert seen[0].app.product == "Mine"


def test_a_missing_configuration_file_is_78_and_named(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lambda context: context.settings, "--config", str(tmp_path / "none.toml")) == 78
    assert "none.toml: cannot be read (No such file or directory)" in capsys.readouterr().err


def test_flags_override_and_flags_not_given_do_not(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[api]\nport = 1\n", encoding="utf-8")
    context = program.Context(config_path=file, environ={})
    settings = context.overridden({"api.host": "::1", "api.port": None}).settings
    assert (settings.api.host, settings.api.port) == ("::1", 1)


def test_a_reader_that_goes_away_makes_no_noise() -> None:
    code = (
        "import sys, os, click; from notifier.cli import main, program\n"
        "body = lambda: [print('x' * 1000) for _ in range(10000)]\n"
        "program.notifier.get_command = lambda c, n: click.Command('probe', callback=body)\n"
        "sys.exit(main(['probe']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(timeout=60) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")  # noqa: PTH110
@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_disk_that_is_full_is_told_in_one_line(lines: int, unbuffered: str) -> None:
    code = (
        "import sys, click; from notifier.cli import main, program\n"
        f"body = lambda: print('a line\\n' * {lines})\n"
        "program.notifier.get_command = lambda c, n: click.Command('probe', callback=body)\n"
        "sys.exit(main(['probe']))"
    )
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert (done.returncode, done.stderr) == (
        1,
        "notifier: the output cannot be written: No space left on device\n",
    )


def test_an_error_of_the_system_that_has_nothing_to_do_with_the_output_is_not_taken_for_one(
    run: Callable[..., int],
) -> None:
    with pytest.raises(OSError, match="something else"):
        run(fail(OSError("something else")))


def test_the_file_of_the_configuration_after_the_command_is_told_where_it_stands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["events", "list", "--config", "x"]) == 2
    assert "It stands before the command: notifier --config PATH events list" in capsys.readouterr().err


def test_a_terminal_that_is_not_utf8_gets_escapes_and_no_traceback() -> None:
    code = (
        "import sys, click; from notifier.cli import main, program\n"
        "body = lambda: print('caf\\xe9 \\u2713')\n"
        "program.notifier.get_command = lambda c, n: click.Command('probe', callback=body)\n"
        "sys.exit(main(['probe']))"
    )
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=60, env=environ
    )
    assert done.stdout == b"caf\xe9 \\u2713\n"


def test_generate_key_needs_no_configuration_and_prints_the_key_last(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["--config", str(tmp_path / "none.toml"), "secrets", "generate-key"]) == 0
    key = capsys.readouterr().out.splitlines()[-1]
    assert Settings.model_validate({"security": {"encryption_keys": [key], "signing_keys": [key]}})
