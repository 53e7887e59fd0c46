"""install.md, command by command, under a real systemd; then a new secret, a drain, a missed watchdog, a fault.

Needs root, because systemd runs as process 1 of namespaces of its own (tests/deploy/systemd_machine.py).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg2
import pytest

from notifier.broker.publisher import Publisher
from notifier.sandbox import postgres, rabbitmq
from notifier.sandbox.processes import free_ports
from tests import services
from tests.deploy.systemd_machine import SYSTEMD, SystemdMachine, control_groups
from tests.support.smtp_script import pause
from tests.support.smtp_server import SmtpServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notifier.sandbox.rabbitmq_node import RabbitNode

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "deploy" / "systemd" / "install.md"
NAMESPACES = ("unshare", "--pid", "--mount", "--cgroup", "--ipc", "--uts", "--fork")
PROGRAMS = ("unshare", "nsenter", "systemctl", "systemd-run", "dbus-daemon", "curl", "openssl")


def lacking() -> list[str]:
    """Return what this machine lacks for another one inside it."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not SYSTEMD.exists():
        missing.append(str(SYSTEMD))
    if os.geteuid() != 0:
        missing.append("root")
    if missing:
        return missing
    tried = subprocess.run([*NAMESPACES, "mount", "--make-rprivate", "/"], capture_output=True, check=False)
    if tried.returncode != 0:
        missing.append("the right to make namespaces")
    if not all(os.access(place, os.W_OK) for place in control_groups()):
        missing.append("control groups that may be written")
    return missing


LACKING = lacking()

pytestmark = [
    pytest.mark.services,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("systemd_machine"),
    pytest.mark.skipif(bool(LACKING), reason=f"a machine of its own for systemd lacks {', '.join(LACKING)}"),
]

CREDENTIALS = "/etc/notifier/credentials"
VARIABLES = "/etc/notifier/notifier.env"
TEMPLATES = "/etc/notifier/templates"
DROP_IN = """[Service]
Environment=NOTIFIER_HEALTH__PORT={health} NOTIFIER_API__PORT={api} NOTIFIER_DELIVERY__DENIED_NETWORKS=[]
Environment=NOTIFIER_TEMPLATES__DIRECTORY={templates}
"""
WATCHDOG = "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\nRestartSec=0\n"
PSQL = """#!{python}
import sys
import psycopg2
words, statements, database = sys.argv[1:], [], "postgres"
while words:
    option, value, *words = words
    statements += [value] if option == "-c" else []
    database = value if option == "-d" else database
connection = psycopg2.connect({url!r}, dbname=database)
connection.autocommit = True
for statement in statements:
    connection.cursor().execute(statement)
"""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A machine after install.md, and the services it was pointed at."""

    machine: SystemdMachine
    admin: str  # PostgreSQL as its superuser
    amqp_url: str
    health: str
    api: str
    server: SmtpServer

    def sh(self, script: str) -> str:
        """Run commands as root; returns what they printed, errors included."""
        done = self.machine.run("sh", "-euc", script)
        assert done.returncode == 0, (script, done)
        return done.stdout + done.stderr

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run SQL as the superuser."""
        connection = psycopg2.connect(self.admin, dbname="notifier")
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, values)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def fail_job(self, job: int, *, customer: int = 1) -> None:
        """Publish that a job failed; the customer's admin is to hear of it."""
        event = {
            "specversion": "1.0",
            "id": f"job-{job}",
            "source": "tests",
            "type": "job_failed",
            "data": {
                "customer_id": customer,
                "job": {"id": job, "type": "config_backup", "status": "failed"},
            },
        }
        with Publisher(self.amqp_url, exchange="job.events") as publisher:
            publisher.publish(json.dumps(event).encode(), routing_key="job_failed")

    def status_of(self, job: int) -> object:
        """What became of the mail about a job."""
        return self.sql("SELECT status, error_message FROM notification_events WHERE job_id = %s", job)

    def is_ready(self) -> bool:
        """Whether the worker consumes and systemd knows it."""
        state = self.machine.show("notifier.service", "ActiveState", "StatusText")
        return (
            state == {"ActiveState": "active", "StatusText": "consuming"}
            and answer(f"{self.health}/readyz") == 200
        )

    def wait_ready(self) -> None:
        """Wait until the worker is at work."""
        wait_until(self.is_ready, 60, "the worker under systemd to be ready")


def answer(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=5) as page:  # noqa: S310 - loopback
            return int(page.status)
    except urllib.error.HTTPError as refusal:
        with refusal:  # it holds the connection
            return refusal.code


def commands() -> str:
    """Every command of the page, as one script."""
    return "\n".join(re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))


