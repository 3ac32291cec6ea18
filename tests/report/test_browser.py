"""The page in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnxslim_snacs.report.page import page
from tests.report.browser import DESK, PHONE, browser
from tests.report.pages import bundled

pytestmark = pytest.mark.browser
OPEN = "document.querySelectorAll('details.knot[open]').length"


def test_a_group_opens_on_a_click_and_nothing_is_loaded_or_complained_of(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(bundled()))
    with browser(tmp_path) as tab:
        tab.open(path)
        assert tab.value(OPEN) == 0
        tab.click("details.knot summary")
        assert tab.value(OPEN) == 1
        shown = tab.value("document.querySelector('details.knot .tangle svg').getBBox().height")
        assert shown > 100
        assert tab.value("document.scripts.length") == 0
        assert tab.said == []
        assert {url for url in tab.asked if not url.startswith("data:")} == {path.as_uri()}


@pytest.mark.parametrize("size", [PHONE, DESK])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_every_screen_in_light_and_dark(
    size: tuple[int, int], dark: bool, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(bundled()))
    with browser(tmp_path) as tab:
        tab.open(path, size, dark=dark)
        assert tab.value("document.documentElement.scrollWidth") <= size[0]
        paper = tab.value("getComputedStyle(document.body).backgroundColor")
        assert (
            max(map(int, re.findall(r"\d+", paper))) < 60 if dark else paper == "rgb(255, 255, 255)"
        )


def test_it_prints_into_one_document(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(bundled()))
    with browser(tmp_path) as tab:
        tab.open(path)
        printed = tab.printed()
    assert printed.startswith(b"%PDF-")
    assert 1 < len(re.findall(rb"/Type\s*/Page\b", printed)) < 9
