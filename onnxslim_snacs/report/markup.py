"""HTML as a tree, so that no text of a model can become a part of the page."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from onnxslim_snacs.errors import visible

Child = Element | str | None
#: Whatever slips through: the page loads nothing and runs nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = Path(__file__).with_name("page.css")


def el(name: str, *children: Child, **attributes: object) -> Element:
    """An element; what does not show in its texts is escaped, `class_` stands for class.

    Args:
        name: of the element.
        children: elements and texts; None is passed over.
        attributes: with _ for -, and None for one that is left out.
    """
    made = Element(name)
    for key, value in attributes.items():
        if value is not None:
            made.set(key.rstrip("_").replace("_", "-"), visible(_text(value)))
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif child is not None and len(made):
            made[-1].tail = (made[-1].tail or "") + visible(child, but="\n\t")
        elif child is not None:
            made.text = (made.text or "") + visible(child, but="\n\t")
    return made


def _text(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def ending(text: str, most: int) -> str:
    """The last characters of a name, which say more than its first."""
    return text if len(text) <= most else f"…{text[-most + 1 :]}"


def table(heads: tuple[str, ...], rows: list[tuple[Child, ...]], kind: str = "") -> Element:
    """A table of which all columns but the first are numbers; it scrolls on narrow screens."""
    head = el("thead", el("tr", *(el("th", text, scope="col") for text in heads)))
    body = el("tbody", *(_row(cells) for cells in rows))
    return el("div", el("table", head, body, class_=kind or None), class_="wide")


def _row(cells: tuple[Child, ...]) -> Element:
    first, *rest = cells
    return el("tr", el("th", first, scope="row"), *(el("td", cell) for cell in rest))


def folded(summary: Child, *children: Child, kind: str | None = None) -> Element:
    """What opens on a click, without a script."""
    return el("details", el("summary", summary), *children, class_=kind)


def document(title: str, *children: Child) -> str:
    """A whole page in one file."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name_="color-scheme", content="light dark"),
        el("link", rel="icon", href="data:,"),
        el("title", title),
        el("style", _STYLE.read_text(encoding="utf-8")),
    )
    page = el("html", head, el("body", el("main", *children)), lang="en")
    text: str = tostring(page, encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{text}\n"