def stand_ins(folder: Path, *, admin: str, node: RabbitNode) -> None:
    """Programs that reach the test's services where the page means the machine's own."""
    folder.mkdir()
    environment = " ".join(f"{name}='{value}'" for name, value in node._environment().items())
    sbin = node._binaries.server.parent
    texts = {
        "apt-get": "#!/bin/sh\n",  # everything is there
        "runuser": '#!/bin/sh\nshift 3\nexec "$@"\n',
        "psql": PSQL.format(python=sys.executable, url=admin),
        "rabbitmqctl": f'#!/bin/sh\nexec env {environment} {sbin}/rabbitmqctl "$@"\n',
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
        (folder / name).chmod(0o755)


@pytest.fixture(scope="module", name="site")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("systemd")
    with (
        postgres.private(durable=False) as database,
        rabbitmq.private(apt_install=os.environ.get(services.APT_INSTALL, "1") != "0") as node,
        SmtpServer() as server,
    ):
        admin = database.url.replace("+psycopg2", "")
        stand_ins(folder / "bin", admin=admin, node=node)
        health, api = free_ports(2)
        seen = (folder / "bin", node._root, *([ROOT] if ROOT.is_relative_to("/tmp") else []))  # noqa: S108
        with SystemdMachine(folder, seen=seen) as machine:
            drop_in = DROP_IN.format(health=health, api=api, templates=TEMPLATES)
            for unit in ("notifier", "notifier-api", "notifier-maintain"):
                place = f"/etc/systemd/system/{unit}.service.d"
                machine.run("mkdir", "-p", place)
                machine.run("tee", f"{place}/trial.conf", text=drop_in)
            machine.run("mkdir", "-p", f"{TEMPLATES}/customers/1/job_failed")
            machine.run("cp", "-r", f"{ROOT}/templates/.", TEMPLATES)
            own = f"{TEMPLATES}/customers/1/job_failed/body.html"
            machine.run("tee", own, text='<p class="paragraph">In our own words: {{ headline }}</p>\n')

            script = commands()
            mail_server = f"--host 127.0.0.1 --port {server.port} --no-use-tls "
            for told, here in (
                ("--host smtp.example.com --port 587 ", mail_server),
                ("DATABASE=127.0.0.1:5432/", f"DATABASE={urlsplit(admin).netloc.rpartition('@')[2]}/"),
                ("BROKER=127.0.0.1:5672/", f"BROKER={urlsplit(node.url).netloc.rpartition('@')[2]}/"),
                ("127.0.0.1:8080/", f"127.0.0.1:{health}/"),
                ("127.0.0.1:8081/", f"127.0.0.1:{api}/"),
            ):
                assert told in script
                script = script.replace(told, here)
            environ = {**os.environ, "PATH": f"{folder}/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}
            done = machine.run("sh", "-euxc", f"cd {ROOT}\n{script}", environ=environ)
            said = done.stdout[-2000:] + done.stderr[-3000:] + machine.journal("notifier.service")[-3000:]
            assert done.returncode == 0, said

            yield Site(
                machine=machine,
                admin=admin,
                amqp_url=node.url,
                health=f"http://127.0.0.1:{health}",
                api=f"http://127.0.0.1:{api}",
                server=server,
            )


def test_the_page_leads_to_running_services_and_a_mail_by_the_customers_own_template(site: Site) -> None:
    """The customer's template is rendered by a process that limits itself, which the system call filter must allow."""
    site.wait_ready()
    assert answer(f"{site.api}/readyz") == 200
    assert site.machine.show("notifier-api.service", "ActiveState") == {"ActiveState": "active"}
    assert site.machine.show("notifier-maintain.timer", "ActiveState") == {"ActiveState": "active"}

    wait_until(lambda: site.status_of(4812) == [("sent", None)], 60, "the mail of the page's event")
    assert any(b"In our own words: Config backup #4812 failed" in mail.data for mail in site.server.mails)

    exposure = site.sh("systemd-analyze security notifier.service | tail -1")
    assert float(re.findall(r"([\d.]+) OK", exposure)[0]) <= 1.5


def test_retention_runs_as_the_owner(site: Site) -> None:
    site.sh("systemctl start notifier-maintain.service")
    assert site.machine.show("notifier-maintain.service", "Result") == {"Result": "success"}
    assert "older_than_days" in site.machine.journal("notifier-maintain.service")


def test_a_new_secret_counts_after_a_restart(site: Site) -> None:
    site.sql("ALTER ROLE notifier_worker PASSWORD 'another'")
    place = urlsplit(site.admin).netloc.rpartition("@")[2]
    site.sh(f"echo postgresql://notifier_worker:another@{place}/notifier > {CREDENTIALS}/worker-database-url")
    before = site.machine.show("notifier.service", "MainPID")
    site.sh("systemctl restart notifier.service")
    assert site.is_ready()
    assert site.machine.show("notifier.service", "MainPID") != before
    assert "ok" in site.sh("notifier-as worker check")


def test_the_encryption_key_is_changed_as_the_page_says(site: Site) -> None:
    keys = f"{CREDENTIALS}/encryption-keys"
    site.sh("echo the-password | notifier-as api smtp set 1 --username jobs --password-stdin")
    before = site.sql("SELECT password FROM smtp_configs WHERE customer_id = 1")
    site.sh(f"(/opt/notifier/bin/notifier secrets generate-key | tail -1; cat {keys}) > /tmp/new")
    site.sh(f"cp /tmp/new {keys} && systemctl restart notifier.service notifier-api.service")
    site.sh("notifier-as api secrets rotate")
    assert site.sql("SELECT password FROM smtp_configs WHERE customer_id = 1") != before
    site.sh(f"sed -i 2d {keys} && systemctl restart notifier.service notifier-api.service")
    assert "FAIL" not in site.sh("notifier-as worker check")
    site.sql("UPDATE smtp_configs SET username = NULL, password = NULL")  # the test's server takes no login


def test_the_products_variables_name_the_default_mail_server(site: Site) -> None:
    """As they stand in notifier.env; it serves a customer without a server of its own."""
    site.sql("INSERT INTO customers (id, name) OVERRIDING SYSTEM VALUE VALUES (2, 'Beta')")
    site.sql("INSERT INTO customer_users (customer_id, user_id) SELECT 2, id FROM users")
    for name, value in {
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": str(site.server.port),
        "EMAIL_USE_TLS": "false",
        "DEFAULT_FROM_EMAIL": "webnet@beta.example",
    }.items():
        site.sh(f"grep -q '^#{name}=' {VARIABLES} && sed -i 's/^#{name}=.*/{name}={value}/' {VARIABLES}")
    site.sh("systemctl restart notifier.service")
    site.fail_job(3, customer=2)
    wait_until(lambda: site.status_of(3) == [("sent", None)], 60, "the mail")
    assert any(mail.mail_from == "webnet@beta.example" for mail in site.server.mails)


def test_a_dead_letter_is_replayed_with_the_rights_of_the_page(site: Site) -> None:
    site.wait_ready()
    site.fail_job(4, customer=3)
    listed = "notifier-as worker dead-letters list"
    wait_until(lambda: "unknown_customer" in site.sh(listed), 30, "the letter")
    site.sql("INSERT INTO customers (id, name) OVERRIDING SYSTEM VALUE VALUES (3, 'Gamma')")
    site.sh("notifier-as worker dead-letters replay --all --yes")
    accepted = "SELECT outcome FROM job_events WHERE customer_id = 3"
    wait_until(lambda: site.sql(accepted) == [("no_recipients",)], 30, "the event")


def test_stopping_finishes_the_mail_in_hand(site: Site) -> None:
    site.wait_ready()
    go_on = threading.Event()
    site.server.on("rcpt", pause(go_on), times=1)
    seen = site.server.verbs().count("RCPT")
    site.fail_job(2)
    site.server.wait_for(lambda: site.server.verbs().count("RCPT") > seen, seconds=30)
    site.sh("systemctl stop --no-block notifier.service")
    draining = {"ActiveState": "deactivating", "SubState": "stop-sigterm"}
    wait_until(lambda: site.machine.show("notifier.service", *draining) == draining, 10, "the stop")
    go_on.set()

    ended = {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    wait_until(lambda: site.machine.show("notifier.service", *ended) == ended, 30, "the end")
    assert site.status_of(2) == [("sent", None)]
    site.sh("systemctl start notifier.service")


def test_a_worker_that_stands_still_is_started_again(site: Site) -> None:
    site.wait_ready()
    site.machine.run("tee", "/etc/systemd/system/notifier.service.d/watchdog.conf", text=WATCHDOG)
    site.sh("systemctl daemon-reload && systemctl restart notifier.service")
    before = site.machine.show("notifier.service", "MainPID")
    site.sh("systemctl kill --kill-whom=main --signal=STOP notifier.service")
    wait_until(lambda: "watchdog" in site.machine.journal("notifier.service").lower(), 30, "the verdict")
    wait_until(
        lambda: site.machine.show("notifier.service", "NRestarts") == {"NRestarts": "1"}, 30, "the restart"
    )
    site.wait_ready()
    assert site.machine.show("notifier.service", "MainPID") != before
    site.sh("rm /etc/systemd/system/notifier.service.d/watchdog.conf && systemctl daemon-reload")


def test_a_wrong_configuration_is_not_tried_again_and_is_named(site: Site) -> None:
    site.sh("cp /etc/notifier/config.toml /tmp/right && echo '[smpt]' >> /etc/notifier/config.toml")
    assert site.machine.run("systemctl", "restart", "notifier.service").returncode != 0
    state = {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78", "NRestarts": "0"}
    assert site.machine.show("notifier.service", *state) == state
    assert "smpt" in site.machine.journal("notifier.service")
    site.sh("cp /tmp/right /etc/notifier/config.toml && systemctl restart notifier.service")
    site.wait_ready()
