"""Small pages without scripts and without anything from elsewhere: their one style is allowed by its hash."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from fastapi.responses import HTMLResponse

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2733}"
    "code,pre{font:14px/1.4 ui-monospace,monospace}pre{background:#f3f5f7;padding:.75rem;overflow:auto}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #d9dee3;padding:.3rem .6rem;"
    "text-align:left;vertical-align:top}summary{cursor:pointer;padding:.4rem 0}"
    "button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.3rem;background:#0b5cad;color:#fff}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def page(title: str, body: str, *, status: int = 200) -> HTMLResponse:
    """Return a page. `body` is HTML, its foreign texts escaped; `title` is text."""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return HTMLResponse(text, status_code=status, headers={"Content-Security-Policy": POLICY})
