"""`python -m tests.golden.preview FOLDER`: every mail in every state as pages to look at, with an index."""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

from tests.golden.build import Mail, build
from tests.golden.states import samples

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 0; color: #1f2328; background: #f3f4f6; }
nav { position: fixed; inset: 0 auto 0 0; width: 22rem; overflow: auto; background: #fff; padding: 1rem; }
nav h2 { font-size: 1rem; margin: 1rem 0 .25rem; }
nav a { display: flex; justify-content: space-between; padding: .1rem 0; color: #0a58ca; }
nav small { color: #57606a; }
main { margin-left: 24rem; height: 100vh; }
iframe { width: 100%; height: 100%; border: 0; }
"""
_MAIL_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 1rem; color: #1f2328; background: #f3f4f6; }
.views { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
iframe { border: 1px solid #8c959f; height: 1100px; background: #fff; }
pre { background: #fff; padding: 1rem; overflow: auto; max-width: 80ch; }
"""


def main(folder: Path) -> None:
    """Write the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    mails = [build(sample) for sample in samples()]
    for mail in mails:
        name = mail.sample.name
        (folder / f"{name}.body.html").write_text(mail.html, encoding="utf-8")
        (folder / f"{name}.eml").write_bytes(mail.raw)
        (folder / f"{name}.html").write_text(_page(mail), encoding="utf-8")
    (folder / "index.html").write_text(_index(mails), encoding="utf-8")
    sys.stdout.write(f"{len(mails)} mails: open {folder / 'index.html'}\n")


def _page(mail: Mail) -> str:
    name = escape(mail.sample.name)
    # sandbox: a mail is looked at as mail programs show it, without anything active.
    views = "".join(
        f'<div>{width} px<br><iframe sandbox src="{name}.body.html" width="{width}" title="{width} px"></iframe></div>'
        for width in (375, 640)
    )
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{_MAIL_STYLE}</style>'
        f"<h1>{escape(mail.subject)}</h1><p>HTML {_size(mail.html.encode())}, text {_size(mail.text.encode())}, "
        f'mail {_size(mail.raw)}; <a href="{name}.eml">{name}.eml</a></p><div class="views">{views}'
        f"<div>Text<pre>{escape(mail.text)}</pre></div><div>Headers<pre>{escape(mail.head)}</pre></div></div></html>"
    )


def _index(mails: list[Mail]) -> str:
    rows, kind = [], ""
    for mail in mails:
        if mail.sample.mail_type != kind:
            kind = mail.sample.mail_type
            rows.append(f"<h2>{escape(kind)}</h2>")
        name = escape(mail.sample.name)
        rows.append(
            f'<a href="{name}.html" target="mail">{escape(mail.sample.state)} '
            f"<small>{_size(mail.html.encode())}</small></a>"
        )
    return (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Mails</title><style>{_STYLE}</style>'
        f"<nav><h1>Mails</h1>{''.join(rows)}</nav>"
        f'<main><iframe name="mail" src="{escape(mails[0].sample.name)}.html" title="mail"></iframe></main></html>'
    )


def _size(data: bytes) -> str:
    return f"{len(data) / 1024:.1f} KiB"


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "preview"))
