"""Pictures of a report as SVG: what stays, and what cutting costs.

Drawn by hand: each is a few lines, and a plotting library would bring forty megabytes for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from xml.etree.ElementTree import Element

from onnxslim_snacs.report.markup import el
from onnxslim_snacs.report.report import GroupReport

_WIDE, _HIGH, _EDGE = 150, 84, 8


def bar(group: GroupReport) -> Element:
    """Kept, removed and pinned channels of a group as shares of a line."""
    removed = group.units - group.kept
    whole = max(1, group.units + group.pinned)
    parts = ((group.kept, "stays"), (removed, "gone"), (group.pinned, "held"))
    pieces = (
        el("i", class_=kind, style=f"width:{100 * count / whole:.2f}%") for count, kind in parts
    )
    words = f"{group.kept} kept, {removed} removed, {group.pinned} pinned"
    return el("span", *pieces, class_="bar", role="img", aria_label=words)


def share_bar(share: float) -> Element:
    """How much is left, as a part of a line."""
    piece = el("i", style=f"width:{100 * min(1.0, max(0.0, share)):.1f}%")
    return el("span", piece, class_="share", role="img", aria_label=f"{100 * share:.1f} % kept")


def error_at(group: GroupReport) -> float:
    """Relative squared error on the group's curve where it was cut."""
    removed, points = group.units - group.kept, group.curve
    for (x, y), (u, v) in pairwise(points):
        if x <= removed <= u:
            return y + (v - y) * (removed - x) / max(1, u - x)
    return points[-1][1] if points else 0.0


def curve_picture(group: GroupReport, top: float) -> Element:
    """The error curve of a group, with the point at which it was cut.

    Args:
        group: with its curve.
        top: the largest relative error that is shown.
    """

    def place(removed: float, error: float) -> tuple[float, float]:
        return _at(removed / group.units, sqrt(max(0.0, error)) / top)

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in group.curve))
    x, y = place(group.units - group.kept, error_at(group))
    words = f"{group.label}: {group.units - group.kept} of {group.units} removed"
    return _frame(
        el("polyline", points=line, class_="curve"),
        el("circle", cx=x, cy=y, r=4, class_="chosen"),
        words=words,
    )


def tried_picture(tried: Sequence[tuple[float, float]], most: float, chosen: float) -> Element:
    """The drops that the automatic decision has seen, and the one that it has taken.

    Args:
        tried: (share to remove, drop) of its attempts.
        most: the drop that is tolerated.
        chosen: the share that was taken.
    """
    top = max(2.5 * most, min(max((drop for _, drop in tried), default=most), 6 * most)) or 1.0
    dots = []
    for share, drop in tried:
        x, y = _at(share, min(1.0, drop / top))
        taken = share == chosen and drop <= most + 1e-9
        dots.append(el("circle", cx=x, cy=y, r=4, class_="chosen" if taken else "tried"))
    _, y = _at(0.0, most / top)
    limit = el("line", x1=_EDGE, x2=_WIDE - _EDGE, y1=y, y2=y, class_="limit")
    return _frame(limit, *dots, words="drop by depth of the cut")


def line_picture(points: Sequence[tuple[float, float]], words: str) -> Element:
    """A line from zero to its largest value, the last point marked."""
    right, top = max(x for x, _ in points) or 1.0, max(y for _, y in points) or 1.0
    places = [_at(x / right, y / top) for x, y in points]
    x, y = places[-1]
    return _frame(
        el("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_="curve"),
        el("circle", cx=x, cy=y, r=4, class_="chosen"),
        words=f"{words}, up to {top:.3g}",
    )


def _at(x: float, y: float) -> tuple[float, float]:
    """From shares of the axes to the picture."""
    wide, high = _WIDE - 2 * _EDGE, _HIGH - 2 * _EDGE
    return _EDGE + wide * x, _HIGH - _EDGE - high * y  # what lies beyond is cut off


def _frame(*inside: Element, words: str) -> Element:
    axis = f"M{_EDGE},{_EDGE} V{_HIGH - _EDGE} H{_WIDE - _EDGE}"
    return el(
        "svg",
        el("title", words),
        el("path", d=axis, class_="axis"),
        *inside,
        viewBox=f"0 0 {_WIDE} {_HIGH}",
        width=_WIDE,
        height=_HIGH,
        role="img",
    )
