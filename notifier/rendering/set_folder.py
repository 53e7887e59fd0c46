"""A customer's folder below `templates/customers`: its brand, and which mails have templates of their own."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import islice
from stat import S_ISREG
from typing import TYPE_CHECKING

from notifier.domain.errors import ConfigurationError
from notifier.domain.vocabulary import MAIL_TYPES
from notifier.rendering import brand

if TYPE_CHECKING:
    from pathlib import Path

    from notifier.rendering.brand import Brand

_BODY_FILES = ("body.html", "body.txt")
_FILES = (
    brand.FILE,
    "styles.css",
    "dark.css",
    *(f"{mail_type}/{file}" for mail_type in MAIL_TYPES for file in _BODY_FILES),
)
_SHARED_FILES = re.compile(r"layout/[a-z_]+\.(?:html|txt)|styles\.css|dark\.css")
_MOST_FILES = 200  # of a layout folder; the built-in one has some twenty

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CustomerSet:
    """One customer's folder as it was read: the brand, and which mails have templates of their own."""

    folder: Path
    signature: Signature
    brand: Brand
    problem: str | None
    mail_types: frozenset[str]


def signature_of(folder: Path) -> Signature | None:
    """Return name, size and time of every file that mails may use; None when there is no folder.

    It is asked for with every mail: what else a customer keeps there, and how much of it, must cost nothing.
    """
    if not folder.is_dir():
        return None
    found = []
    for path in (*(folder / name for name in _FILES), *_some(folder / "layout", _MOST_FILES + 1)):
        try:
            stat = path.stat()
        except OSError:  # not there, or gone since it was listed
            continue
        if S_ISREG(stat.st_mode):
            found.append((path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns))
    return tuple(sorted(found))


def _some(folder: Path, most: int) -> list[Path]:
    """Return at most so many paths of a folder; none when it is not there."""
    try:
        with os.scandir(folder) as entries:
            return [folder / entry.name for entry in islice(entries, most)]
    except OSError:
        return []


def read(folder: Path, signature: Signature) -> CustomerSet:
    """Return the set in a folder; what is wrong with its brand is its `problem`, and the brand is not used."""
    names = [name for name, _, _ in signature]
    own, problem = brand.PLAIN, None
    if brand.FILE in names:
        try:
            own = brand.read(folder / brand.FILE)
        except ConfigurationError as exc:
            problem = str(exc)
    if len(names) > _MOST_FILES:
        problem = f"{folder / 'layout'} has more than {_MOST_FILES} files"
    shared = any(_SHARED_FILES.fullmatch(name) for name in names)
    mail_types = frozenset(
        mail_type
        for mail_type in MAIL_TYPES
        if shared
        or any(name.partition("/") == (mail_type, "/", file) for name in names for file in _BODY_FILES)
    )
    return CustomerSet(folder=folder, signature=signature, brand=own, problem=problem, mail_types=mail_types)


def stray_files(own: CustomerSet) -> list[str]:
    """Return files of a set that no mail uses, most likely misspelt; the first few hundred are looked at."""
    listed = (path for path in own.folder.rglob("*") if path.is_file())
    names = [path.relative_to(own.folder).as_posix() for path in islice(listed, 2 * _MOST_FILES)]
    return sorted(
        name
        for name in names
        if name not in _FILES and not _SHARED_FILES.fullmatch(name) and not name.endswith(".md")
    )
