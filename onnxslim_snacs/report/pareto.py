"""The plot of `compare`: what is left against how good it is, and how long that takes, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import log10
from pathlib import Path

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.report.trials import TrialRow, Trials

#: Pixels of a panel, and around it.
_WIDE, _HIGH, _LEFT, _TOP, _GAP = 380, 320, 70, 40, 80
_COLOURS = (
    *("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2"),
    *("#7f7f7f", "#bcbd22", "#003f5c", "#a05195", "#f95d6a", "#665191"),
)
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 2")

Place = Callable[[float], float]


def pareto_svg(done: Trials) -> str:
    """One line for each criterion and recovery on the left, one point for each run on the right.

    Bars are one standard deviation over seeds; what nothing quicker and better beats is larger.
    """
    rows = [row for row in done.standings if row.good is not None]
    criteria = list(dict.fromkeys(row.criterion for row in rows))
    colour = {name: _COLOURS[k % len(_COLOURS)] for k, name in enumerate(criteria)}
    recoveries = list(dict.fromkeys(row.recover for row in rows))
    dash = {name: _DASHES[k % len(_DASHES)] for k, name in enumerate(reversed(recoveries))}
    height = max(_TOP + _HIGH + 60, _TOP + 20 * (len(criteria) + len(recoveries)) + 20)
    width = _LEFT + 2 * _WIDE + 2 * _GAP + 150
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(foreign(Path(done.model).name))}</text>',
    ]
    if rows:
        what = "answers that agree, %" if done.is_top1 else "100 (1 - relative error)"
        parts += _left(rows, colour, dash, what)
        parts += _right(rows, colour)
        parts += _legend(colour, dash, _LEFT + 2 * _WIDE + 2 * _GAP - 40)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _left(
    rows: Sequence[TrialRow], colour: dict[str, str], dash: dict[str, str], what: str
) -> list[str]:
    x = _scale([100 * row.kept for row in rows], _LEFT, _LEFT + _WIDE, least=5.0)
    y = _upwards(rows)
    parts = _frame(_LEFT, "left of what the budget is about, %", what)
    parts += _ticks(x, sorted({5 * round(20 * row.kept) for row in rows}), y, _levels(rows), _LEFT)
    for criterion, recover in dict.fromkeys((row.criterion, row.recover) for row in rows):
        mine = [r for r in rows if (r.criterion, r.recover) == (criterion, recover)]
        mine.sort(key=lambda r: r.kept)
        points = " ".join(f"{x(100 * r.kept):.1f},{y(_percent(r)):.1f}" for r in mine)
        style = f'stroke="{colour[criterion]}" stroke-dasharray="{dash[recover]}"'
        parts.append(f'<polyline points="{points}" fill="none" stroke-width="1.5" {style}/>')
        for row in mine:
            parts += _mark(x(100 * row.kept), row, y, colour[criterion])
    return parts


def _right(rows: Sequence[TrialRow], colour: dict[str, str]) -> list[str]:
    start = _LEFT + _WIDE + _GAP
    times = [log10(max(row.seconds, 1e-2)) for row in rows]
    x, y = _scale(times, start, start + _WIDE, least=0.2), _upwards(rows)
    parts = _frame(start, "seconds of a run", "")
    seconds = [s for s in _SECONDS if min(times) - 0.2 <= log10(s) <= max(times) + 0.2]
    parts += _ticks(lambda s: x(log10(s)), seconds, y, _levels(rows), start)
    for row, time in zip(rows, times, strict=True):
        parts += _mark(x(time), row, y, colour[row.criterion])
    return parts


_SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000]


def _mark(x: float, row: TrialRow, y: Place, colour: str) -> list[str]:
    """A point with its bar; what nothing beats is larger and has a rim."""
    assert row.good is not None
    middle, spread = (100 * value for value in row.good)
    rim = ' stroke="black"' if row.best else ""
    tip = escape(f"{row.criterion}, {row.recover}, {row.target}: {middle:.2f}, {row.seconds:.1f} s")
    point = (
        f'<circle cx="{x:.1f}" cy="{y(middle):.1f}" r="{5 if row.best else 3}" '
        f'fill="{colour}"{rim}><title>{tip}</title></circle>'
    )
    ends = (y(middle - spread), y(middle + spread))
    bar = (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}" stroke="{colour}"/>'
    )
    return [bar, point] if spread else [point]


def _legend(colour: dict[str, str], dash: dict[str, str], x: int) -> list[str]:
    parts, y = [], _TOP
    lines = [(name, shade, "") for name, shade in colour.items()]
    lines += [(f"--recover {name}", "black", pattern) for name, pattern in dash.items()]
    for name, shade, pattern in lines:
        parts.append(
            f'<line x1="{x}" x2="{x + 24}" y1="{y}" y2="{y}" stroke="{shade}" stroke-width="2" '
            f'stroke-dasharray="{pattern}"/>'
        )
        parts.append(f'<text x="{x + 30}" y="{y + 4}">{escape(foreign(name))}</text>')
        y += 20
    return parts


def _frame(x: int, below: str, beside: str) -> list[str]:
    middle = _TOP + _HIGH / 2
    return [
        f'<rect x="{x}" y="{_TOP}" width="{_WIDE}" height="{_HIGH}" fill="none" stroke="#888"/>',
        f'<text x="{x + _WIDE / 2}" y="{_TOP + _HIGH + 40}" text-anchor="middle">{below}</text>',
        f'<text x="{x - 48}" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 {x - 48} {middle})">{beside}</text>',
    ]


def _ticks(
    x: Place, across: Sequence[float], y: Place, up: Sequence[float], left: int
) -> list[str]:
    parts = []
    for value in across:
        place = x(value)
        parts.append(
            f'<text x="{place:.1f}" y="{_TOP + _HIGH + 18}" text-anchor="middle">{value:g}</text>'
        )
    for value in up:
        place = y(value)
        parts.append(
            f'<line x1="{left}" x2="{left + _WIDE}" y1="{place:.1f}" y2="{place:.1f}" '
            'stroke="#eee"/>'
        )
        parts.append(f'<text x="{left - 6}" y="{place + 4:.1f}" text-anchor="end">{value:g}</text>')
    return parts


def _percent(row: TrialRow) -> float:
    assert row.good is not None
    return 100 * row.good[0]


def _levels(rows: Sequence[TrialRow]) -> list[float]:
    """Round numbers over the range of what is compared."""
    low, high = _range(rows)
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, 1e9) if (high - low) / s <= 8)
    first = int(low // step) + 1
    return [k * step for k in range(first, first + 10) if low < k * step <= high]


def _range(rows: Sequence[TrialRow]) -> tuple[float, float]:
    """What is far below zero is drawn on the lower edge."""
    values = [max(_percent(row), -10.0) for row in rows]
    room = max(1.0, 0.05 * (max(values) - min(values)))
    return min(values) - room, max(values) + room


def _upwards(rows: Sequence[TrialRow]) -> Place:
    low, high = _range(rows)
    return lambda v: _TOP + _HIGH - (max(v, low) - low) / (high - low) * _HIGH


def _scale(values: Sequence[float], start: float, stop: float, *, least: float) -> Place:
    low, high = min(values) - least / 2, max(values) + least / 2
    return lambda v: start + (v - low) / (high - low) * (stop - start)
