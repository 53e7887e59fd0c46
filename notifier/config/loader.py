"""From all sources to one checked `Settings`, or to one error that names every fault."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from notifier.config import environment, toml_file
from notifier.config.faults import sentences
from notifier.config.layers import KeyPath, Layer
from notifier.config.model import Settings
from notifier.config.toml_file import FileLayer
from notifier.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT_PATHS = (Path("config.toml"), Path("/etc/notifier/config.toml"))
USE_TLS: KeyPath = ("smtp", "use_tls")
USE_SSL: KeyPath = ("smtp", "use_ssl")
NOWHERE = "configuration"


def load(
    config_path: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    default_paths: Sequence[Path] = DEFAULT_PATHS,
) -> Settings:
    """Read every source and return the settings (precedence: docs/configuration.md).

    `config_path` is the value of --config; `overrides` are typed flag values by "section.key".
    Raises ConfigurationError with one sentence per fault, all of them at once, each
    "config.toml:LINE: section.key: what is wrong; the cure" (or the variable, file or flag in front).
    """
    file = _file(config_path, environ, default_paths)
    merged = _Merged(file)
    for layer in (
        file.layer,
        environment.read_spec_variables(environ),
        environment.read_environment(environ),
        environment.read_secret_files(environ),
        _flags(overrides or {}),
    ):
        merged.add(layer)
    settings = _checked(merged)
    if merged.faults:
        raise ConfigurationError(tuple(dict.fromkeys(merged.faults)))
    return settings


def _checked(merged: _Merged) -> Settings:
    """Return the settings; every fault is added to `merged`.

    Keys are compared only where each is right by itself, so after a fault the rest is checked once more without
    the faulty keys. What is then said about one of them comes of its absence and is left out.
    """
    tree = merged.tree()
    faulty: set[KeyPath] = set()
    while True:
        try:
            return Settings.model_validate(tree)
        except ValidationError as error:
            found = list(sentences(error.errors(include_url=False)))
        merged.faults += [
            merged.fault(path, text)
            for path, text in found
            if faulty.isdisjoint(key[:2] for key in (_names(path), *_named(path, text)))
        ]
        blamed = {_names(path)[:2] for path, _ in found}
        faulty |= blamed
        before = _size(tree)
        for key in blamed:
            _leave_out(tree, key)
        if _size(tree) == before:  # what clashes are defaults; nothing is left to find
            return Settings()


def _leave_out(tree: dict[str, dict[str, object]], path: KeyPath) -> None:
    """Take the key at `path` out of the tree, or its whole section where that key is not set."""
    section, key = (*path, "")[:2]
    if tree.get(section, {}).pop(key, None) is None:
        tree.pop(section, None)


def _size(tree: dict[str, dict[str, object]]) -> tuple[int, int]:
    return len(tree), sum(len(section) for section in tree.values())


def _file(config_path: Path | None, environ: Mapping[str, str], default_paths: Sequence[Path]) -> FileLayer:
    """Read the named file, else the first default one that exists, else nothing."""
    named = config_path or (Path(environ["NOTIFIER_CONFIG"]) if environ.get("NOTIFIER_CONFIG") else None)
    found = named or next((path for path in default_paths if path.exists()), None)
    return toml_file.read_file(found) if found else FileLayer(layer=Layer(), name=NOWHERE, lines={})


def _flags(overrides: Mapping[str, object]) -> Layer:
    layer = Layer()
    for name, value in overrides.items():
        layer.put(tuple(name.split(".")), value, "command line")
    return layer


class _Merged:
    """The layers laid over each other, lowest first, and where each value came from."""

    def __init__(self, file: FileLayer) -> None:
        self.file = file
        self.values: dict[KeyPath, object] = {}
        self.places: dict[KeyPath, str] = {}
        self.faults: list[str] = []

    def add(self, layer: Layer) -> None:
        """Lay `layer` over what is there."""
        self.faults += layer.faults
        for path, value in layer.values.items():
            self._put(path, value)
            self.places[path] = layer.places[path]
        self._one_kind_of_tls(layer)

    def _put(self, path: KeyPath, value: object) -> None:
        key = path[:2]
        if len(path) > len(key):  # one role of a table by role
            table = self.values.get(key, {})
            self.values[key] = {**table, path[-1]: value} if isinstance(table, Mapping) else table
        else:
            self.values[key] = value

    def _one_kind_of_tls(self, layer: Layer) -> None:
        """A layer that asks for one kind of TLS switches off the other kind of the layers below."""
        tls, ssl = layer.values.get(USE_TLS), layer.values.get(USE_SSL)
        if tls is True and ssl is True:
            place = layer.places[USE_SSL]
            self.faults.append(
                f"{place}: smtp.use_ssl: use_tls and use_ssl cannot both be true; set use_tls to false for "
                "TLS from the first byte (port 465), or use_ssl to false for STARTTLS"
            )
            self.values[USE_TLS] = False
        elif ssl is True:
            self.values[USE_TLS] = False
        elif tls is True:
            self.values[USE_SSL] = False

    def tree(self) -> dict[str, dict[str, object]]:
        """Return the values as sections of keys."""
        tree: dict[str, dict[str, object]] = {}
        for (section, key), value in self.values.items():
            tree.setdefault(section, {})[key] = value
        return tree

    def fault(self, path: tuple[str | int, ...], text: str) -> str:
        """Say where `path` was set: the file's line, the variable, the secret file, the flag."""
        return f"{self._place(path, text)}: {_dotted(path)}: {text}"

    def _place(self, path: tuple[str | int, ...], text: str) -> str:
        names = _names(path)
        for end in range(len(names), 1, -1):
            place = self.places.get(names[:end])
            if place is not None:
                return self.file.place(path) if place.startswith(f"{self.file.name}:") else place
        # The key was not set: point at a key that the sentence names, else at the section.
        for other in _named(path, text):
            if other[:2] in self.places:
                place = self.places[other[:2]]
                return self.file.place(other) if place.startswith(f"{self.file.name}:") else place
        return self.file.place(path)


def _names(path: tuple[str | int, ...]) -> KeyPath:
    return tuple(str(part) for part in path)


def _named(path: tuple[str | int, ...], text: str) -> Iterator[KeyPath]:
    """Yield the keys that a sentence about the key at `path` may mean by its words: `host`, `links.unsubscribe`."""
    for word in re.findall(r"[a-z_][a-z_.]*[a-z_]", text):
        yield tuple(word.split(".")) if "." in word else (str(path[0]), word)


def _dotted(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
