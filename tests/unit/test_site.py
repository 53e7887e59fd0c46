"""The judge of the built documentation sees what it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from tests.site import faults, main
from tests.support.documented import ROOT

if TYPE_CHECKING:
    from pathlib import Path

HEAD = (
    """<meta http-equiv="Content-Security-Policy" content="default-src 'self'">"""
    '<link rel="stylesheet" href="a.css">'
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site of two pages in which all is well."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.md").touch()
    built = tmp_path / "site"
    built.mkdir()
    (built / "one.html").write_text(
        f'{HEAD}<h2 id="part">x</h2><a href="two.html#there">y</a><a href="#part">z</a>'
    )
    (built / "two.html").write_text(
        f'{HEAD}<h2 id="there">x</h2><a href="https://elsewhere.example/">a link may</a>'
    )
    (built / "a.css").write_text("p { background: url(data:image/png;base64,AA==) }")
    return built


def found(site: Path) -> list[str]:
    return list(faults(site, site.parent / "docs"))


def test_a_site_without_faults_has_none(site: Path) -> None:
    assert found(site) == []


@pytest.mark.parametrize(
    ("added", "fault"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
        ('<script src="//cdn.example/x.js"></script>', "loads //cdn.example/x.js"),
        ('<link rel="stylesheet" href="https://fonts.example/f.css">', "loads https://fonts.example/f.css"),
        ('<link rel="preconnect" href="https://fonts.example">', "loads https://fonts.example"),
        ('<img src="https://img.example/x.png">', "loads https://img.example/x.png"),
        ('<p style="background: url(https://img.example/x.png)">', "loads https://img.example/x.png"),
        ('<a href="three.html">x</a>', "three.html, which is not there"),
        ('<a href="two.html#gone">x</a>', "no such heading"),
        ('<a href="#gone">x</a>', "no such heading"),
        ('<img src="images/gone.png">', "images/gone.png, which is not there"),
    ],
)
def test_each_fault_is_told(site: Path, added: str, fault: str) -> None:
    page = site / "one.html"
    page.write_text(page.read_text("utf-8") + added, "utf-8")
    assert [line for line in found(site) if fault in line]


def test_a_style_sheet_that_loads_a_font_from_outside_is_told(site: Path) -> None:
    (site / "a.css").write_text(
        '@import "https://fonts.example/f.css"; @font-face { src: url("//fonts.example/f") }'
    )
    assert len(found(site)) == 2


def test_a_page_without_policy_and_a_page_that_was_left_out_are_told(site: Path) -> None:
    (site / "two.html").write_text('<h2 id="there">x</h2>')
    (site.parent / "docs" / "three.md").touch()
    assert len(found(site)) == 2


def test_an_empty_site_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tmp_path) == 1
    assert "0 pages" in capsys.readouterr().out


def test_every_page_is_in_the_navigation_once() -> None:
    def files(entry: object) -> list[str]:
        match entry:
            case str():
                return [entry]
            case dict():
                return [file for value in entry.values() for file in files(value)]
            case list():
                return [file for value in entry for file in files(value)]
            case _:
                raise TypeError(entry)

    nav = files(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    assert sorted(nav) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))
