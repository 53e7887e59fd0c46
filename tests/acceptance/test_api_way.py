"""What the API changes is what the worker does next: through both real processes."""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from notifier.encryption import generate_key
from tests.acceptance.api_process import ApiProcess
from tests.acceptance.world import Customer, event_id, failed_job
from tests.integration.conftest import engine_for
from tests.store_rows import add_event, add_mail
from tests.support.smtp_server import Options
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.acceptance.world import World
    from tests.support.smtp_server import SmtpServer

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
PUBLIC = "https://notifications.example.com"  # what a reverse proxy with TLS would hand on to the API
BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)


def customer_without_server(world: World) -> Customer:
    """A customer without a server of its own; `server` is one it could have."""
    (row,) = world.database.rows("INSERT INTO customers (name) VALUES ('Acme') RETURNING id")
    return Customer(id=int(str(row[0])), server=world.smtp())


def user_id(world: World, address: str) -> int:
    (row,) = world.database.rows("SELECT id FROM users WHERE email = %s", (address,))
    return int(str(row[0]))


def token_of(world: World, address: str) -> str:
    (row,) = world.database.rows("SELECT username FROM users WHERE email = %s", (address,))
    return world.command("tokens", "create", "--user", str(row[0])).splitlines()[-1]


def configuration(customer: Customer) -> dict[str, object]:
    server: SmtpServer = customer.server
    return {
        "customer": customer.id,
        "host": "127.0.0.1",
        "port": server.port,
        "use_tls": False,
        "from_email": "jobs@sender.example",
    }


def failed_mail(world: World, customer: Customer) -> tuple[int, int]:
    """Add a job event and a mail of it that failed; returns both ids."""
    engine = engine_for(world.database)
    with engine.begin() as connection:
        event = add_event(connection, customer.id)
        payload = failed_job(customer, 4812, error="SSH login timed out").decode()
        connection.exec_driver_sql("UPDATE job_events SET payload = %s::jsonb", (payload,))
        mail = add_mail(connection, customer.id, event, status="failed")
    engine.dispose()
    return event, mail


def partial_job(customer: Customer, number: int) -> bytes:
    event = json.loads(failed_job(customer, number))
    event |= {"id": f"job-{number}-partial", "type": "job_partial"}
    event["data"]["job"]["status"] = "partial"
    return json.dumps(event).encode()


def events_done(world: World, count: int) -> None:
    """Wait until so many events are taken in and no mail waits."""

    def done() -> bool:
        query = (
            "SELECT (SELECT count(*) FROM job_events),"
            " (SELECT count(*) FROM notification_events WHERE status = 'pending')"
        )
        return world.ask(query)[0] == (count, 0)

    wait_until(done, 60, f"{count} events to be done")


def test_a_server_and_preferences_made_by_the_api_decide_the_next_mail(world: World) -> None:
    customer = customer_without_server(world)
    admin = world.user(customer.id)
    operator = world.user(customer.id, role="operator")
    world.worker().ready()
    with ApiProcess(world) as api, api.client(token_of(world, admin)) as client:
        assert client.post("/smtp/", json=configuration(customer)).status_code == 201
        off = {"user": user_id(world, admin), "customer": customer.id, "event_type": "job_failed"}
        assert client.post("/preferences/", json={**off, "enabled": False}).status_code == 201
        with api.client(token_of(world, operator)) as own:
            wanted = {
                "user": user_id(world, operator),
                "customer": customer.id,
                "event_type": "job_failed",
                "email_address": "override@example.com",
                "job_types": ["config_backup"],
            }
            assert own.post("/preferences/", json=wanted).status_code == 201
        world.publish(failed_job(customer, 1))
        world.publish(failed_job(customer, 2, type="other"))
        events_done(world, 2)
        assert [mail.rcpt_tos for mail in customer.server.mails] == [("override@example.com",)]
        (row,) = client.get("/events/").json()["results"]
        assert (row["status"], row["recipient_email"], row["job"]) == ("sent", "override@example.com", 1)
        assert client.post(f"/events/{row['id']}/resend/").status_code == 201
        wait_until(lambda: len(customer.server.mails) == 2, 60, "the mail to come again")
        assert api.terminate() == 0
        assert {"api_stopped", "mail_resent"} <= {line["event"] for line in api.lines()}


