"""Image and compose file: linted, consistent with each other, and with an environment that notifier takes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml
from compose_spec import PyOptions

from notifier import config
from notifier.cli.program import COMMANDS, notifier
from notifier.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.services import Database

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
OURS = ("init-db", "worker", "api")
LEAVE = 10  # s, for what follows the drain


def lint(hadolint: str, text: str) -> str:
    done = subprocess.run(
        [hadolint, "--no-color", "-"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == (done.stdout + done.stderr == "")
    return done.stdout + done.stderr


def faults_of_the_image(text: str) -> list[str]:
    """Return what hadolint does not look for: who runs it, and where its packages come from."""
    final = text.rpartition("\nFROM ")[2]
    packages = [
        command for command in re.split(r"RUN|&&", text) if " install" in command and ".lock" in command
    ]
    locked = ("--require-hashes", "--only-binary=:all:")
    wanted = {
        "more than one stage": len(re.findall(r"^FROM ", text, re.MULTILINE)) > 1,
        "a number as its user": re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.MULTILINE) is not None,
        "locked packages": bool(packages) and all(flag in one for one in packages for flag in locked),
        "no shell as process 1": re.search(r'^ENTRYPOINT \["notifier"\]$', final, re.MULTILINE) is not None,
    }
    return [name for name, holds in wanted.items() if not holds]


def test_hadolint_has_nothing_to_say(hadolint: str) -> None:
    assert lint(hadolint, DOCKERFILE) == ""
    assert faults_of_the_image(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("python:3.11-slim-bookworm AS", "python:latest AS", "DL3007"),
        ("python:3.11-slim-bookworm AS", "python AS", "DL3006"),
        ("WORKDIR /source", "WORKDIR source", "DL3000"),
        ('CMD ["run"]', "CMD run", "DL3025"),
        ("EXPOSE 8080 8081", "EXPOSE 80800", "DL3011"),
    ],
)
def test_a_seeded_fault_is_noticed(hadolint: str, right: str, wrong: str, rule: str) -> None:
    assert right in DOCKERFILE
    assert rule in lint(hadolint, DOCKERFILE.replace(right, wrong))


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("USER 10001:10001", "USER root", "a number as its user"),
        ("USER 10001:10001\n", "", "a number as its user"),
        (
            "--require-hashes --only-binary=:all: -r requirements-run",
            "-r requirements-run",
            "locked packages",
        ),
        ('ENTRYPOINT ["notifier"]', "ENTRYPOINT notifier", "no shell as process 1"),
    ],
)
def test_an_image_that_gives_up_a_promise_is_noticed(right: str, wrong: str, fault: str) -> None:
    assert right in DOCKERFILE
    assert faults_of_the_image(DOCKERFILE.replace(right, wrong)) == [fault]


def test_the_context_has_what_the_image_copies_and_nothing_else() -> None:
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    copied = {
        source
        for line in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for source in line.split()
    }
    assert let_in == copied
    assert all((ROOT / one).exists() for one in copied)
    packaged = re.findall(
        r'^"([\w/.]+)" = "notifier/_data', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
    )
    assert set(packaged) <= copied


def compose() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(COMPOSE)
    return tree


def faults_of_compose(text: str) -> list[str]:
    """Return what is wrong with a compose file: first by the specification, then by what we promise."""
    try:
        PyOptions(apply_merge=True).from_yaml(text).validate()
    except ValueError as error:
        return [str(error)]
    tree: dict[str, Any] = yaml.safe_load(text)
    found = []
    for name, service in tree["services"].items():
        found += [f"{name}: {fault}" for fault in faults_of_a_service(service, tree)]
    for name in OURS:
        found += [f"{name}: {fault}" for fault in faults_of_ours(tree["services"][name])]
    return found


def faults_of_a_service(service: dict[str, Any], tree: dict[str, Any]) -> list[str]:
    found = []
    if not re.fullmatch(r"[\w./-]+:(?!latest$)[\w.-]+", service.get("image", "")):
        found.append(f"the image {service.get('image')!r} has no tag of its own")
    open_ports = [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")]
    found += [f"the port {port} is open to others" for port in open_ports]
    for other, wanted in service.get("depends_on", {}).items():
        if other not in tree["services"]:
            found.append(f"there is no {other} to wait for")
        elif wanted["condition"] == "service_healthy" and "healthcheck" not in tree["services"][other]:
            found.append(f"{other} has no healthcheck to wait for")
    mounted = {mount.partition(":")[0] for mount in service.get("volumes", [])}
    found += [f"the volume {volume} is not declared" for volume in mounted - set(tree["volumes"])]
    return found


def faults_of_ours(service: dict[str, Any]) -> list[str]:
    found = []
    confined = service.get("read_only") is True and service.get("cap_drop") == ["ALL"]
    if not confined or service.get("security_opt") != ["no-new-privileges:true"]:
        found.append("is not confined")
    if service["command"][0] not in COMMANDS:
        found.append(f"there is no command {service['command'][0]}")
    if (
        float(service["stop_grace_period"].removesuffix("s"))
        < config.Settings().delivery.drain_timeout + LEAVE
    ):
        found.append("has no time to drain")
    try:
        config.load(None, service["environment"], default_paths=())
    except ConfigurationError as error:
        found += error.problems
    return found


def test_the_compose_file_is_sound_and_notifier_takes_its_environment() -> None:
    tree = compose()
    assert faults_of_compose(COMPOSE) == []
    assert set(tree["services"]) == {"postgres", "rabbitmq", "mailpit", "sample", *OURS}
    settings = config.load(None, tree["services"]["worker"]["environment"], default_paths=())
    assert (settings.smtp.host, settings.smtp.port) == ("mailpit", 1025)


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("axllent/mailpit:v1.21", "axllent/mailpit", "mailpit: the image"),
        ("127.0.0.1:8080:8080", "8080:8080", "worker: the port 8080:8080 is open"),
        ("  read_only: true", "  readonly: true", "extension key `readonly`"),
        ("condition: service_healthy", "condition: healthy", "unknown variant `healthy`"),
        ("interval: 2s", "intervals: 2s", "extension key `intervals`"),
        ('["postgres:/var', '["postgress:/var', "postgres: the volume postgress is not declared"),
        ("cap_drop: [ALL]", "cap_drop: []", "worker: is not confined"),
        ('EMAIL_PORT: "1025"', "EMAIL_PORT: smtp", "worker: EMAIL_PORT"),
        ("NOTIFIER_APP__ENVIRONMENT", "NOTIFIER_APP__ENVIROMENT", "worker: NOTIFIER_APP__ENVIROMENT"),
        ("stop_grace_period: 60s", "stop_grace_period: 10s", "worker: has no time to drain"),
        ("command: [run]", "command: [work]", "worker: there is no command work"),
        (
            "rabbitmq: {condition: service_healthy}",
            "rabbit: {condition: service_healthy}",
            "no rabbit to wait",
        ),
    ],
)
def test_a_seeded_fault_in_the_compose_file_is_noticed(right: str, wrong: str, fault: str) -> None:
    assert right in COMPOSE
    found = faults_of_compose(COMPOSE.replace(right, wrong))
    assert any(fault in one for one in found), found


@pytest.mark.services
def test_the_sample_of_the_compose_file_gives_the_sample_event_a_reader(database: Database) -> None:
    """As its comment says: the customer of docs/events is there, and its admin gets the failed job."""
    words = compose()["services"]["sample"]["command"]
    database.execute(words[words.index("--command") + 1])
    rows = database.rows(
        "SELECT c.id, u.role, u.email FROM customers c JOIN customer_users a ON a.customer_id = c.id"
        " JOIN users u ON u.id = a.user_id"
    )
    event = yaml.safe_load((ROOT / "docs/events/job_failed.json").read_text("utf-8"))
    assert rows == [(event["data"]["customer_id"], "admin", "anna@acme.example")]


def test_the_commands_in_its_comment_exist() -> None:
    (line,) = [line for line in COMPOSE.splitlines() if "publish" in line]
    words = re.findall(r"worker (\S+) (\S+) - < (\S+)", line)
    ((command, option, file),) = words
    found = notifier.get_command(click.Context(notifier), command)
    assert found is not None
    assert option in {each for parameter in found.params for each in parameter.opts}
    assert (ROOT / file).exists()
