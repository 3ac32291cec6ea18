"""What there are several of: groups, layers, pins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.types import InexactNode, PinReason
from onnxslim_snacs.plan.cost import Cost
from onnxslim_snacs.recovery.accept import RecoveryReport
from onnxslim_snacs.recovery.jobs import LayerRecord
from onnxslim_snacs.report.knots import LayerReport
from onnxslim_snacs.report.phrases import (
    share,
)
from onnxslim_snacs.report.report import (
    GroupReport,
)

_SHOWN = 40
#: Columns below which a table of groups would leave names out.
_NARROW = 90
#: Layers of which the channels are shown.
_WIDTHS = 20
#: Layers whose error is shown.
_LAYERS = 5


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
