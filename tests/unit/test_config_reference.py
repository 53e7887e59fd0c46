from __future__ import annotations

from pathlib import Path

from notifier.config import Settings
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


def test_the_page_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    assert main([str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text("utf-8") == reference()
    assert main([]) == 2
