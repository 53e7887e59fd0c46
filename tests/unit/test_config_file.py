from __future__ import annotations

import tomllib
from pathlib import Path

from notifier.config import Settings, load
from notifier.config.layers import defaults

SHIPPED = Path(__file__).parents[2] / "config.toml"


def content() -> dict[str, dict[str, object]]:
    return tomllib.loads(SHIPPED.read_text(encoding="utf-8"))


def test_the_shipped_file_names_every_key_and_no_other() -> None:
    assert {(section, key) for section, table in content().items() for key in table} == set(defaults())


def test_the_shipped_file_holds_the_defaults() -> None:
    assert Settings.model_validate(content()) == Settings()


def test_the_shipped_file_loads_as_it_stands() -> None:
    settings = load(SHIPPED, {})
    assert settings.rabbitmq.url.get_secret_value() == "amqp://guest:guest@127.0.0.1:5672/%2F"
    assert settings.database.url.get_secret_value() == "postgresql+psycopg2://notifier@127.0.0.1/notifier"


def test_every_key_has_a_description_for_the_reference_page() -> None:
    undescribed = [
        f"{name}.{key}"
        for name in Settings.model_fields
        for key, field in type(getattr(Settings(), name)).model_fields.items()
        if not field.description
    ]
    assert undescribed == []
