"""A report as a page: one file, without a script, that a person reads from top to bottom."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from pathlib import Path
from xml.etree.ElementTree import Element

from onnxslim_snacs.config.line import as_pairs
from onnxslim_snacs.errors import foreign
from onnxslim_snacs.report.markup import Child, document, el, ending, folded, table
from onnxslim_snacs.report.phrases import drift_line, share
from onnxslim_snacs.report.pictures import (
    bar,
    curve_picture,
    error_at,
    share_bar,
    tried_picture,
)
from onnxslim_snacs.report.report import GroupReport, Report
from onnxslim_snacs.report.sentences import alarm, decided, named, noted
from onnxslim_snacs.report.tangle import tangle

#: So many of a list are open from the beginning.
_CURVES, _LAYERS, _GROUPS = 24, 15, 120
#: Curves are shown up to this relative error; beyond, nobody cuts.
_WORST = 1.0
#: And up to so many times the largest error of a cut that was made.
_ROOM = 2.5


def page(report: Report) -> str:
    """The report as HTML."""
    return document(
        f"{foreign(Path(report.model).name)} · snacs-onnx",
        el("h1", foreign(Path(report.model).name), " made smaller"),
        el("p", foreign(report.output or "nothing was written"), class_="faint path"),
        _said(alarm(report.drift), "alarm"),
        *(_said(foreign(t), "warning") for t in report.warnings if t != alarm(report.drift)),
        *_before_after(report),
        *section("What was decided, and why", *(el("p", text) for text in decided(report))),
        *_curves(report),
        *_groups(report),
        *_layers(report),
        *_pins(report),
        *settings(
            report.config or report.released,
            report.command,
            report.versions,
            report.timings,
            (
                ("provider", report.provider),
                ("arithmetic", report.arithmetic),
                ("threads", str(report.threads)),
                ("seed", str(report.seed)),
                ("report format", str(report.format)),
            ),
        ),
    )


def section(title: str, *children: Child) -> Iterator[Element]:
    """A part of the page; nothing without children."""
    inside = [child for child in children if child is not None]
    if inside:
        yield el("section", el("h2", title), *inside)


def _said(text: str, kind: str) -> Element | None:
    return el("p", text, class_=kind) if text else None


def _before_after(report: Report) -> Iterator[Element]:
    rows: list[tuple[Child, ...]] = []
    for name, words in (("params", "parameters"), ("macs", "multiply-adds"), ("bytes", "bytes")):
        a, b = getattr(report.before, name), getattr(report.after, name)
        rows.append((words, short(a), short(b), share(b, a), share_bar(b / a) if a else ""))
    units = sum(g.units for g in report.groups), sum(g.kept for g in report.groups)
    if units[0]:
        cells = (f"{units[0]:,}", f"{units[1]:,}", share(units[1], units[0]))
        rows.append(("channels that could go", *cells, share_bar(units[1] / units[0])))
    if report.latency is not None:
        a, b = 1e3 * report.latency.before, 1e3 * report.latency.after
        left = report.latency.ratio
        rows.append(
            ("ms for a sample", f"{a:.3f}", f"{b:.3f}", f"{100 * left:.1f} %", share_bar(left))
        )
    drift = report.drift
    if drift is not None and drift.accuracy_before is not None and drift.accuracy_after is not None:
        a, b = 100 * drift.accuracy_before, 100 * drift.accuracy_after
        rows.append(("right answers", f"{a:.2f} %", f"{b:.2f} %", f"{b - a:+.2f}", ""))
    if drift is not None and drift.top1_agreement is not None:
        error = 100 * (drift.standard_error or 0.0)
        same = f"{100 * drift.top1_agreement:.2f} % ± {error:.2f}"
        rows.append(("answers as the original's", "", same, "", share_bar(drift.top1_agreement)))
    yield from section(
        "Before and after",
        table(("", "before", "after", "kept", ""), rows),
        el("p", _upper(drift_line(report)), ".", class_="faint") if drift is not None else None,
        None
        if report.latency is not None
        else el("p", "Time was not measured: `snacs-onnx bench` does.", class_="faint"),
    )


def short(number: int) -> Element:
    """A number in three or four digits; whole in its title."""
    for power, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= power:
            scale = 1e3 if unit == "k" else power
            return el("span", f"{number / scale:.4g} {unit}", title=f"{number:,}")
    return el("span", f"{number:,}")


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _curves(report: Report) -> Iterator[Element]:
    tried = [(t["share"], t["drop"]) for t in noted(report, "tried") if t["drop"] is not None]
    most = report.notes.get("max_drop")
    if tried and most:
        good = [share for share, drop in tried if drop <= most + 1e-9]
        picture = tried_picture(
            tried, most, tried[-1][0] if good and tried[-1][0] in good else -1.0
        )
        words = f"drop (up) by depth of the cut (right); tolerated: {100 * most:g} % (dashed)"
        yield from section(
            "The depths that were tried", el("figure", picture, el("figcaption", words))
        )
    drawn = [g for g in report.groups if len(g.curve) > 1]
    if not drawn:
        return
    chosen = max(sqrt(max(0.0, error_at(g))) for g in drawn)
    top = min(_WORST, _ROOM * chosen) or _WORST
    figures = [_curve(g, top) for g in sorted(drawn, key=lambda g: -error_at(g))]
    words = (
        "Right: the share of a group's units that goes; up: the relative error of the model's "
        f"output when it goes from this group alone, up to {top:.2g}; the dot: where it was cut. "
        "The costliest cuts first."
    )
    rest = figures[_CURVES:]
    yield from section(
        "What cutting each group costs",
        el("p", words, class_="faint"),
        el("div", *figures[:_CURVES], class_="curves"),
        folded(f"{len(rest)} more", el("div", *rest, class_="curves")) if rest else None,
    )


def _curve(group: GroupReport, top: float) -> Element:
    gone = 100 * (1 - group.kept / group.units)
    beyond = "> " if group.units - group.kept > group.curve[-1][0] else ""
    words = f"−{gone:.0f} %, error {beyond}{sqrt(max(0.0, error_at(group))):.3f}"
    name = el("figcaption", ending(named(group), 23), title=named(group))
    return el("figure", curve_picture(group, top), name, el("figcaption", words))


def _groups(report: Report) -> Iterator[Element]:
    legend = el(
        "div",
        *(
            el("span", el("i", class_=kind or None), words)
            for kind, words in (("", "kept"), ("gone", "removed"), ("held", "pinned"))
        ),
        class_="legend",
    )
    rows = [_group(group, report) for group in report.groups]
    words = (
        "Along the network, a line for each group: channels that live or die together. A click "
        "opens what hangs together in it."
    )
    rest = rows[_GROUPS:]
    yield from section(
        "Group by group",
        el("p", words, class_="faint"),
        legend,
        *rows[:_GROUPS],
        folded(f"{len(rest)} more groups", *rest) if rest else None,
    )


def _group(group: GroupReport, report: Report) -> Element:
    head = el(
        "span",
        el("span", named(group), class_="name", title=named(group)),
        bar(group),
        el("span", f"{group.units} → {group.kept}", class_="count"),
        class_="group",
    )
    facts = (
        f"{group.id}: {group.params:,} parameters and {group.macs:,} multiply-adds hang on it; "
        f"{len(group.makers)} layers make its channels, {len(group.readers)} sum over them."
    )
    axes = folded(
        f"{len(group.axes)} axes of tensors",
        el("p", ", ".join(map(foreign, group.axes)), class_="path"),
        kind="plain",
    )
    picture = tangle(group, report.nodes) if group.nodes else None
    return folded(head, el("p", facts, class_="faint"), picture, axes, kind="knot")


def _layers(report: Report) -> Iterator[Element]:
    records = () if report.recovery is None else report.recovery.layers
    left = {
        r.name: (r.after if r.kept else r.before) or 0.0 for r in records if r.before is not None
    }
    raw = {r.name: r.before for r in records}
    layers = sorted(report.layers, key=lambda layer: -left.get(layer.name, -1.0))
    rows: list[tuple[Child, ...]] = [
        (
            el("span", layer.name, el("small", f" {layer.op}"), class_="name"),
            _widths(layer.inputs),
            "" if layer.outputs is None else _widths(layer.outputs),
            share(layer.macs[1], layer.macs[0]) if layer.macs[0] else "",
            "" if raw.get(layer.name) is None else f"{raw[layer.name]:.4f}",
            f"{left[layer.name]:.4f}" if layer.name in left else "",
        )
        for layer in layers
    ]
    heads = ("layer", "reads", "makes", "multiply-adds", "error, raw", "error left")
    words = (
        "The squared error of what a layer gives, relative to the original's; the largest first."
    )
    rest = rows[_LAYERS:]
    yield from section(
        "Layers by the error that is left",
        el("p", words, class_="faint") if left else None,
        table(heads, rows[:_LAYERS]) if rows else None,
        folded(f"{len(rest)} more layers", table(heads, rest), kind="plain") if rest else None,
    )


def _widths(pair: tuple[int, int]) -> str:
    return f"{pair[0]} → {pair[1]}" if pair[0] != pair[1] else str(pair[0])


def _pins(report: Report) -> Iterator[Element]:
    chains = {(chain.op, chain.reason): chain.links for chain in report.chains}
    counted = Counter((pin.op, pin.reason) for pin in report.pins)
    rows = []
    for (op, reason), count in counted.most_common():
        places = [foreign(p.axis) for p in report.pins if (p.op, p.reason) == (op, reason)]
        more = f" and {len(places) - 12} more" if len(places) > 12 else ""
        links = chains.get((op, reason), ())
        steps = [
            el("li", el("code", foreign(link.axis)), " ", foreign(link.because)) for link in links
        ]
        head = el("span", f"{foreign(op)}: {foreign(reason)} ", el("small", f"({count})"))
        rows.append(
            folded(
                head,
                el("p", ", ".join(places[:12]), more, class_="path"),
                el("p", "How it reaches a layer:", class_="faint") if steps else None,
                el("ol", *steps, class_="chain") if steps else None,
            )
        )
    for node in report.inexact:
        rows.append(
            el("p", f"Not exact: {foreign(node.axis)}: {foreign(node.reason)}", class_="warning")
        )
    yield from section("What may not go, and why", *rows)


def settings(
    config: object | None,
    command: Sequence[str],
    versions: Mapping[str, str],
    timings: Mapping[str, float],
    machine: Sequence[tuple[str, str]],
) -> Iterator[Element]:
    """How the run was asked for, and by what it was made."""
    given = [] if config is None else [(k, v or "yes") for k, v in as_pairs(config)]
    stages = [(name, f"{seconds:.2f} s") for name, seconds in timings.items()]
    yield from section(
        "Settings, versions, and the command that repeats it",
        el("pre", shlex.join(command)) if command else None,
        _pairs([*given, *machine]),
        folded("versions", _pairs(list(versions.items())), kind="plain"),
        folded("seconds by stage", _pairs(stages), kind="plain"),
    )


def _pairs(items: list[tuple[str, str]]) -> Element:
    cells = [cell for name, text in items for cell in (el("dt", name), el("dd", foreign(text)))]
    return el("dl", *cells)
