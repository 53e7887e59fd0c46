"""What one mail costs before it meets a server: rendering, encoding, assembling.

`make bench-rendering`, or `python -m bench.rendering [--json]`, prints CPU time in microseconds, the median of many
runs for every mail in its typical and its longest state, and what starting costs. Rendering and encoding happen once
per event and kind of reader, assembling once per recipient. The last column is the same mail made by the standard
library's EmailMessage, which would do the work of encoding and assembling for every recipient anew.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

from notifier import resources
from notifier.domain.bodies import encode_body
from notifier.domain.mail import assemble
from notifier.domain.mail_headers import MailFacts
from notifier.rendering.renderer import Renderer
from tests.golden.states import SERVER, SITE, UNSUBSCRIBE_LINK, Sample, samples
from tests.support.reference_mail import reference

if TYPE_CHECKING:
    from collections.abc import Callable

_RUNS = 300
_STATES = ("typical", "longest")


def measure(work: Callable[[], object]) -> float:
    """Return the median CPU time of one call, in microseconds."""
    taken = []
    for _ in range(_RUNS):
        began = time.process_time_ns()
        work()
        taken.append(time.process_time_ns() - began)
    return round(statistics.median(taken) / 1000, 1)


def cost(renderer: Renderer, sample: Sample) -> dict[str, object]:
    """Return what one mail costs."""

    def render() -> object:
        return renderer.body(sample.document, sample.customer, sample.reader, contact=None, unsubscribe=True)

    body = renderer.body(sample.document, sample.customer, sample.reader, contact=None, unsubscribe=True)
    encoded = encode_body(body)
    facts = MailFacts(
        mail_type=sample.mail_type,
        product=SITE.product,
        environment=SITE.environment,
        customer_id=sample.customer.id,
        customer_name=sample.customer.name,
        subject=renderer.subject(sample.document, sample.customer),
        from_email="webnet@example.com",
        reply_to_email=None,
        to_address="anna@example.org",
        message_id="<bench@example.com>",
        date=SERVER.at,
        job_id=4812,
        rule=sample.reader.rule,
    )
    return {
        "mail": sample.name,
        "octets": len(assemble(facts, encoded, UNSUBSCRIBE_LINK)),
        "render": measure(render),
        "encode": measure(lambda: encode_body(body)),
        "assemble": measure(lambda: assemble(facts, encoded, UNSUBSCRIBE_LINK)),
        "library": measure(lambda: reference(facts, body, UNSUBSCRIBE_LINK).as_bytes()),
    }


def main() -> None:
    """Print the costs as a table, or as JSON."""
    began = time.process_time()
    renderer = Renderer(resources.path("templates"), SITE)
    start = round(time.process_time() - began, 3)
    rows = [cost(renderer, s) for s in samples() if s.server is None and s.state in _STATES]
    if "--json" in sys.argv[1:]:
        print(json.dumps({"start_seconds": start, "microseconds": rows}))
        return
    print(f"start: {start} s; the rest in microseconds of CPU, median of {_RUNS}")
    print(f"{'mail':<36}{'octets':>8}{'render':>9}{'encode':>9}{'assemble':>10}{'library':>9}")
    for row in rows:
        costs = f"{row['render']:>9}{row['encode']:>9}{row['assemble']:>10}{row['library']:>9}"
        print(f"{row['mail']:<36}{row['octets']:>8}{costs}")


if __name__ == "__main__":
    main()
