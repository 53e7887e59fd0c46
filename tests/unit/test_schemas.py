"""The committed schema, AsyncAPI document and samples are what publishers rely on (docs/contract.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from notifier import schemas
from notifier.domain.events import JobEvent, decode
from notifier.domain.vocabulary import EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA: dict[str, Any] = schemas.job_event_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def sample(event_type: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DOCS / "events" / f"{event_type}.json").read_text("utf-8"))
    return document


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "$ref":
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolves(document: Any, reference: str) -> bool:
    for part in reference.removeprefix("#/").split("/"):
        if part not in document:
            return False
        document = document[part]
    return True


def test_the_committed_documents_are_current() -> None:
    for path, text in schemas.documents(DOCS).items():
        assert path.read_text("utf-8") == text, f"{path.name} is old; run `make docs`"


def test_the_command_writes_them_and_says_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "docs"
    (folder / "events").mkdir(parents=True)
    for event_type in EVENT_TYPES:
        (folder / "events" / f"{event_type}.json").write_text(json.dumps(sample(event_type)), "utf-8")
    assert schemas.main([str(folder)]) == 0
    written = capsys.readouterr().out.split()
    assert [Path(name).name for name in written] == ["job-event.schema.json", "asyncapi.json"]
    assert json.loads(Path(written[0]).read_text("utf-8")) == SCHEMA
    assert schemas.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_the_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_there_is_one_sample_for_each_type_and_nothing_else() -> None:
    assert sorted(path.stem for path in (DOCS / "events").glob("*.json")) == sorted(EVENT_TYPES)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_sample_fits_the_schema_and_is_accepted(event_type: str) -> None:
    document = sample(event_type)
    VALIDATOR.validate(document)
    event = decode(json.dumps(document).encode(), content_type=None, content_encoding=None, headers={})
    assert isinstance(event, JobEvent)
    assert event.type == event_type
    assert event.customer_id in {1, 2}


def test_the_samples_have_identities_of_their_own() -> None:
    identities = {(sample(name)["source"], sample(name)["id"]) for name in EVENT_TYPES}
    assert len(identities) == len(EVENT_TYPES)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"specversion": "0.3"},
        {"type": "job_success"},
        {"type": "device_added"},
        {"data": {"customer_id": 0, "job": {"id": 1, "type": "x", "status": "failed"}}},
        {"data": {"customer_id": 2**63, "job": {"id": 1, "type": "x", "status": "failed"}}},
        {"data": {"customer_id": True, "job": {"id": 1, "type": "x", "status": "failed"}}},
        {"data": {"customer_id": 1}},
    ],
)
def test_the_schema_refuses_what_the_worker_refuses(changes: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(sample("job_failed") | changes)


def test_the_schema_lets_unknown_extra_fields_pass() -> None:
    assert VALIDATOR.is_valid(sample("job_failed") | {"flavour": "x"})


def test_the_asyncapi_document_has_a_message_with_a_sample_for_each_type() -> None:
    document = schemas.asyncapi_document(schemas.read_samples(DOCS / "events"))
    assert document["asyncapi"].startswith("3.")
    messages = document["components"]["messages"].values()
    assert [message["name"] for message in messages] == list(EVENT_TYPES)
    for message in messages:
        VALIDATOR.validate(message["examples"][0]["payload"])
    assert all(resolves(document, reference) for reference in references(document))
    assert all(resolves(SCHEMA, reference) for reference in references(SCHEMA))
