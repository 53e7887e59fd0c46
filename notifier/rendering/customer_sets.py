"""The template sets of customers: who has one, and its rendering in the workshop."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from notifier.domain.errors import RenderError
from notifier.rendering import set_folder
from notifier.rendering.mail_faults import faults_of
from notifier.rendering.workshop_process import Workshop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from notifier.rendering.set_folder import CustomerSet
    from notifier.rendering.site import Site

_SET_ASIDE_SECONDS = 60.0
_LOOK_SECONDS = 1.0


class CustomerSets:
    """All customers' folders below `templates/customers`. Safe to share between threads."""

    def __init__(self, templates: Path, site: Site, clock: Callable[[], float] = time.monotonic) -> None:
        self._templates = templates
        self._root = templates / "customers"
        self._site = site
        self._clock = clock
        self._sets: dict[int, CustomerSet] = {}
        self._aside: dict[tuple[int, str], tuple[object, float, str]] = {}
        self._seen: frozenset[str] = frozenset()
        self._look_again = float("-inf")
        self._workshop = Workshop()
        if any(own.mail_types for folder in self.folders() if (own := self._named(folder))):
            self._workshop.start()

    def folders(self) -> list[Path]:
        """Return every customer's folder, and whatever else lies beside them."""
        return sorted(self._root.iterdir()) if self._root.is_dir() else []

    def of(self, customer_id: int) -> CustomerSet | None:
        """Return a customer's set, read again when a file in it changed; None when there is no folder.

        A new folder is seen within a second.
        """
        if str(customer_id) not in self._names():
            return None
        folder = self._root / str(customer_id)
        signature = set_folder.signature_of(folder)
        if signature is None:
            return None
        known = self._sets.get(customer_id)
        if known is None or known.signature != signature:
            known = set_folder.read(folder, signature)
            self._sets[customer_id] = known
        return known

    def _names(self) -> frozenset[str]:
        """Return what lies in the folder, as it was a second ago at most: most customers have no set."""
        now = self._clock()
        if now >= self._look_again:
            self._look_again = now + _LOOK_SECONDS
            with suppress(
                OSError
            ):  # out of file descriptors, say: the answer of a second ago is better than none
                self._seen = frozenset(folder.name for folder in self.folders())
        return self._seen

    def _named(self, folder: Path) -> CustomerSet | None:
        return self.of(int(folder.name)) if folder.name.isdigit() and folder.name.isascii() else None

    def render(
        self,
        customer_id: int,
        own: CustomerSet,
        mail_type: str,
        *,
        theme: Mapping[str, str],
        context: Mapping[str, object],
        language: str,
    ) -> tuple[str, str]:
        """Return text and HTML by the customer's own templates.

        Raises RenderError naming the fault. A template that broke a limit is not tried again for a minute,
        unless it was changed: a queue of mails must not wait two seconds for each.
        """
        place = (customer_id, mail_type)
        signature, until, reason = self._aside.get(place, (None, 0.0, ""))
        if signature == own.signature and self._clock() < until:
            raise RenderError(reason)
        request = {
            "templates": str(self._templates),
            "folders": [str(own.folder), str(self._templates)],
            "site": {
                "product": self._site.product,
                "environment": self._site.environment,
                "base_url": self._site.base_url,
                "links": dict(self._site.links),
            },
            "mail_type": mail_type,
            "theme": dict(theme),
            "context": dict(context),
            "language": language,
        }
        answer = self._workshop.ask(request)
        if "error" in answer:
            reason = f"the templates of customer {customer_id} for {mail_type}: {answer['error']}"
            if answer.get("limit"):
                self._aside[place] = (own.signature, self._clock() + _SET_ASIDE_SECONDS, reason)
            raise RenderError(reason)
        text, html = str(answer["text"]), str(answer["html"])
        faults = faults_of(text, html, unsubscribe=bool(context.get("unsubscribe")))
        if faults:
            raise RenderError(f"the templates of customer {customer_id} for {mail_type}: {'; '.join(faults)}")
        return text, html

    def close(self) -> None:
        """End the workshop's process."""
        self._workshop.close()
