"""The page of a report, as text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree.ElementTree import tostring

from onnxslim_snacs.report.knots import NodeReport
from onnxslim_snacs.report.markup import el
from onnxslim_snacs.report.page import page
from onnxslim_snacs.report.pictures import bar, error_at
from onnxslim_snacs.report.report import GroupReport
from onnxslim_snacs.report.tangle import tangle
from tests.report.pages import bundled
from tests.report.test_golden import REPORT

HOSTILE = '</title><script src="//x.test"></script><img src=x onerror=alert(1)>\u202e"\'&'


class Tags(HTMLParser):
    """Every tag, every attribute, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_of_a_model_stay_text() -> None:
    group = replace(REPORT.groups[0], layer=HOSTILE, label=HOSTILE, axes=(f"{HOSTILE}[0]",))
    node = NodeReport(HOSTILE, HOSTILE, (), (HOSTILE,))
    hostile = replace(
        REPORT,
        model=f"m/{HOSTILE}",
        output=HOSTILE,
        groups=(replace(group, nodes=(0,), makers=(0,)),),
        nodes=(node,),
        pins=tuple(replace(pin, axis=HOSTILE, reason=HOSTILE) for pin in REPORT.pins),
        warnings=(HOSTILE,),
        command=("snacs-onnx", HOSTILE),
    )
    plain, found = Tags(page(bundled())), Tags(page(hostile))
    assert set(found.tags) <= {*plain.tags, "small"}
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert not {name for name, _ in found.attributes if name.startswith("on")}
    assert "\u202e" not in page(hostile)
    assert "onerror=alert(1)" in found.text


def test_what_does_not_show_is_escaped_wherever_it_stands() -> None:
    made = el("p", "a\u202eb", el("i", "\x07"), "c\u200bd", title="e\u2066f")
    text = tostring(made, encoding="unicode", method="html")
    assert text == '<p title="e\\u2066f">a\\u202eb<i>\\x07</i>c\\u200bd</p>'


def test_nothing_is_loaded() -> None:
    text = page(bundled())
    assert re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^"\s)]*)', text) == ["data:,"]
    assert "default-src 'none'" in text


def test_sections_stand_in_the_order_in_which_one_asks() -> None:
    heads = re.findall(r"<h2>(.*?)</h2>", page(bundled()))
    assert heads == [
        "Before and after",
        "What was decided, and why",
        "What cutting each group costs",
        "Group by group",
        "Layers by the error that is left",
        "What may not go, and why",
        "Settings, versions, and the command that repeats it",
    ]


def test_a_bar_shows_shares_of_kept_removed_and_pinned() -> None:
    group = GroupReport("g", "w[0]", "a", (), units=12, kept=6, params=0, macs=0, pinned=4)
    assert [part.get("style") for part in bar(group)] == [
        "width:37.50%",
        "width:37.50%",
        "width:25.00%",
    ]


def test_the_error_of_a_cut_lies_on_the_curve() -> None:
    curve = ((0, 0.0), (4, 0.125), (8, 0.5))
    group = GroupReport("g", "w[0]", "a", (), units=16, kept=10, params=0, macs=0, curve=curve)
    assert error_at(group) == 0.3125
    assert error_at(replace(group, kept=2)) == 0.5
    assert error_at(replace(group, curve=())) == 0.0


def test_a_picture_has_a_box_for_each_run_of_nodes_and_a_line_for_each_tie() -> None:
    """conv a -> relu -> clip -> add -> conv c, conv b -> add."""
    nodes = (
        NodeReport("a", "Conv", (), ("ta",)),
        NodeReport("r", "Relu", ("ta",), ("tr",)),
        NodeReport("k", "Clip", ("tr",), ("tk",)),
        NodeReport("b", "Conv", (), ("tb",)),
        NodeReport("s", "Add", ("tk", "tb"), ("ts",)),
        NodeReport("c", "Conv", ("ts",), ()),
    )
    axes = tuple(f"{name}[1]" for name in ("ta", "tr", "tk", "tb", "ts"))
    group = GroupReport(
        "g", "wa[0]", "a", axes, 8, 4, 0, 0, nodes=(0, 1, 2, 3, 4, 5), makers=(0, 3), readers=(5,)
    )
    drawn = list(tangle(group, nodes).iter())
    boxes = [e for e in drawn if e.tag == "rect"]
    assert [b.get("class") for b in boxes].count("box makes") == 2
    assert [b.get("class") for b in boxes].count("box reads") == 1
    assert len(boxes) == 5  # relu and clip share one
    assert sum(e.get("class") == "edge" for e in drawn) == 4
