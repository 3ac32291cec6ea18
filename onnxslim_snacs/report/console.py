"""Reports for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.types import InexactNode, PinReason
from onnxslim_snacs.ir.why import Link
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.plan.cost import Cost
from onnxslim_snacs.proof.prove import Proof
from onnxslim_snacs.recovery.accept import RecoveryReport
from onnxslim_snacs.recovery.recover import LayerRecord
from onnxslim_snacs.report.knots import LayerReport
from onnxslim_snacs.report.make import NO_DATA, WHAT
from onnxslim_snacs.report.report import (
    Comparison,
    DroppedReport,
    GroupReport,
    Inspection,
    Report,
    TunedReport,
)

_SHOWN = 40
#: Columns below which a table of groups would leave names out.
_NARROW = 90
#: Layers of which the channels are shown.
_WIDTHS = 20
#: Layers whose error is shown.
_LAYERS = 5


def print_report(report: Report, console: Console) -> None:
    """The result of `compress` as a table."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("", "before", "after", "kept"):
        table.add_column(column, justify="right" if column else "left")
    for name in ("params", "macs", "bytes"):
        before, after = getattr(report.before, name), getattr(report.after, name)
        table.add_row(name, f"{before:,}", f"{after:,}", share(after, before))
    units = sum(g.units for g in report.groups), sum(g.kept for g in report.groups)
    table.add_row("units", f"{units[0]:,}", f"{units[1]:,}", share(units[1], units[0]))
    if "as_released" in report.notes:
        kept = report.notes["as_released"]["retained"]
        table.add_row("connections", "", "", f"{100 * kept:.1f} %")
    drift = report.drift
    if drift is not None and drift.accuracy_before is not None and drift.accuracy_after is not None:
        table.add_row("top-1", f"{drift.accuracy_before:.4f}", f"{drift.accuracy_after:.4f}", "")
    if drift is not None and drift.metric_before is not None and drift.metric_after is not None:
        table.add_row("metric", f"{drift.metric_before:.4f}", f"{drift.metric_after:.4f}", "")
    if report.latency is not None:
        before, after = 1e3 * report.latency.before, 1e3 * report.latency.after
        kept = f"{100 * report.latency.ratio:.1f} %"
        table.add_row("latency ms", f"{before:.3f}", f"{after:.3f}", kept)
    console.print(escape(foreign(report.model)), soft_wrap=True)
    console.print(table)
    print_widths(report.layers, console)
    _print_steps(report, console)
    if report.proof is not None:
        passed = "passed" if report.proof.passed else "FAILED"
        words = proof_words(report.proof)
        console.print(f"proof ({report.proof.oracle}): {passed}, {words}", soft_wrap=True)
        made = WHAT[report.made]
        console.print(f"the model is {made}")
    print_pins(report.pins, console)
    print_inexact(report.inexact, console)
    total = sum(report.timings.values())
    stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in report.timings.items())
    console.print(f"{total:.2f} s ({stages})", soft_wrap=True)
    if report.output:
        console.print(f"written: {escape(foreign(report.output))}", soft_wrap=True)


def _print_steps(report: Report, console: Console) -> None:
    """What was done beside the cut, and how far the result is from the original."""
    if report.dropped is not None:
        console.print(dropped_line(report.dropped), soft_wrap=True)
    if report.drift is not None:
        console.print(drift_line(report))
    if report.recovery is not None:
        console.print(recovery_line(report.recovery))
        print_layers(report.recovery, console)
    if report.tuned is not None:
        console.print(tuned_line(report.tuned), soft_wrap=True)


def tuned_line(tuned: TunedReport) -> str:
    """One sentence on training at the end."""
    ended = f", {tuned.stopped}" if tuned.stopped else ""
    line = f"training: {tuned.steps} steps in {tuned.seconds:.0f} s{ended}"
    if not tuned.improved:
        return f"{line}; the model is the one before: {tuned.why}"
    return f"{line}; before: {drift_words(tuned.before)}"


def dropped_line(dropped: DroppedReport) -> str:
    """One sentence on whole blocks."""
    ends = ", ".join(escape(foreign(end)) for end, _ in dropped.blocks)
    line = f"blocks ({dropped.order}): {len(dropped.blocks)} of {dropped.found} dropped"
    if dropped.proof is None:
        return line
    difference = f"max relative difference {dropped.proof.max_rel_diff:.2g}"
    return f"{line} ({ends}); proof (zeros in their place): passed, {difference}"


def proof_words(proof: Proof) -> str:
    """What a proof has found, in words."""
    own = f"the model's own rounding noise: {proof.noise:.2g}, " if proof.noise else ""
    words = (
        f"max relative difference {proof.max_rel_diff:.2g} ({own}allowed: {proof.tolerance:.2g})"
    )
    if proof.end_to_end is not None:
        words += (
            f", node by node, for end to end the model turns rounding into {proof.end_to_end:.2g}"
        )
    if proof.range_diff:
        words += f"; {proof.range_diff:.2g} of it is the range of dynamic quantisers"
    return f"{words}, {sizes_line(proof)}"


