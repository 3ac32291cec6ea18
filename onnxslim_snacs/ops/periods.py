"""Axes of batch x heads: an extent that changes with the input and yet holds channels.

nn.MultiheadAttention merges the heads into the batch, so that an axis has N * p indices, N being
known only at run time.  Such an axis gets p slots, of which each stands for every p-th index.  This
is sound where all operators around it treat the axis as a whole; wherever one does not, the axis
stays without slots, and what is tied to it is pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from onnxslim_snacs.ir.types import Axis, Extent, Period, Pin, Sink, Split, Stated, Tie, axes_of
from onnxslim_snacs.ir.views import components
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.chains import Chain
from onnxslim_snacs.ops.elementwise import NARY, UNARY
from onnxslim_snacs.ops.node import OpNode
from onnxslim_snacs.ops.reduce import REDUCTIONS

MICROSOFT = frozenset(
    f"com.microsoft::{name}"
    for name in (
        *("BiasGelu", "FusedConv", "FusedGemm", "FusedMatMul", "TransposeMatMul"),
        *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"),
        *("QuantizeLinear", "DequantizeLinear", "QGemm", "QLinearAdd", "QLinearMul"),
        *("QLinearSigmoid", "QLinearLeakyRelu", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
        *("QLinearWhere", "QLinearSoftmax", "QLinearAveragePool", "QLinearGlobalAveragePool"),
    )
)

#: Operators that spell out no extent of a batch axis, or know how to scale it (Reshape, and Shape,
#: which goes on to tell the extent of before).
SAFE = frozenset(
    (
        *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Shape", "Split", "Concat", "Slice"),
        *("Gather", "Pad", "MatMul", "Gemm", "Einsum", "Softmax", "LogSoftmax", "Hardmax"),
        *("Flatten", "Dropout", "Trilu", "CumSum"),
        *("Conv", "ConvTranspose", "AveragePool", "LpPool", "MaxPool"),
        *("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"),
        *("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"),
        *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LpNormalization"),
        *("LRN", "MeanVarianceNormalization"),
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
        *("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"),
    )
).union(UNARY, NARY, REDUCTIONS, MICROSOFT)

ExtentOf = Callable[[Axis], int | None]


def find_periods(
    graph: ModelGraph,
    nodes: Sequence[OpNode],
    chains: Sequence[Chain],
    stated: Sequence[Stated],
    extent_of: ExtentOf,
) -> dict[Axis, int]:
    """The periods of all axes of which one is known and sound.

    Args:
        graph: the model.
        nodes: its nodes.
        chains: nodes of which the last one speaks for all.
        stated: the facts of all nodes.
        extent_of: the extent of a real axis, None where it is dynamic.
    """
    if not any(isinstance(item.fact, Period) for item in stated):
        return {}
    extents = {s.fact.axis: s.fact.size for s in stated if isinstance(s.fact, Extent)}

    def fixed(axis: Axis) -> int | None:
        return extents.get(axis) or extent_of(axis)

    classes = _classes(stated, fixed)
    sizes: dict[int, set[int]] = {}
    for item in stated:
        if isinstance(item.fact, Period) and item.fact.axis in classes:
            sizes.setdefault(classes[item.fact.axis], set()).add(item.fact.size)
    periods = {number: size.pop() for number, size in sizes.items() if len(size) == 1}
    found = {axis: periods[number] for axis, number in classes.items() if number in periods}
    unsound = {
        classes[axis]
        for axis in (
            *_misused(stated, found, fixed),
            *_misread(graph, nodes, chains, stated, found),
        )
    }
    return {axis: size for axis, size in found.items() if classes[axis] not in unsound}


def _classes(stated: Iterable[Stated], fixed: ExtentOf) -> dict[Axis, int]:
    """Dynamic axes -> the number of the class of axes to which they are tied as a whole."""
    numbers: dict[Axis, int] = {}
    pairs: list[tuple[int, int]] = []
    for item in stated:
        fact = item.fact
        if isinstance(fact, Period) and fixed(fact.axis) is None:
            numbers.setdefault(fact.axis, len(numbers))
        elif isinstance(fact, Tie) and fixed(fact.a) is None and fixed(fact.b) is None:
            left, right = (numbers.setdefault(axis, len(numbers)) for axis in (fact.a, fact.b))
            pairs.append((left, right))
    ties = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    labels = components(len(numbers), ties[:, 0], ties[:, 1])
    return {axis: int(labels[number]) for axis, number in numbers.items()}


def _misused(
    stated: Iterable[Stated], found: Mapping[Axis, int], fixed: ExtentOf
) -> Iterable[Axis]:
    """Axes of which a fact says more than slot = index mod period allows."""
    for item in stated:
        fact = item.fact
        if isinstance(fact, Pin) and fact.index is not None and fact.axis in found:
            yield fact.axis
        elif isinstance(fact, Split):
            yield from (axis for axis in fact.factors if axis in found)
            factors = [fixed(axis) or 0 for axis in fact.factors]
            if fact.fine in found and np.prod(factors) != found[fact.fine]:
                yield fact.fine
        elif isinstance(fact, Tie):
            part = fact.ia is not None or fact.ib is not None
            for axis, other in ((fact.a, fact.b), (fact.b, fact.a)):
                agree = found.get(axis) == (found.get(other) or fixed(other))
                if axis in found and (part or not agree):
                    yield axis
        elif not isinstance(fact, Extent | Period | Pin):
            around = (
                (*axes_of(fact), fact.weight, fact.out) if isinstance(fact, Sink) else axes_of(fact)
            )
            yield from (axis for axis in around if axis is not None and axis in found)


def _misread(
    graph: ModelGraph,
    nodes: Sequence[OpNode],
    chains: Sequence[Chain],
    stated: Iterable[Stated],
    found: Mapping[Axis, int],
) -> Iterable[Axis]:
    """Axes around which an operator may spell out the extent, or say nothing of the axis."""
    spoken: dict[int, set[Axis]] = {}
    for item in stated:
        spoken.setdefault(item.node, set()).update(axes_of(item.fact))
    for chain in chains:
        spoken.update(dict.fromkeys(chain.nodes, spoken.get(max(chain.nodes), set())))
    by_tensor: dict[str, list[Axis]] = {}
    for axis in found:
        by_tensor.setdefault(axis.tensor, []).append(axis)
    for tensor, axes in by_tensor.items():
        around = [*graph.consumers.get(tensor, ()), graph.producer.get(tensor, -1)]
        for axis in axes:
            for position in around:
                if position >= 0 and not _sound(nodes[position], axis, spoken.get(position, ())):
                    yield axis


def _sound(node: OpNode, axis: Axis, spoken: Collection[Axis]) -> bool:
    return node.op in SAFE and (node.op == "Shape" or axis in spoken)
