"""Where extents meet: the numbers that a node wants to be equal before it runs.

Told from the shapes that come into a node, so that a size that does not run says which extents it
got wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper


class Met(NamedTuple):
    """Two numbers that have to be equal.

    Attributes:
        left: one of them.
        right: the other one.
        spread: whether 1 does as well, on either side.
        multiple: where the left one is a remainder: of a division by that number, else 0.
    """

    left: int
    right: int
    spread: bool = False
    multiple: int = 0


#: Shapes of a node's inputs (() for one that is left out), and the values of those that are small.
Shapes = Sequence[tuple[int, ...]]
Small = Mapping[int, NDArray[Any]]

_BROADCAST = frozenset(
    (  # noqa: SIM905
        "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less "
        "LessOrEqual Max Mean Min Mod Mul Or Pow PRelu Sub Sum Where Xor LayerNormalization "
        "RMSNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization BiasGelu "
        "SimplifiedLayerNormalization FastGelu"
    ).split()
)


def meetings(node: NodeProto, shapes: Shapes, small: Small) -> list[Met]:
    """The pairs of numbers that the node wants to be equal; [] if it is not known what it wants.

    The list has the same pairs in the same order whatever the numbers are, as long as no rank
    changes.

    Args:
        node: the node.
        shapes: shapes of its inputs.
        small: values of inputs that spell out numbers.
    """
    if node.op_type in _BROADCAST:
        return list(_broadcast(shapes))
    rule = _RULES.get(node.op_type)
    try:
        return list(rule(node, shapes, small)) if rule else []
    except (IndexError, KeyError):  # a rank that this operator does not take
        return []


def _broadcast(shapes: Shapes) -> Iterator[Met]:
    for left, right in combinations(shapes, 2):
        for a, b in zip(reversed(left), reversed(right), strict=False):
            yield Met(a, b, spread=True)


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name}


def _matmul(node: NodeProto, shapes: Shapes, small: Small) -> Iterator[Met]:
    a, b = shapes[0], shapes[3 if node.op_type == "QLinearMatMul" else 1]
    yield Met(a[-1], b[-2] if len(b) > 1 else b[0])
    yield from _broadcast((a[:-2], b[:-2]))


def _gemm(node: NodeProto, shapes: Shapes, small: Small) -> Iterator[Met]:
    attributes = _attributes(node)
    a = shapes[0][::-1] if attributes.get("transA") else shapes[0]
    b = shapes[1][::-1] if attributes.get("transB") else shapes[1]
    yield Met(a[1], b[0])
    if len(shapes) > 2:
        yield from _broadcast(((a[0], b[1]), shapes[2]))


def _conv(node: NodeProto, shapes: Shapes, small: Small) -> Iterator[Met]:
    weight = shapes[3 if node.op_type == "QLinearConv" else 1]
    if node.op_type == "ConvTranspose":
        yield Met(shapes[0][1], weight[0])
    else:
        yield Met(shapes[0][1], weight[1] * _attributes(node).get("group", 1))


def _channels(node: NodeProto, shapes: Shapes, small: Small) -> Iterator[Met]:
    yield Met(shapes[0][1], shapes[1][0])


def _concat(node: NodeProto, shapes: Shapes, small: Small) -> Iterator[Met]:
    axis = _attributes(node)["axis"] % len(shapes[0])
    for other in shapes[1:]:
        for dim, (a, b) in enumerate(zip(shapes[0], other, strict=False)):
            if dim != axis:
                yield Met(a, b)


def _recurrent(node: NodeProto, shapes: Shapes, small: Small) -> Iterator[Met]:
    """X (time, batch, features), W (directions, gates, features), lengths (batch), states."""
    yield Met(shapes[0][2], shapes[1][2])
    if len(shapes) > 4 and shapes[4]:
        yield Met(shapes[0][1], shapes[4][0])
    for state in shapes[5:7]:
        if state:
            yield Met(shapes[0][1], state[1])
            yield Met(state[0], shapes[1][0])
            yield Met(state[2], shapes[2][2])


def _split(node: NodeProto, shapes: Shapes, small: Small) -> Iterator[Met]:
    attributes = _attributes(node)
    parts = small.get(1, attributes.get("split"))
    if parts is not None:
        yield Met(shapes[0][attributes.get("axis", 0)], int(np.sum(parts)))


def _reshape(node: NodeProto, shapes: Shapes, small: Small) -> Iterator[Met]:
    """What a -1 stands for has to be a whole number: the remainder is 0."""
    zero_copies = not _attributes(node).get("allowzero", 0)
    target = [
        shapes[0][k] if number == 0 and zero_copies else int(number)
        for k, number in enumerate(small[1].reshape(-1))
    ]
    have, want = prod(shapes[0]), prod(n for n in target if n != -1)
    if -1 not in target:
        yield Met(have, want)
    elif want > 0:
        yield Met(have % want, 0, multiple=want)


def _einsum(node: NodeProto, shapes: Shapes, small: Small) -> Iterator[Met]:
    terms = _attributes(node)["equation"].decode().replace(" ", "").split("->")[0].split(",")
    if any("." in term for term in terms):
        return
    first: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=False):
        for letter, extent in zip(term, shape, strict=False):
            yield Met(first.setdefault(letter, extent), extent)


_Rule = Callable[[NodeProto, Shapes, Small], Iterator[Met]]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul"), _matmul),
    **dict.fromkeys(("Conv", "ConvInteger", "QLinearConv", "ConvTranspose"), _conv),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), _channels),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    "GroupNormalization": _channels,
    "Gemm": _gemm,
    "Concat": _concat,
    "Split": _split,
    "Reshape": _reshape,
    "Einsum": _einsum,
}
