"""`notifier publish` and `notifier dead-letters` on a real broker."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from pika import BasicProperties

from notifier.broker.messages import BrokerMessage
from notifier.store import inbox
from tests.integration.test_recipient_table import handle
from tests.store_rows import add_customer

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from tests.broker_objects import BrokerObjects
    from tests.support.command_line import CommandLine

SAMPLES = Path(__file__).parents[2] / "docs" / "events"
SAMPLE = SAMPLES / "job_failed.json"


def sample(**changes: object) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(SAMPLE.read_text(encoding="utf-8"))
    return {**event, **changes}


def test_a_file_is_published_as_it_stands_persistent_with_key_type_and_id(
    cli: CommandLine, objects: BrokerObjects
) -> None:
    result = cli("publish", SAMPLE, "--json").json
    ((body, properties),) = objects.take(objects.topology.queue)
    event = sample()
    assert body == SAMPLE.read_bytes()
    assert (properties.message_id, properties.type) == (event["id"], "job_failed")
    assert (properties.delivery_mode, properties.content_type) == (2, "application/cloudevents+json")
    assert result[0]["routing_key"] == f"job_failed.{event['data']['customer_id']}"
    assert result[0]["exchange"] == objects.topology.exchange


def test_every_sample_is_published_with_fresh_ids(cli: CommandLine, objects: BrokerObjects) -> None:
    files = sorted(SAMPLES.glob("*.json"))
    result = cli("publish", "--new-id", *files)
    assert result.code == 0, result.err
    assert f"{len(files)} published to exchange {objects.topology.exchange}" in result.out
    bodies = [json.loads(body) for body, _ in objects.take(objects.topology.queue)]
    assert {body["type"] for body in bodies} == {file.stem for file in files}
    assert len({body["id"] for body in bodies} - {json.loads(file.read_text())["id"] for file in files}) == 5


def test_lines_from_the_standard_input_are_events_of_their_own(
    cli: CommandLine, objects: BrokerObjects
) -> None:
    lines = "\n".join([json.dumps(sample(id="one")), "", json.dumps(sample(id="two")), ""])
    result = cli("publish", "-", "--json", stdin=lines).json
    assert [(one["file"], one["id"]) for one in result] == [
        ("standard input:1", "one"),
        ("standard input:3", "two"),
    ]
    assert objects.depth(objects.topology.queue) == 2


def test_one_faulty_event_keeps_all_of_them_back_and_is_named(
    cli: CommandLine, objects: BrokerObjects
) -> None:
    lines = "\n".join([json.dumps(sample()), json.dumps(sample(type="job_exploded")), '{"id": 1}'])
    result = cli("publish", "-", stdin=lines)
    assert result.code == 1
    first, second = result.err.splitlines()
    assert first.startswith("notifier: standard input:2: schema: type: 'job_exploded' is no event type")
    assert second.startswith("notifier: standard input:3: schema: ")
    assert objects.depth(objects.topology.queue) == 0


def test_an_event_that_reaches_no_queue_is_an_error(cli: CommandLine, objects: BrokerObjects) -> None:
    objects.channel.queue_unbind(objects.topology.queue, objects.topology.exchange, routing_key="#")
    result = cli("publish", SAMPLE)
    assert result.code == 1
    assert "no queue is bound" in result.err
    assert "0 of 1 events were published" in result.err


@pytest.mark.parametrize(
    ("args", "told"), [(["none.json"], "none.json: cannot be read"), (["/dev/null"], "empty_body")]
)
def test_a_file_without_an_event_is_named(cli: CommandLine, args: list[str], told: str) -> None:
    result = cli("publish", *args)
    assert (result.code, told in result.err) == (1, True)


def dead(objects: BrokerObjects, connection: Connection, *bodies: bytes) -> None:
    """Let these messages die as the intake does: a row each, and the message in the dead-letter queue."""
    for body in bodies:
        inbox.reject(
            connection,
            [
                inbox.Rejection(
                    reason="bad_json",
                    detail="Expecting value at line 1 column 1",
                    event_id=None,
                    body_sha256=hashlib.sha256(body).digest(),
                    body_head=body,
                )
            ],
        )
        objects.channel.basic_publish(objects.topology.dead_letter_exchange, "dead", body, mandatory=True)


def test_dead_letters_are_listed_with_their_reason_and_stay(
    cli: CommandLine, objects: BrokerObjects, connection: Connection
) -> None:
    dead(objects, connection, b"nonsense")
    (row,) = cli("dead-letters", "list", "--json").json
    assert (row["reason"], row["bytes"]) == ("bad_json", 8)
    assert row["id"] == hashlib.sha256(b"nonsense").hexdigest()[:16]
    assert "bad_json" in cli("dead-letters", "list").out
    assert objects.depth(objects.topology.dead_letter_queue) == 1


def test_a_dead_letter_is_shown_with_its_secrets_masked(
    cli: CommandLine, objects: BrokerObjects, connection: Connection
) -> None:
    body = b'{"error": "snmp-server community s3cretRO ro"'
    dead(objects, connection, body)
    shown = cli("dead-letters", "show", hashlib.sha256(body).hexdigest())
    assert (shown.code, shown.err) == (0, "")
    assert "Expecting value at line 1" in shown.out
    assert "snmp-server community" in shown.out
    assert "s3cretRO" not in shown.out


def test_letters_are_worth_seeing_without_a_database(
    cli: CommandLine, objects: BrokerObjects, connection: Connection
) -> None:
    dead(objects, connection, b"nonsense")
    cli.configure({"DATABASE__URL": "postgresql://notifier@127.0.0.1:1/none"})
    result = cli("dead-letters", "list", "--json")
    assert len(result.json) == 1
    assert result.err.startswith("the reasons are not known: database: ")


def test_a_replayed_letter_goes_back_to_the_worker_and_a_discarded_one_is_gone(
    cli: CommandLine, objects: BrokerObjects, connection: Connection
) -> None:
    dead(objects, connection, b"one", b"two", b"three")
    two = hashlib.sha256(b"two").hexdigest()
    assert cli("dead-letters", "replay", two, "--json").json == {"replayed": 1, "missing": []}
    assert [body for body, _ in objects.take(objects.topology.queue)] == [b"two"]
    one = hashlib.sha256(b"one").hexdigest()[:16]
    assert cli("dead-letters", "discard", one, "--yes").out == "1 discarded\n"
    missing = cli("dead-letters", "discard", two)
    assert (missing.code, missing.out, f"there is no dead letter {two}" in missing.err) == (
        1,
        "0 discarded\n",
        True,
    )
    three = hashlib.sha256(b"three").hexdigest()
    shown = cli("dead-letters", "show", two, "1", three)
    assert (shown.code, shown.out.splitlines()[0].split()) == (1, ["id", three[:16]])
    assert [line.partition(";")[0] for line in shown.err.splitlines()] == [
        f"there is no dead letter {name}" for name in sorted((two, "1"))
    ]
    assert cli("dead-letters", "replay", "--all").code == 2
    assert cli("dead-letters", "replay", "--all", "--yes").out == "1 replayed\n"
    assert [body for body, _ in objects.take(objects.topology.queue)] == [b"three"]
    assert cli("dead-letters", "list").out == "no dead letters\n"
    assert cli("dead-letters", "show", three).code == 1
    assert (cli("dead-letters", "show", "--all").out) == "no dead letters\n"


def test_what_is_discarded_is_the_letter_that_was_listed_among_more_than_were_shown(
    cli: CommandLine, objects: BrokerObjects
) -> None:
    """A look at some letters moves them in the queue, so no place in it names a letter."""
    for number in range(38):
        death = {"time": datetime(2026, 11, 23, 4, 0, number, tzinfo=UTC)}
        objects.channel.basic_publish(
            "",
            objects.topology.dead_letter_queue,
            b"%d" % number,
            BasicProperties(message_id=f"job-{number:02}", delivery_mode=2, headers={"x-death": [death]}),
            mandatory=True,
        )
    oldest = [f"job-{number:02}" for number in range(38)]
    for limit in (5, 2, 1, 5):
        listed = cli("dead-letters", "list", "--limit", limit, "--json")
        assert [row["id"] for row in listed.json] == oldest[:limit]
        assert listed.err == f"the oldest {limit} of 38; see more with --limit\n"
    assert cli("dead-letters", "show", "job-30", "--json").json[0]["body_head"] == "30"
    assert cli("dead-letters", "discard", "job-01", "--yes").out == "1 discarded\n"
    oldest.remove("job-01")
    assert [row["id"] for row in cli("dead-letters", "list", "--limit", 100, "--json").json] == oldest


def test_discarding_one_letter_shows_it_and_asks(
    cli: CommandLine, objects: BrokerObjects, connection: Connection
) -> None:
    dead(objects, connection, b"one", b"two")
    one, two = (hashlib.sha256(body).hexdigest()[:16] for body in (b"one", b"two"))
    nobody = cli("dead-letters", "discard", one)
    assert (nobody.code, objects.depth(objects.topology.dead_letter_queue)) == (2, 2)
    assert nobody.err.startswith(f"id {one}  reason bad_json  ")
    assert "Delete this dead letter for good? Nobody can be asked here; add --yes." in nobody.err
    refused = cli("dead-letters", "discard", one, two, answer="n")
    assert (refused.code, "Delete these 2 dead letters for good?" in refused.err) == (1, True)
    assert len(cli("dead-letters", "list", "--json").json) == 2
    assert cli("dead-letters", "discard", one, two, answer="y").out == "2 discarded\n"
    assert objects.depth(objects.topology.dead_letter_queue) == 0


def test_letters_must_be_named(cli: CommandLine) -> None:
    for args in ((), ("--all", "job-1")):
        result = cli("dead-letters", "discard", *args)
        assert (result.code, "name letters by id, or all of them" in result.err) == (2, True)


def test_a_replayed_letter_is_not_told_for_a_routing_key_that_is_the_name_of_its_queue(
    engine: Engine, connection: Connection
) -> None:
    customer = add_customer(connection)
    event = json.loads(SAMPLE.read_text(encoding="utf-8"))
    event["data"]["customer_id"] = customer
    body = json.dumps(event).encode()
    ways = (
        ("job.events", f"job_failed.{customer}"),
        ("", "notifier.job-events.v1"),
        ("job.events", "job_success"),
    )
    with structlog.testing.capture_logs() as logs:
        for exchange, key in ways:
            handle(engine, [BrokerMessage(body=body, exchange=exchange, routing_key=key)])
    told = [line["routing_key"] for line in logs if line["event"] == "routing_key_contradicts_body"]
    assert told == ["job_success"]


def test_check_is_content_with_what_a_worker_needs_and_changes_nothing(
    cli: CommandLine, objects: BrokerObjects
) -> None:
    result = cli("check")
    assert result.code == 0, result.out
    assert "FAIL" not in result.out
    where = r"database: \w+@\S+:\d+/\w+: the schema has version"
    assert re.search(where, result.out), result.out
    assert f"nothing is in the way of queue {objects.topology.queue}" in result.out


def test_check_names_every_fault_at_once_with_78(
    cli: CommandLine, objects: BrokerObjects, connection: Connection
) -> None:
    connection.exec_driver_sql("INSERT INTO customers (id, name) VALUES (7, 'Acme')")
    connection.exec_driver_sql(
        "INSERT INTO smtp_configs (customer_id, host, from_email, username, password)"
        " VALUES (7, 'smtp.acme.example', 'a@acme.example', 'acme', 'not-encrypted')"
    )
    cli.configure({"RABBITMQ__QUEUE": objects.topology.dead_letter_queue, "RABBITMQ__DEAD_LETTER_QUEUE": "x"})
    cli.configure({"SMTP__HOST": "no.such.host.invalid", "SMTP__FROM_EMAIL": "a@b.example"})
    result = cli("check", "--json")
    assert result.code == 78
    faults = {one["part"]: one["text"] for one in json.loads(result.out) if one["level"] == "problem"}
    assert set(faults) == {"passwords", "broker", "default server"}
    assert faults["passwords"].startswith("customer 7: the stored password cannot be read")
    assert "exists with other arguments" in faults["broker"]
    assert "no.such.host.invalid" in faults["default server"]


def test_check_tells_services_that_do_not_answer_from_faults_of_the_configuration(cli: CommandLine) -> None:
    cli.configure(
        {"RABBITMQ__URL": "amqp://a:b@127.0.0.1:1/", "DATABASE__URL": "postgresql://a@127.0.0.1:1/n"}
    )
    result = cli("check")
    assert result.code == 1
    assert "FAIL  database: " in result.out
    assert "FAIL  broker: " in result.out
    cli.configure({"DELIVERY__SENDERS": "none", "NO__SUCH": "1"})
    result = cli("check", "--json")
    assert result.code == 78
    assert "delivery.senders" in result.out
    assert "NO__SUCH" in result.out


def test_a_damaged_schema_is_named_once_with_its_own_cure(
    cli: CommandLine, objects: BrokerObjects, connection: Connection
) -> None:
    """Neither is such a schema called right, nor is the server blamed, nor does a worker start on it."""
    del objects
    connection.exec_driver_sql("ALTER TABLE smtp_configs RENAME TO x")
    result = cli("check")
    assert result.code == 78
    (line,) = (line for line in result.out.splitlines() if " database: " in line)
    assert line.startswith(
        "FAIL  database: the schema is incomplete or damaged: it lacks the table smtp_configs;"
    )
    assert "restore the database from a backup" in line
    assert "check database.url" not in line
    for command in (("run",), ("events", "list"), ("init-db",)):
        result = cli(*command)
        assert (result.code, "lacks the table smtp_configs" in result.err) == (78, True)


def test_check_names_a_column_that_is_missing_with_the_same_cure(
    cli: CommandLine, objects: BrokerObjects, connection: Connection
) -> None:
    del objects
    connection.exec_driver_sql("ALTER TABLE smtp_configs DROP COLUMN ca_certificate")
    result = cli("check")
    assert result.code == 78
    told = [line for line in result.out.splitlines() if "ca_certificate does not exist" in line]
    assert len(told) == 1
    assert told[0].startswith("FAIL  database: the schema is incomplete or damaged: ")
    assert "restore the database from a backup" in told[0]


def test_check_names_the_rights_a_login_lacks(
    cli: CommandLine, objects: BrokerObjects, connection: Connection
) -> None:
    del objects
    user = f"checked_{connection.exec_driver_sql('SELECT current_database()').scalar_one()}"
    connection.exec_driver_sql(f"CREATE ROLE \"{user}\" LOGIN PASSWORD 'checked'")
    try:
        url = connection.engine.url.set(drivername="postgresql", username=user, password="checked")
        cli.configure({"DATABASE__URL": url.render_as_string(hide_password=False)})
        connection.exec_driver_sql(f'GRANT SELECT ON schema_migrations TO "{user}"')
        result = cli("check")
        assert result.code == 78
        assert f"the role {user} lacks SELECT, INSERT, UPDATE on job_events" in result.out
        assert f"the role {user} lacks SELECT on users" in result.out
    finally:
        connection.exec_driver_sql(f'DROP OWNED BY "{user}"; DROP ROLE "{user}"')
