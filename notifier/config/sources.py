"""Where settings come from: the file, the environment, secret files, flags. Each becomes one `Layer`.

Precedence (contract section 5): defaults < file < the spec's variables < NOTIFIER_<SECTION>__<KEY>
< secret files < flags. A layer holds typed values, where each came from, and the faults found on the way.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from notifier.config import secret_files
from notifier.config.lines import key_lines, line_of
from notifier.config.model import SHIPPED_TEMPLATES, Settings

PREFIX = "NOTIFIER_"
# Names of ours that are no settings: the file, the crash points of the fault tests, the tests' services.
OTHER_NAMES = re.compile(r"NOTIFIER_(CONFIG|CRASHPOINT|TEST_\w+)")
# Kubernetes gives every pod such names for a Service called notifier or notifier-<something>.
SERVICE_LINK = re.compile(
    r"NOTIFIER_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
SERVICE_LINK_PORT = re.compile(r"NOTIFIER_(\w+_)?PORT")
TRUE_WORDS = frozenset({"true", "1", "yes", "on", "t", "y"})
FALSE_WORDS = frozenset({"false", "0", "no", "off", "f", "n"})
PATH_KEYS = (("smtp", "file_path"), ("smtp", "ca_file"), ("templates", "directory"))

SPEC_VARIABLES: dict[str, tuple[str, str]] = {
    "EMAIL_BACKEND": ("smtp", "transport"),
    "EMAIL_FILE_PATH": ("smtp", "file_path"),
    "EMAIL_HOST": ("smtp", "host"),
    "EMAIL_PORT": ("smtp", "port"),
    "EMAIL_USE_TLS": ("smtp", "use_tls"),
    "EMAIL_USE_SSL": ("smtp", "use_ssl"),
    "EMAIL_HOST_USER": ("smtp", "username"),
    "EMAIL_HOST_PASSWORD": ("smtp", "password"),
    "DEFAULT_FROM_EMAIL": ("smtp", "from_email"),
    "WEBNET_BASE_URL": ("app", "base_url"),
}
BACKENDS = {
    "django.core.mail.backends.smtp.EmailBackend": "smtp",
    "django.core.mail.backends.console.EmailBackend": "console",
    "django.core.mail.backends.filebased.EmailBackend": "file",
    "django.core.mail.backends.dummy.EmailBackend": "dummy",
}

KeyPath = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One source: `values` by key path, `places` for people ("config.toml:9"), `faults` as sentences."""

    values: dict[KeyPath, object] = field(default_factory=dict, repr=False)
    places: dict[KeyPath, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def put(self, path: KeyPath, value: object, place: str) -> None:
        """Take one value."""
        self.values[path] = value
        self.places[path] = place


def defaults() -> dict[KeyPath, object]:
    """Return every key with its default, by path."""
    settings = Settings()
    return {
        (section, key): getattr(getattr(settings, section), key)
        for section in Settings.model_fields
        for key in type(getattr(settings, section)).model_fields
    }


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


def read_spec_variables(environ: Mapping[str, str]) -> Layer:
    """Read the variables the product always had; an empty one counts as not set."""
    layer = Layer()
    known = defaults()
    for name, path in SPEC_VARIABLES.items():
        text = environ.get(name, "").strip()
        if not text:
            continue
        if name == "EMAIL_BACKEND":
            if text not in BACKENDS:
                layer.faults.append(
                    f"{name}: smtp.transport: no such backend here ({text}); choose of {', '.join(BACKENDS)}"
                )
                continue
            text = BACKENDS[text]
        if name == "DEFAULT_FROM_EMAIL" and text.endswith(">"):
            # Django allows "Webnet <webnet@example.com>"; our From carries the product's name anyway.
            text = text.rpartition("<")[2].removesuffix(">").strip()
        put_text(layer, path, text, name, known[path])
    return layer


def read_environment(environ: Mapping[str, str]) -> Layer:
    """Read NOTIFIER_<SECTION>__<KEY>; every other NOTIFIER_ name is a fault."""
    layer = Layer()
    names = variable_names()
    for name in sorted(environ):
        if (
            not name.startswith(PREFIX)
            or OTHER_NAMES.fullmatch(name)
            or _is_service_link(name, environ[name])
        ):
            continue
        base = name.removesuffix("_FILE")
        if name in names:
            path = names[name]
            put_text(layer, path, environ[name], name, _default(path))
        elif name == base or base not in names:
            layer.faults.append(f"{name}: {unknown(name, names, 'variable')}")
        elif base in environ:
            layer.faults.append(
                f"{name}: {'.'.join(names[base])}: is also given as {base}; unset one of the two"
            )
    return layer


def read_secret_files(environ: Mapping[str, str]) -> Layer:
    """Read the files named by NOTIFIER_…_FILE, and the NOTIFIER_… files in $CREDENTIALS_DIRECTORY."""
    layer = Layer()
    names = variable_names()
    files = {
        name.removesuffix("_FILE"): (name, Path(value))
        for name, value in sorted(environ.items())
        if name.endswith("_FILE") and name not in names and name.removesuffix("_FILE") in names
    }
    for credential in secret_files.credentials(environ, PREFIX):
        place = f"$CREDENTIALS_DIRECTORY/{credential.name}"
        if credential.name not in names:
            layer.faults.append(f"{place}: {unknown(credential.name, names, 'credential')}")
        elif credential.name in files:
            key = ".".join(names[credential.name])
            layer.faults.append(
                f"{place}: {key}: is also given as {files[credential.name][0]}; remove one of the two"
            )
        else:
            files[credential.name] = (place, credential)
    for name, (place, file) in files.items():
        path = names[name]
        try:
            text = secret_files.read(file)
        except ValueError as error:
            layer.faults.append(f"{place}: {'.'.join(path)}: {error}")
        else:
            put_text(layer, path, text, place, _default(path))
    return layer


def read_flags(overrides: Mapping[str, object]) -> Layer:
    """Take typed values given as "section.key" by the command line."""
    layer = Layer()
    for name, value in overrides.items():
        layer.put(tuple(name.split(".")), value, "command line")
    return layer


def variable_names() -> dict[str, KeyPath]:
    """Return the environment name of every key, and of every role of the two tables by role."""
    names: dict[str, KeyPath] = {}
    for path, value in defaults().items():
        names[PREFIX + "__".join(path).upper()] = path
        if isinstance(value, Mapping):
            for entry in value:
                names[PREFIX + "__".join((*path, entry)).upper()] = (*path, entry)
    return names


def unknown(name: str, known: Mapping[str, object], kind: str) -> str:
    """Say that `name` is not known, with the nearest known name or all of a short list."""
    near = get_close_matches(name, known, n=1)
    if near:
        return f"unknown {kind}; did you mean {near[0]}?"
    if kind in ("section", "key"):
        return f"unknown {kind}; there are {', '.join(known)}"
    return f"unknown {kind}; the names are {PREFIX}<SECTION>__<KEY>, as in {PREFIX}SMTP__HOST"


def put_text(layer: Layer, path: KeyPath, text: str, place: str, default: object) -> None:
    """Turn `text` into the type of the key's default value and take it, or note the fault."""
    try:
        layer.put(path, typed(text, default), place)
    except ValueError as error:
        layer.faults.append(f"{place}: {'.'.join(path)}: {error}")


def typed(text: str, default: object) -> object:
    """Read `text` as a value of the kind `default` is; lists are comma or line separated, or JSON.

    Raises ValueError with a sentence that does not repeat the text, which may be a secret.
    """
    if isinstance(default, bool):
        word = text.strip().lower()
        if word not in TRUE_WORDS | FALSE_WORDS:
            msg = "is neither true nor false; write true or false"
            raise ValueError(msg)
        return word in TRUE_WORDS
    if isinstance(default, int | float):
        try:
            return int(text) if isinstance(default, int) else float(text)
        except ValueError:
            msg = "is not a number; write digits only" if isinstance(default, int) else "is not a number"
            raise ValueError(msg) from None
    if isinstance(default, tuple | frozenset | Mapping):
        if text.lstrip().startswith(("[", "{")):
            try:
                return json.loads(text)
            except ValueError:
                msg = "is not JSON; write a JSON value, or a list as a,b,c"
                raise ValueError(msg) from None
        return [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]
    return text


def _default(path: KeyPath) -> object:
    value = defaults()[path[:2]]
    return value[path[2]] if isinstance(value, Mapping) and len(path) > len(("section", "key")) else value


def _is_service_link(name: str, value: str) -> bool:
    if name in variable_names():
        return False
    if SERVICE_LINK.fullmatch(name):
        return True
    return bool(SERVICE_LINK_PORT.fullmatch(name)) and "://" in value