def test_the_unsubscribe_header_of_a_mail_stops_that_type_for_that_address_and_nothing_else(
    world: World,
) -> None:
    world.settings["security__signing_keys"] = json.dumps([generate_key()])
    with ApiProcess(world) as api:
        customer, other = (world.customer(admins=0), world.customer(admins=0))
        shared = world.user(customer.id, email="shared@reader.example")
        world.user(customer.id, email=shared)
        bystander = world.user(customer.id)
        world.user(other.id, email=shared)
        world.database.execute(
            "INSERT INTO notification_preferences (user_id, customer_id, event_type)"
            " SELECT user_id, customer_id, 'job_partial' FROM customer_users WHERE customer_id = %s",
            (customer.id,),
        )
        world.worker(links__unsubscribe=f"{PUBLIC}/u/{{token}}").ready()
        world.publish(failed_job(customer, 1))
        events_done(world, 1)
        mails = {mail.rcpt_tos[0]: mail.data for mail in customer.server.mails}
        assert set(mails) == {shared, bystander}
        mail = email.message_from_bytes(mails[shared], policy=email.policy.default)
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        link = next(
            one for one in re.findall(r"<(.*?)>", str(mail["List-Unsubscribe"])) if one.startswith(PUBLIC)
        )
        address = link.replace(PUBLIC, api.base)

        looked = httpx.get(address)
        assert (looked.status_code, '<form method="post">' in looked.text) == (200, True)
        world.publish(failed_job(customer, 2))
        events_done(world, 2)
        assert len(customer.server.mails) == 4  # looking changes nothing

        for _ in range(2):
            done = httpx.post(address, data={"List-Unsubscribe": "One-Click"}, follow_redirects=False)
            assert done.status_code == 200
        world.publish(failed_job(customer, 3))
        world.publish(partial_job(customer, 4))
        world.publish(failed_job(other, 5))
        events_done(world, 5)
    rows = world.ask(
        "SELECT j.event_id, n.recipient_email FROM notification_events n JOIN job_events j ON j.id = n.job_event_id"
        " ORDER BY n.id"
    )
    later = {row for row in rows if row[0] not in {event_id(1), event_id(2)}}
    assert later == {
        (event_id(3), bystander),
        ("job-4-partial", shared),
        ("job-4-partial", bystander),
        (event_id(5), shared),
    }


def test_sigterm_lets_a_request_in_hand_end_and_exits_with_0(world: World) -> None:
    (row,) = world.database.rows("INSERT INTO customers (name) VALUES ('Slow') RETURNING id")
    customer = Customer(id=int(str(row[0])), server=world.smtp(Options(delay=1.5)))
    admin = world.user(customer.id)
    with (
        ApiProcess(world) as api,
        api.client(token_of(world, admin)) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        made = client.post("/smtp/", json=configuration(customer)).json()["id"]
        to = {"recipient_email": "test@example.com"}
        asked = pool.submit(client.post, f"/smtp/{made}/test_email/", json=to)
        customer.server.wait_for(lambda: "DATA" in customer.server.verbs())
        assert api.terminate() == 0
        assert (asked.result().status_code, asked.result().json()["status"]) == (200, "sent")


def test_mails_have_no_unsubscribe_header_unless_it_is_configured(world: World) -> None:
    customer = world.customer()
    world.worker().ready()
    world.publish(failed_job(customer, 1))
    events_done(world, 1)
    mail = email.message_from_bytes(customer.server.mails[0].data, policy=email.policy.default)
    assert mail["List-Unsubscribe-Post"] is None
    assert "/u/" not in str(mail["List-Unsubscribe"] or "")


def test_the_examples_of_the_page_work_as_printed(world: World) -> None:
    """Every block is given to a shell as it is, with the page's variables; an HTTP status of 400 or more fails it."""
    customer = customer_without_server(world)
    admin = world.user(customer.id)
    assert (customer.id, user_id(world, admin)) == (1, 1)  # the ids of the examples
    (world.folder / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n", encoding="utf-8")
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert sum(block.count("curl ") for block in blocks) == 10
    event, mail = failed_mail(world, customer)
    with ApiProcess(world) as api:
        token = token_of(world, admin)
        environ = {
            "PATH": os.environ["PATH"],
            "CURL_HOME": str(world.folder),
            "WEBNET": api.base,
            "YOUR_TOKEN": token,
            "SMTP_ID": "1",
            "EVENT_ID": str(mail),
            "JOB_EVENT_ID": str(event),
        }
        answers = []
        for block in blocks:
            done = subprocess.run(
                ["bash", "-e", "-c", block],
                env=environ,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, (block, done.stdout, done.stderr)
            answers.append(done.stdout)
            if "smtp.gmail.com" in block:  # from here on a server of this test stands in for it
                with api.client(token) as client:
                    here = configuration(customer) | {"username": None, "password": None}
                    assert client.patch("/smtp/1/", json=here).status_code == 200
        assert (json.loads(answers[0])["host"], json.loads(answers[0])["password"]) == (
            "smtp.gmail.com",
            "********",
        )
        assert json.loads(answers[1])["status"] == "sent"
        assert json.loads(answers[2])["email_address"] == "override@example.com"
        assert json.loads(answers[3]) == {"saved": 2}
        assert f'"id":{mail},' in answers[4]
        assert '"generation":1' in answers[5]
        assert '"rule":"preference_enabled"' in answers[5]
        assert "SSH login" in answers[5]
    assert customer.server.mails[0].rcpt_tos == ("test@example.com",)
    log = (world.folder / "api.log").read_text(encoding="utf-8")
    assert "your-app-password" not in log
    assert token not in log
