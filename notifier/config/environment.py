"""Settings from the environment and from secret files, and the names they go by there.

Precedence (docs/configuration.md): the file < the product's own variables < NOTIFIER_<SECTION>__<KEY> < secret files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from notifier.config import secret_files
from notifier.config.layers import PREFIX, KeyPath, Layer, defaults, unknown
from notifier.config.texts import typed

# Names of ours that are no settings: the file, the crash points of the fault tests, the tests' services.
OTHER_NAMES = re.compile(r"NOTIFIER_(CONFIG|CRASHPOINT|TEST_\w+)")
# Kubernetes gives every pod such names for a Service called notifier or notifier-<something>.
SERVICE_LINK = re.compile(
    r"NOTIFIER_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
SERVICE_LINK_PORT = re.compile(r"NOTIFIER_(\w+_)?PORT")

PRODUCT_VARIABLES: dict[str, tuple[str, str]] = {
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


def read_spec_variables(environ: Mapping[str, str]) -> Layer:
    """Read the variables the product always had; an empty one counts as not set."""
    layer = Layer()
    known = defaults()
    for name, path in PRODUCT_VARIABLES.items():
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


@cache
def variable_names() -> Mapping[str, KeyPath]:
    """Return the environment name of every key, and of every role of the two tables by role."""
    names: dict[str, KeyPath] = {}
    for path, value in defaults().items():
        names[PREFIX + "__".join(path).upper()] = path
        if isinstance(value, Mapping):
            for entry in value:
                names[PREFIX + "__".join((*path, entry)).upper()] = (*path, entry)
    return MappingProxyType(names)


def put_text(layer: Layer, path: KeyPath, text: str, place: str, default: object) -> None:
    """Turn `text` into the type of the key's default value and take it, or note the fault."""
    try:
        layer.put(path, typed(text, default), place)
    except ValueError as error:
        layer.faults.append(f"{place}: {'.'.join(path)}: {error}")


def _default(path: KeyPath) -> object:
    value = defaults()[path[:2]]
    return value[path[2]] if isinstance(value, Mapping) and len(path) > len(("section", "key")) else value


def _is_service_link(name: str, value: str) -> bool:
    if name in variable_names():
        return False
    if SERVICE_LINK.fullmatch(name):
        return True
    return bool(SERVICE_LINK_PORT.fullmatch(name)) and "://" in value
