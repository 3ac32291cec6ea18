"""Facts that several operator families state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from onnxslim_snacs.ir.types import Axis, Fact, Inexact, IntArray, Pin, Tie
from onnxslim_snacs.model.sizes import Shape
from onnxslim_snacs.ops.node import OpNode, known


def pin_structural(axes: Iterable[Axis], reason: str) -> Iterator[Pin]:
    """Pins on axes that are no channel axes by their nature (pixels, taps, time steps)."""
    for axis in axes:
        yield Pin(axis, reason, structural=True)


def same_axes(node: OpNode, source: int, dims: Sequence[int], output: int = 0) -> Iterator[Fact]:
    """Output axis d is input axis d, for every d in `dims`."""
    for dim in dims:
        yield Tie(node.in_axis(source, dim), node.out_axis(dim, output))


def broadcast(node: OpNode, inputs: Sequence[int], output: int = 0) -> Iterator[Fact]:
    """Numpy broadcasting: axes of equal extent are tied from the right, extent 1 is free."""
    out = known(node.out_shape(output))
    for index in inputs:
        if node.has_input(index):
            yield from broadcast_one(node, index, out, output)


def broadcast_one(node: OpNode, index: int, out: Shape, output: int = 0) -> Iterator[Fact]:
    """The ties of one input with a broadcast output.

    Args:
        node: the node.
        index: position of the input.
        out: shape of the output.
        output: position of the output.
    """
    shape = known(node.in_shape(index))
    shift = len(out) - len(shape)
    for dim, extent in enumerate(shape):
        spread = out[dim + shift]
        if extent == 1 and spread != 1:
            continue
        if extent is not None and spread is not None and extent != spread:  # before opset 7
            yield Pin(node.in_axis(index, dim), "broadcast along an axis that is not the last")
            yield Pin(node.out_axis(dim + shift, output), "broadcast along another axis")
            continue
        yield Tie(node.in_axis(index, dim), node.out_axis(dim + shift, output))


def pin_operand(node: OpNode, index: int) -> Iterator[Pin]:
    """Pins on an input that spells out numbers (a shape, bounds, amounts) and holds no channels."""
    shape = node.in_shape(index)
    for dim in range(len(shape) if shape is not None else 0):
        yield Pin(node.in_axis(index, dim), f"operand of {node.op}", structural=True)


def pin_tensors(node: OpNode, tensors: Iterable[str], reason: str) -> Iterator[Pin]:
    """Pins on every axis of every given tensor of the node."""
    for tensor in tensors:
        for dim in range(len(known(node.facts.shape(tensor))) if tensor else 0):
            yield Pin(Axis(tensor, dim), reason)


#: (position of an input or output, dimension) of axes.
Places = tuple[tuple[int, int], ...]


def statistics(
    node: OpNode,
    axis: Axis,
    inputs: Places,
    outputs: Places = (),
    index: IntArray | None = None,
) -> Iterator[Fact]:
    """An axis over which the node takes statistics: it stays, unless the user allows inexact cuts.

    Args:
        node: the node.
        axis: the axis, virtual or not.
        inputs: the axes of its inputs that run along.
        outputs: the axes of its outputs that run along.
        index: for each slot of those its slot of `axis`, None where they are the same.
    """
    reason = f"{node.op} runs over this axis, so that what is left would change"
    if node.allow_inexact:
        yield Inexact(axis, reason.replace("would change", "has changed"), inputs, outputs, index)
    else:
        yield Pin(axis, f"{reason} (--allow-inexact lets it go)")


def running_along(node: OpNode, dim: int) -> tuple[Places, Places]:
    """The inputs and outputs with an axis that broadcasting ties to axis `dim` of output 0."""
    shapes = [node.in_shape(k) for k in range(len(node.inputs))]
    outs = [node.out_shape(k) if name else None for k, name in enumerate(node.outputs)]
    return _aligned(shapes, known(outs[0]), dim), _aligned(outs, known(outs[0]), dim)


def _aligned(shapes: Sequence[Shape | None], out: Shape, dim: int) -> Places:
    found = []
    for position, shape in enumerate(shapes):
        place = dim - len(out) + len(shape) if shape is not None else -1
        if shape is not None and place >= 0 and shape[place] == out[dim]:
            found.append((position, place))
    return tuple(found)
