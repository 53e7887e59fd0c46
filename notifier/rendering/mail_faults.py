"""What a mail made by a customer's templates must not be."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from notifier.domain.bodies import UNSUBSCRIBE_PLACEHOLDER

_MAX_HTML = 102_000  # octets; Gmail cuts a mail there
_MAX_TEXT = 64_000
_FOREIGN_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_ACTIVE_TAGS = frozenset({"script", "iframe", "object", "embed", "form", "base", "link", "button", "input"})
_LINK_ATTRIBUTES = frozenset({"href", "src", "background", "xlink:href", "action", "formaction", "poster"})
_SCHEMES = ("https://", "http://", "mailto:", "tel:", "#")


def faults_of(text: str, html: str, *, unsubscribe: bool) -> list[str]:
    """Return what makes a customer's mail unfit to be sent."""
    faults = []
    if not text.strip() or "<html" not in html:
        faults.append("the text or the HTML is empty")
    # Half characters, which only a template can write, count as any other here; they are a fault below.
    if len(html.encode("utf-8", "replace")) > _MAX_HTML or len(text.encode("utf-8", "replace")) > _MAX_TEXT:
        faults.append(f"the mail is larger than {_MAX_HTML} octets of HTML or {_MAX_TEXT} of text")
    if unsubscribe and not (UNSUBSCRIBE_PLACEHOLDER in text and UNSUBSCRIBE_PLACEHOLDER in html):
        faults.append("the unsubscribe link is missing in the text or the HTML; include layout/foot")
    if any(_FOREIGN_CONTROLS.search(part.replace(UNSUBSCRIBE_PLACEHOLDER, "")) for part in (text, html)):
        faults.append("the mail has control characters or halves of characters")
    links = _Links()
    links.feed(html)
    faults += [f"{fault} does not belong into a mail" for fault in links.faults[:3]]
    return faults


class _Links(HTMLParser):
    """Finds active content and links to anything but web pages, mail addresses and telephones."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _ACTIVE_TAGS:
            self.faults.append(f"<{tag}>")
        if tag == "meta" and any(name == "http-equiv" for name, _ in attrs):
            self.faults.append("<meta http-equiv>")
        for name, value in attrs:
            address = (value or "").strip().lower()
            if name.startswith("on"):
                self.faults.append(f"the attribute {name}")
            elif name in _LINK_ATTRIBUTES and not (
                address.startswith((*_SCHEMES, UNSUBSCRIBE_PLACEHOLDER, "data:image/"))
            ):
                self.faults.append(f"a link to {address[:40]!r}")
