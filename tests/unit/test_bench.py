"""What the bench concludes from what it measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench import measuring, rendering, stage
from notifier import resources
from notifier.rendering.renderer import Renderer
from tests.golden.states import SITE, samples

if TYPE_CHECKING:
    from pathlib import Path


def test_a_goal_is_met_at_its_value_and_missed_beside_it() -> None:
    assert measuring.at_least("x", 0.40, 0.40).met is True
    assert measuring.at_least("x", 0.39, 0.40).met is False
    assert measuring.at_most("x", 25.0, 25).met is True
    assert measuring.at_most("x", 25.1, 25).met is False
    assert measuring.plain("x", 1.0, "s").met is None


@pytest.mark.parametrize(("share", "value"), [(0.5, 51), (0.99, 100), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert measuring.percentile([float(n) for n in range(100, 0, -1)], share) == value


def test_a_mail_that_did_not_come_or_is_another_stops_the_bench(tmp_path: Path) -> None:
    customer = stage.Customer(id=1, recipients=frozenset({"u1-1@reader.example"}))
    with pytest.raises(RuntimeError, match="1 mails did not come"):
        stage.check_mails(tmp_path, [customer])
    (tmp_path / "1.eml").write_bytes(
        b"To: u1-1@reader.example\r\nSubject: #1\r\nX-Webnet-Job: 1\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/alternative; boundary="b"\r\n\r\n'
        b"--b\r\n\r\nnothing\r\n--b\r\n\r\nnothing\r\n--b--\r\n"
    )
    with pytest.raises(RuntimeError, match="not the mail it should be"):
        stage.check_mails(tmp_path, [customer])


def test_the_cost_of_a_mail_is_told_step_by_step_and_beside_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rendering, "_RUNS", 1)
    sample = next(one for one in samples() if one.name == "job_failed-typical")
    found = rendering.cost(Renderer(resources.path("templates"), SITE), sample)
    assert list(found) == ["mail", "octets", "render", "encode", "assemble", "library"]