def drift_line(report: Report) -> str:
    """One sentence on the distance from the original."""
    drift = report.drift
    assert drift is not None
    if NO_DATA in report.warnings:
        return f"on {drift.samples} random samples, which tell little: {drift_words(drift)}"
    return f"on {drift.samples} held-out samples: {drift_words(drift)}"


def drift_words(drift: Drift) -> str:
    """A distance in words."""
    parts = [f"relative error {drift.rel_error:.3f}"]
    if drift.top1_agreement is not None and drift.standard_error is not None:
        parts.append(f"top-1 agreement {drift.top1_agreement:.4f} ± {drift.standard_error:.4f}")
    if drift.blend_risk is not None:
        parts.append(f"{1 - drift.blend_risk:.4f} on samples mixed in pairs")
    return ", ".join(parts)


def recovery_line(recovery: RecoveryReport) -> str:
    """One sentence on what recovery did."""
    if recovery.used == "none":
        return f"recovery ({recovery.asked}): none{f', {r}' if (r := recovery.reason) else ''}"
    if not recovery.layers:
        words = "" if recovery.raw is None else f"; the raw cut: {drift_words(recovery.raw)}"
        return f"recovery ({recovery.used}): trained at the ends of blocks{words}"
    kept = sum(layer.kept for layer in recovery.layers)
    tried = sum(layer.target != "" for layer in recovery.layers)
    raw = recovery.raw
    before = "" if raw is None else f"; the raw cut: {drift_words(raw)}"
    return f"recovery ({recovery.used}): {kept} of {tried} layers re-fitted{before}"


def print_layers(recovery: RecoveryReport, console: Console) -> None:
    """The layers that are still furthest from the original, where there is room for more."""
    if recovery.used == "none":
        return
    layers = [layer for layer in recovery.layers if layer.before is not None]
    left = sorted(layers, key=lambda layer: -_left(layer))[:_LAYERS]
    table = Table(title="squared error of layers, largest", title_justify="left", box=SIMPLE_HEAD)
    for column in ("layer", "", "raw", "re-fitted", "s"):
        table.add_column(column, justify="right" if column in ("raw", "re-fitted", "s") else "left")
    for layer in left:
        cells = (f"{layer.before:.4f}", f"{layer.after:.4f}" if layer.kept else "no better")
        name = escape(foreign(layer.name))
        table.add_row(name, escape(foreign(layer.op)), *cells, f"{layer.seconds:.2f}")
    if len(layers) > _LAYERS:
        table.caption = f"{len(layers) - _LAYERS} more in the report (--report, --json)"
        table.caption_justify = "left"
    console.print(table)


def _left(layer: LayerRecord) -> float:
    """Error of a layer as it was written."""
    return (layer.after if layer.kept else layer.before) or 0.0


def print_groups(groups: Iterable[GroupReport], whole: Cost, console: Console) -> None:
    """The groups of a model, with what goes when all but one of a group's units go."""
    rows = list(groups)
    if console.width < _NARROW:
        _print_groups_below(rows, whole, console)
        return
    table = Table(title=f"{len(rows)} groups", title_justify="left", box=SIMPLE_HEAD)
    for column in ("id", "weight", "layer", "units", "axes", "params", "", "MACs", ""):
        is_text = column in ("id", "weight", "layer")
        table.add_column(
            column,
            justify="left" if is_text else "right",
            overflow="fold" if is_text else "ellipsis",
            no_wrap=not is_text,
        )
    for group in rows:
        table.add_row(
            group.id,
            escape(foreign(group.label)),
            escape(foreign(group.layer)),
            str(group.units),
            str(len(group.axes)),
            f"{group.params:,}",
            share(group.params, whole.params),
            f"{group.macs:,}",
            share(group.macs, whole.macs),
        )
    console.print(table)


def _print_groups_below(rows: list[GroupReport], whole: Cost, console: Console) -> None:
    """The same for narrow terminals: two lines for each group, of which nothing is left out."""
    console.print(f"{len(rows)} groups")
    for group in rows:
        names = " ".join(name for name in (group.layer, group.label) if name)
        console.print(f"{group.id}  {escape(foreign(names))}")
        params, macs = share(group.params, whole.params), share(group.macs, whole.macs)
        console.print(
            f"  {group.units} units on {len(group.axes)} axes, {params} of params, {macs} of MACs"
        )


