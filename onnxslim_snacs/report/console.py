"""Reports for people."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.why import Link
from onnxslim_snacs.report.listings import (
    print_groups,
    print_inexact,
    print_layers,
    print_pins,
    print_widths,
)
from onnxslim_snacs.report.make import WHAT
from onnxslim_snacs.report.phrases import (
    drift_line,
    drift_words,
    dropped_line,
    proof_words,
    recovery_line,
    share,
    tuned_line,
)
from onnxslim_snacs.report.report import (
    Comparison,
    Inspection,
    Report,
)


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
