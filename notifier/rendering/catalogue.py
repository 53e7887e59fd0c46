"""What there is to translate: every sentence of the templates and of the modules beside this one.

`python -m notifier.rendering.catalogue` brings the catalogues in templates/locale up to date with the sources:
new sentences are added empty, obsolete ones removed. A test fails while one is missing, empty or fuzzy.
"""

from __future__ import annotations

import io
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from notifier import resources

_KEYWORDS = {"gettext": None, "ngettext": (1, 2), "mark": None, "pgettext": ((1, "c"), 2)}


def extract(modules: Path, templates: Path) -> Catalog:
    """Return every sentence of the Python modules and the templates."""
    catalogue = Catalog(project="notifier", charset="utf-8")
    for folder, methods in (
        (modules, [("**.py", "python")]),
        (templates, [("**.html", "jinja2"), ("**.txt", "jinja2")]),
    ):
        for _, _, message, comments, context in extract_from_dir(folder, methods, keywords=_KEYWORDS):
            catalogue.add(message, auto_comments=comments, context=context)
    return catalogue


def read(path: Path) -> Catalog:
    """Return a catalogue from its file `<language>.po`."""
    with path.open("rb") as source:
        return read_po(source, locale=path.stem)


def updated(path: Path, template: Catalog) -> bytes:
    """Return a catalogue file brought up to date with the sources."""
    catalogue = read(path)
    catalogue.update(template, no_fuzzy_matching=True, update_header_comment=False)
    catalogue.obsolete.clear()
    target = io.BytesIO()
    write_po(target, catalogue, no_location=True, omit_header=True, sort_output=True, width=110)
    # The header is the translator's: Babel would fill it with dates and names to be replaced.
    header = path.read_bytes().partition(b"\n\n")[0]
    return header + b"\n\n" + target.getvalue().strip(b"\n") + b"\n"


def main() -> None:
    """Bring every catalogue up to date."""
    templates = resources.path("templates")
    template = extract(Path(__file__).parent, templates)
    for path in sorted((templates / "locale").glob("*.po")):
        path.write_bytes(updated(path, template))


if __name__ == "__main__":
    main()
