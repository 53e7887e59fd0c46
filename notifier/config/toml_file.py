"""The configuration file as a layer, with the line of everything in it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from notifier.config.layers import KeyPath, Layer, unknown
from notifier.config.lines import key_lines, line_of
from notifier.config.mailing import SHIPPED_TEMPLATES
from notifier.config.model import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_KEYS = (("smtp", "file_path"), ("smtp", "ca_file"), ("templates", "directory"))


@dataclass(frozen=True, kw_only=True, slots=True)
class FileLayer:
    """The file as a layer, with a way to find the line of anything inside a value."""

    layer: Layer
    name: str
    lines: dict[tuple[str | int, ...], int]

    def place(self, path: tuple[str | int, ...]) -> str:
        """Return "config.toml:9" for `path`, or just the file's name."""
        line = line_of(self.lines, path)
        return self.name if line is None else f"{self.name}:{line}"


def read_file(path: Path) -> FileLayer:
    """Read `path`; a file that cannot be read or is not TOML is a layer with one fault."""
    name = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        content = tomllib.loads(text)
    except OSError as error:
        fault = f"{name}: cannot be read ({error.strerror}); name another file with --config or mend it"
    except UnicodeDecodeError as error:
        fault = f"{name}: is not UTF-8 (byte {error.start}); save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        end = text.count("\n") + 1
        fault = f"{name}:{line.group(1) if line else end}: is not TOML: {error}"
    else:
        found = FileLayer(layer=Layer(), name=name, lines=key_lines(text))
        _fill(found, content, path.parent)
        return found
    return FileLayer(layer=Layer(faults=[fault]), name=name, lines={})


def _fill(found: FileLayer, content: Mapping[str, object], folder: Path) -> None:
    for section, table in content.items():
        place = found.place((section,))
        if section not in Settings.model_fields:
            found.layer.faults.append(
                f"{place}: {section}: {unknown(section, Settings.model_fields, 'section')}"
            )
        elif not isinstance(table, dict):
            found.layer.faults.append(
                f"{place}: {section}: is a section; write [{section}] and its keys below"
            )
        else:
            for key, value in table.items():
                if (section, key) in PATH_KEYS and isinstance(value, str) and value:
                    _put_path(found, (section, key), folder / value, value)
                else:
                    found.layer.put((section, key), value, found.place((section, key)))


def _put_path(found: FileLayer, path: KeyPath, absolute: Path, written: str) -> None:
    """Paths in the file count from its folder; the default template folder may be missing there."""
    if Path(written) == SHIPPED_TEMPLATES and path == ("templates", "directory") and not absolute.exists():
        return
    found.layer.put(path, absolute, found.place(path))
