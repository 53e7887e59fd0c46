from __future__ import annotations

import re
from typing import TYPE_CHECKING

from notifier.metric_reference import BEGIN, main, table, written_into
from notifier.metrics import Metrics
from tests.support.documented import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "operations.md"


def test_the_committed_table_is_current_renew_it_with_make_docs() -> None:
    page = PAGE.read_text("utf-8")
    assert page.count(BEGIN) == 1
    assert page == written_into(page)


def test_the_table_has_every_metric_that_a_worker_exposes_and_no_other() -> None:
    exposed = Metrics(version="1").exposition()[0].decode()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", table(), re.MULTILINE)
    assert rows == sorted(re.findall(r"^# TYPE (notifier_\w+) (\w+)$", exposed, re.MULTILINE))


def test_a_row_tells_the_labels_but_not_the_bounds_of_a_histogram() -> None:
    rows = table()
    assert (
        "| `notifier_mails_finished_total` | counter | `status`, `failure_reason` | Mails that ended " in rows
    )
    assert "| `notifier_smtp_step_seconds` | histogram | `step` | Time until " in rows
    assert "| `notifier_smtp_certificate_expiry_timestamp_seconds` | gauge | `server_id` | When " in rows
    assert "| `notifier_mails_due` | gauge |  | Pending mails " in rows


def test_the_table_is_written_into_the_page_that_was_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{BEGIN}old", "utf-8")
    assert main([str(page)]) == 0
    assert page.read_text("utf-8") == f"# Page\n\n{table()}"
    assert main([]) == 2
