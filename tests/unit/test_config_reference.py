from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from notifier.config import Settings
from notifier.config import reference as pages
from notifier.config.reference import main, reference

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_committed_reference_is_current_renew_it_with_make_docs() -> None:
    assert PAGE.read_text("utf-8") == reference()


def test_every_key_is_there_with_its_section_and_its_variable() -> None:
    page = reference()
    for section, model in ((name, field.default_factory) for name, field in Settings.model_fields.items()):
        assert f"\n## [{section}]\n" in page
        for key in model.model_fields:  # type: ignore[union-attr]
            assert f"\n| `{key}` | " in page
            assert f"`NOTIFIER_{section.upper()}__{key.upper()}`" in page


class Limited(BaseModel):
    """Fields whose limits stand in their type, beside the default, or in both."""

    free: float
    typed: Annotated[float, Field(gt=0, le=100)]
    narrower: Annotated[float, Field(gt=0, le=100)] = Field(ge=10, le=50)
    wider: Annotated[float, Field(gt=0, le=100)] = Field(ge=-1, le=200)
    one_side: Annotated[float, Field(gt=0, le=100)] = Field(le=50)
    same_bound: Annotated[float, Field(ge=0, le=1)] = Field(gt=0, lt=1)


@pytest.mark.parametrize(
    ("field", "limits"),
    [
        ("free", []),
        ("typed", ["more than 0", "at most 100"]),
        ("narrower", ["at least 10", "at most 50"]),
        ("wider", ["more than 0", "at most 100"]),
        ("one_side", ["more than 0", "at most 50"]),
        ("same_bound", ["more than 0", "less than 1"]),
    ],
)
def test_of_several_limits_only_the_tightest_of_each_side_is_told(field: str, limits: list[str]) -> None:
    assert list(pages._limits(Limited.model_fields[field])) == limits


def test_the_page_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    assert main([str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text("utf-8") == reference()
    assert main([]) == 2
