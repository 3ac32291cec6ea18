"""The dependency picture of a group: who makes its channels, who passes them on, who sums over.

Three columns, in the order of the graph; nodes that pass channels on one after the other share a
box.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from xml.etree.ElementTree import Element

from onnxslim_snacs.report.knots import NodeReport
from onnxslim_snacs.report.markup import el, ending
from onnxslim_snacs.report.report import GroupReport

_BOX, _ROW, _GAP, _HIGH = 176, 40, 44, 32
#: Boxes that are drawn of one group; of more, a picture shows nothing.
MOST = 150


@dataclass(frozen=True, slots=True)
class Box:
    """Nodes that are drawn together.

    Attributes:
        nodes: positions among the report's nodes, in order.
        column: 0 makes channels, 1 passes them on, 2 sums over them.
    """

    nodes: tuple[int, ...]
    column: int


def tangle(group: GroupReport, nodes: Sequence[NodeReport]) -> Element:
    """The picture of a group."""
    edges = _edges(group, nodes)
    boxes, holder = _boxes(group, edges)
    shown = boxes[:MOST]
    places = _places(shown, edges, holder)
    lines = dict.fromkeys((holder[a], holder[b]) for a, b in edges if holder[a] != holder[b])
    drawn = [_edge(places[a], places[b]) for a, b in lines if max(a, b) < len(shown)]
    drawn += [_drawn(box, places[n], nodes) for n, box in enumerate(shown)]
    high = 24 + _ROW * (1 + max(row for _, row in places))
    wide = 3 * _BOX + 2 * _GAP + 2
    heads = ("makes the channels", "passes them on", "sums over them")
    texts = [
        el("text", words, x=1 + k * (_BOX + _GAP), y=12, class_="small")
        for k, words in enumerate(heads)
    ]
    picture = el(
        "svg",
        el("title", f"what hangs together in {group.id}"),
        *texts,
        *drawn,
        viewBox=f"0 0 {wide} {high}",
        width=wide,
        height=high,
        role="img",
    )
    more = len(boxes) - len(shown)
    note = el("small", f"and {more} more, which are in the report as JSON") if more else None
    return el("div", picture, note, class_="tangle")


def _edges(group: GroupReport, nodes: Sequence[NodeReport]) -> list[tuple[int, int]]:
    """(from, to) along the group's own tensors."""
    own = {axis.rpartition("[")[0] for axis in group.axes}
    maker = {out: k for k in group.nodes for out in nodes[k].outputs if out in own}
    return [
        (maker[name], k)
        for k in group.nodes
        for name in nodes[k].inputs
        if name in maker and maker[name] != k
    ]


def _boxes(group: GroupReport, edges: list[tuple[int, int]]) -> tuple[list[Box], dict[int, int]]:
    """The boxes, and the box of every node: runs of nodes that pass on are one."""
    into, out = defaultdict(list), defaultdict(list)
    for a, b in edges:
        into[b].append(a)
        out[a].append(b)
    ends = {*group.makers, *group.readers}
    runs: list[list[int]] = []
    holder: dict[int, int] = {}
    for k in group.nodes:
        before = into[k][0] if len(into[k]) == 1 else None
        joins = before is not None and before not in ends and k not in ends
        if joins and before is not None and len(out[before]) == 1 and before in holder:
            holder[k] = holder[before]
            runs[holder[k]].append(k)
        else:
            holder[k] = len(runs)
            runs.append([k])
    # what makes and sums over the same channels (a recurrence) is drawn where it makes them
    column = {**dict.fromkeys(group.readers, 2), **dict.fromkeys(group.makers, 0)}
    return [Box(tuple(run), column.get(run[0], 1)) for run in runs], holder


def _places(
    boxes: list[Box], edges: list[tuple[int, int]], holder: dict[int, int]
) -> list[tuple[int, int]]:
    """(column, row) of every box: readers and makers beside what they are tied to."""
    near: dict[int, list[int]] = defaultdict(list)
    for a, b in edges:
        near[holder[b]].append(holder[a])
        near[holder[a]].append(holder[b])
    spine = [n for n, box in enumerate(boxes) if box.column == 1]
    at = {n: k for k, n in enumerate(spine)}
    sides: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    loose = len(spine)
    for n, box in enumerate(boxes):
        if box.column == 1:
            continue
        tied = [at[m] for m in near[n] if m in at]
        anchor = min(tied) if tied else loose
        sides[anchor][0 if box.column == 0 else 1].append(n)
    places = [(0, 0)] * len(boxes)
    row = 0
    for anchor in range(loose + 1):
        makers, readers = sides[anchor]
        middle = [spine[anchor]] if anchor < loose else []
        for three in zip_longest(makers, middle, readers):
            for column, n in enumerate(three):
                if n is not None:
                    places[n] = (column, row)
            row += 1
    return places


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    return 1 + place[0] * (_BOX + _GAP), 20 + place[1] * _ROW


def _edge(start: tuple[int, int], end: tuple[int, int]) -> Element:
    (x, y), (u, v) = _corner(start), _corner(end)
    if start[0] == end[0]:  # along the spine, or back: out at the side where neighbours lie further
        near = abs(start[1] - end[1]) == 1
        side = x + (_BOX // 2 if near else 0)
        bend = 0 if near else -18
        y, v = (y + _HIGH, v) if near and v > y else (y + _HIGH // 2, v + _HIGH // 2)
        path = f"M{side},{y} C{side + bend},{y} {side + bend},{v} {side},{v}"
    else:
        forth = end[0] > start[0]
        a, b = (x + _BOX, u) if forth else (x, u + _BOX)
        y, v, pull = y + _HIGH // 2, v + _HIGH // 2, _GAP if forth else -_GAP
        path = f"M{a},{y} C{a + pull // 2},{y} {b - pull // 2},{v} {b},{v}"
    return el("path", d=path, class_="edge")


def _drawn(box: Box, place: tuple[int, int], nodes: Sequence[NodeReport]) -> Element:
    x, y = _corner(place)
    kind = ("box makes", "box", "box reads")[box.column]
    ops = [nodes[k].op for k in box.nodes]
    shown = " · ".join(ops[:3]) + (f" and {len(ops) - 3} more" if len(ops) > 3 else "")
    names = [nodes[k].name for k in box.nodes]
    full = "\n".join(f"{nodes[k].op} {nodes[k].name}" for k in box.nodes)
    return el(
        "g",
        el("title", full),
        el("rect", x=x, y=y, width=_BOX, height=_HIGH, rx=5, class_=kind),
        el("text", ending(shown, 27), x=x + 7, y=y + 13),
        el("text", ending(names[0], 28), x=x + 7, y=y + 26, class_="small"),
    )