def print_widths(layers: Iterable[LayerReport], console: Console) -> None:
    """Channels of the layers that have lost some, before and after."""
    rows = [layer for layer in layers if _is_narrower(layer)]
    if not rows:
        return
    table = Table(title="channels of layers", title_justify="left", box=SIMPLE_HEAD)
    for column in ("layer", "reads", "makes", "MACs"):
        table.add_column(
            column,
            justify="left" if column == "layer" else "right",
            overflow="fold" if column == "layer" else "ellipsis",
            no_wrap=column != "layer",
        )
    for layer in rows[:_WIDTHS]:
        made = "" if layer.outputs is None else _width(layer.outputs)
        left = share(layer.macs[1], layer.macs[0])
        table.add_row(escape(foreign(layer.name)), _width(layer.inputs), made, left)
    if len(rows) > _WIDTHS:
        table.caption = f"{len(rows) - _WIDTHS} more in the report (--report, --json, --html)"
        table.caption_justify = "left"
    console.print(table)


def _is_narrower(layer: LayerReport) -> bool:
    return any(pair is not None and pair[0] != pair[1] for pair in (layer.inputs, layer.outputs))


def _width(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]} -> {pair[1]}"


def print_pins(pins: Iterable[PinReason], console: Console) -> None:
    """Why the rest cannot be pruned, one line for each cause."""
    counted = Counter((p.op, p.reason) for p in pins)
    example = {(p.op, p.reason): p for p in reversed(list(pins))}
    for number, ((op, reason), count) in enumerate(counted.items()):
        if number == _SHOWN:
            console.print(f"... and {len(counted) - _SHOWN} more reasons")
            return
        pin = example[op, reason]
        more = f" and {count - 1} more" if count > 1 else ""
        where, why = escape(foreign(pin.axis)), escape(foreign(reason))
        console.print(f"pinned: {where}{more} ({escape(foreign(op))}): {why}", soft_wrap=True)


def print_inexact(nodes: Iterable[InexactNode], console: Console) -> None:
    """What the cut changes beside what it removes, one line for each operator."""
    rows = list(nodes)
    example = {row.op: row for row in reversed(rows)}
    for op, count in Counter(row.op for row in rows).items():
        row = example[op]
        more = f" and {count - 1} more" if count > 1 else ""
        console.print(f"not exact: {escape(foreign(row.axis))}{more}: {escape(row.reason)}")


def share(part: float, whole: float) -> str:
    """`part` of `whole` in per cent."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def print_inspection(result: Inspection, console: Console) -> None:
    """The findings as tables; only the explanation, if one was asked for."""
    if result.why:
        for chain in result.why:
            _print_chain(chain, console)
        return
    cost = result.cost
    console.print(
        f"{escape(foreign(result.model))}: {cost.params:,} parameters, {cost.macs:,} MACs, "
        f"{cost.bytes:,} bytes of weights",
        soft_wrap=True,
    )
    print_groups(result.groups, cost, console)
    print_pins(result.pins, console)
    if result.note:
        console.print(f"the model could not be run: {escape(result.note)}", soft_wrap=True)


def _print_chain(chain: tuple[Link, ...], console: Console) -> None:
    head, *steps = chain
    console.print(f"{escape(foreign(head.axis))} {escape(head.because)}", soft_wrap=True)
    for step in steps:
        console.print(
            f"  -> {escape(foreign(step.axis))}  {escape(foreign(step.because))}", soft_wrap=True
        )


def print_comparison(result: Comparison, console: Console) -> None:
    """The comparison as a table."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("", *(escape(foreign(Path(n).name)) for n in result.names), "kept"):
        table.add_column(column, justify="right" if column else "left", overflow="fold")
    for name in ("params", "macs"):
        a, b = getattr(result.before, name), getattr(result.after, name)
        table.add_row(name, f"{a:,}", f"{b:,}", share(b, a))
    table.add_row("file bytes", *(f"{s:,}" for s in result.files), share(*reversed(result.files)))
    moved = result.drift
    if moved is not None and moved.accuracy_before is not None and moved.accuracy_after is not None:
        table.add_row("top-1", f"{moved.accuracy_before:.4f}", f"{moved.accuracy_after:.4f}", "")
    times = result.latency
    table.add_row(
        "latency ms",
        f"{1e3 * times.before:.3f}",
        f"{1e3 * times.after:.3f}",
        f"{100 * times.ratio:.1f} %",
    )
    console.print(table)
    if moved is not None:
        console.print(f"on {moved.samples} samples: {drift_words(moved)}", soft_wrap=True)
    console.print(
        f"latency: median of {times.runs} alternating runs, {result.threads} thread(s), "
        f"{result.provider}; speed-up {1 / times.ratio:.2f}x",
        soft_wrap=True,
    )


def sizes_line(proof: Proof) -> str:
    """At how many sizes of the inputs a proof has looked, and which extent it could not vary."""
    count = len({tuple(sorted(sizes.items())) for sizes in proof.sizes})
    line = f"at {count} size{'s' if count != 1 else ''} of the inputs"
    if not proof.unvaried:
        return line
    return f"{line}; not varied, so that nothing is proved at others: {', '.join(proof.unvaried)}"
