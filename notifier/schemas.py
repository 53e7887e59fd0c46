"""Writes the documents that publishers build on: `python -m notifier.schemas docs` (docs/contract.md).

`schema/job-event.schema.json` is the JSON Schema of a job event, `schema/asyncapi.json` the AsyncAPI 3
document of the channel. Both are made from the models of `domain.event_models`; a test keeps the committed
ones current.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from notifier.domain.event_models import MODELS

CONTRACT_VERSION: Final = "1.0.0"  # of the events, not of this program; grows only with the models
JSON_SCHEMA_FILE: Final = "schema/job-event.schema.json"
ASYNCAPI_FILE: Final = "schema/asyncapi.json"

_JSON_SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_EVENT_CONTENT_TYPE: Final = "application/cloudevents+json"


def job_event_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a structured-mode job event: exactly one of the five types."""
    return {
        "$schema": _JSON_SCHEMA_DIALECT,
        "title": "Job event",
        "description": "A CloudEvents 1.0 event in structured JSON mode. Unknown extra fields are ignored.",
        "oneOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in MODELS.values()],
        "$defs": _definitions("#/$defs/{model}"),
    }


def asyncapi_document(samples: dict[str, Any]) -> dict[str, Any]:
    """AsyncAPI 3.0: what this program receives, with one sample (by event type) for each message."""
    names = {event_type: model.__name__ for event_type, model in MODELS.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "notifier",
            "version": CONTRACT_VERSION,
            "description": "Job events that become mails. Publish persistent, with confirms and `mandatory`; "
            "the routing key is the event type or `<event type>.<customer id>`, the body decides.",
        },
        "defaultContentType": _EVENT_CONTENT_TYPE,
        "channels": {"jobEvents": _channel(names)},
        "operations": {
            "receiveJobEvent": {
                "action": "receive",
                "summary": "Choose the recipients, write the log rows, send the mails.",
                "channel": {"$ref": "#/channels/jobEvents"},
                "messages": [{"$ref": f"#/channels/jobEvents/messages/{name}"} for name in names.values()],
                "bindings": {"amqp": {"ack": True, "bindingVersion": "0.3.0"}},
            }
        },
        "components": {
            "messages": {
                name: _message(event_type, name, samples[event_type]) for event_type, name in names.items()
            },
            "schemas": _definitions("#/components/schemas/{model}"),
        },
    }


def read_samples(folder: Path) -> dict[str, Any]:
    """The sample event of each type: `<folder>/<event type>.json`."""
    return {
        event_type: json.loads((folder / f"{event_type}.json").read_text("utf-8")) for event_type in MODELS
    }


def documents(docs: Path) -> dict[Path, str]:
    """The text of every generated file below `docs`, which holds the samples in `events/`."""
    generated = {
        JSON_SCHEMA_FILE: job_event_schema(),
        ASYNCAPI_FILE: asyncapi_document(read_samples(docs / "events")),
    }
    return {
        docs / name: json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        for name, value in generated.items()
    }


def main(arguments: list[str]) -> int:
    """Write the generated files below the one folder given. Returns the exit code."""
    match arguments:
        case [folder]:
            for path, text in documents(Path(folder)).items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
                sys.stdout.write(f"{path}\n")
            return 0
        case _:
            sys.stderr.write("usage: python -m notifier.schemas DOCS_FOLDER\n")
            return 2


def _definitions(ref_template: str) -> dict[str, Any]:
    _, schema = models_json_schema(
        [(model, "validation") for model in MODELS.values()], ref_template=ref_template
    )
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def _channel(names: dict[Any, str]) -> dict[str, Any]:
    return {
        "address": "job.events",
        "title": "Job events",
        "description": "The topic exchange the platform publishes to (`rabbitmq.exchange`).",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names.values()},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": "job.events", "type": "topic", "durable": True, "autoDelete": False},
                "bindingVersion": "0.3.0",
            }
        },
    }


def _message(event_type: str, name: str, sample: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": event_type,
        "title": name,
        "contentType": _EVENT_CONTENT_TYPE,
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "examples": [{"name": event_type, "payload": sample}],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
