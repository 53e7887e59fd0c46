"""`notifier publish`: job events from files to the broker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from notifier.broker.publisher import Publisher
from notifier.cli import event_files
from notifier.cli.output import json_option
from notifier.domain.errors import NotFound, NotifierError
from notifier.message_ids import new_uuid

if TYPE_CHECKING:
    from notifier.cli.program import Context
    from notifier.domain.events import JobEvent

_COLUMNS = ("file", "id", "type", "customer_id", "routing_key")


@click.command("publish")
@click.argument("files", nargs=-1, required=True, metavar="FILE...|-")
@click.option("--new-id", is_flag=True, help="Give each event a fresh id, so that it is no duplicate.")
@json_option
@click.pass_obj
def publish(context: Context, *, files: tuple[str, ...], new_id: bool, as_json: bool) -> None:
    """Publish job events from files: one JSON object, or one per line. - reads the standard input.

    All are checked before the first is published. Each is confirmed by the broker, and must reach a queue.
    """
    settings = context.settings
    out = context.output(as_json=as_json)
    found = event_files.events(files, max_bytes=settings.rabbitmq.max_event_bytes)
    if not found:
        raise NotFound("there is no event in " + ", ".join(files))
    prepared = [(text.where, *_prepared(event, text.body, new_id=new_id)) for text, event in found]
    done: list[dict[str, object]] = []
    with (
        Publisher(settings.rabbitmq.url.get_secret_value(), exchange=settings.rabbitmq.exchange) as publisher,
        out.progress("publishing", total=len(prepared)) as step,
    ):
        for where, event_id, event, body in prepared:
            key = f"{event.type}.{event.customer_id}"
            try:
                publisher.publish(body, routing_key=key, event_type=event.type, message_id=event_id)
            except NotifierError:
                out.note(f"{len(done)} of {len(prepared)} events were published; {where} was not:")
                raise
            done.append(_line(where, event_id, event, key, settings.rabbitmq.exchange))
            step(1)
    out.table(done, _COLUMNS)
    out.line(f"{len(done)} published to exchange {settings.rabbitmq.exchange}, each confirmed by the broker")


def _prepared(event: JobEvent, body: bytes, *, new_id: bool) -> tuple[str, JobEvent, bytes]:
    if not new_id:
        return event.id, event, body
    fresh = str(new_uuid())
    return fresh, event, json.dumps({**event.document, "id": fresh}, ensure_ascii=False).encode()


def _line(where: str, event_id: str, event: JobEvent, key: str, exchange: str) -> dict[str, object]:
    return {
        "file": where,
        "id": event_id,
        "type": event.type,
        "customer_id": event.customer_id,
        "source": event.source,
        "exchange": exchange,
        "routing_key": key,
    }
