"""Extents of a model's inputs as what is declared: numbers, and sums of symbols.

Exporters name the dimensions that change (`batch`, `seq`), and some say how one follows from others
(`past + seq`).  A name is one number wherever it stands; a dimension without a name is a symbol of
its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import ValueInfoProto

from onnxslim_snacs.model.graph import ModelGraph

#: Symbol -> number.
Values = Mapping[str, int]
#: Names that tools write where there is none.
_NAMELESS = frozenset(("", "none", "unk", "unknown", "dynamic", "any", "null", "undefined"))
#: Longest text that is read as a sum.
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class LinearExtent:
    """constant + the sum of factor * symbol.

    Attributes:
        constant: the number.
        terms: (symbol, factor), sorted, no factor is 0.
    """

    constant: int
    terms: tuple[tuple[str, int], ...] = ()

    def at(self, values: Values) -> int:
        """The extent once every symbol has a number."""
        return self.constant + sum(factor * values[symbol] for symbol, factor in self.terms)

    def plus(self, other: LinearExtent, times: int = 1) -> LinearExtent:
        """The sum of this extent and `times` another one."""
        factors = dict(self.terms)
        for symbol, factor in other.terms:
            factors[symbol] = factors.get(symbol, 0) + times * factor
        kept = tuple(sorted((s, f) for s, f in factors.items() if f))
        return LinearExtent(self.constant + times * other.constant, kept)

    def put(self, symbol: str, extent: LinearExtent) -> LinearExtent:
        """The extent with another one in the place of a symbol."""
        factor = dict(self.terms).get(symbol, 0)
        return self.plus(LinearExtent(0, ((symbol, 1),)), -factor).plus(extent, factor)

    @property
    def symbol(self) -> str | None:
        """The symbol of which it consists, None if it is anything else."""
        free = self.constant == 0 and len(self.terms) == 1 and self.terms[0][1] == 1
        return self.terms[0][0] if free else None

    def __str__(self) -> str:
        parts = [s if f == 1 else f"{f}*{s}" for s, f in self.terms]
        return " + ".join([*parts, str(self.constant)] if self.constant or not parts else parts)


@dataclass(frozen=True, slots=True)
class InputExtents:
    """The extents of all inputs.

    Attributes:
        axes: input -> its extents.
    """

    axes: Mapping[str, tuple[LinearExtent, ...]]

    def sizes(self, values: Values) -> dict[str, tuple[int, ...]]:
        """The shapes of all inputs."""
        return {name: tuple(e.at(values) for e in row) for name, row in self.axes.items()}

    def symbols(self) -> tuple[str, ...]:
        """All symbols, in the order in which they come."""
        return tuple(
            dict.fromkeys(s for row in self.axes.values() for e in row for s, _ in e.terms)
        )

    def put(self, symbol: str, extent: LinearExtent) -> InputExtents:
        """The layout with an extent in the place of a symbol."""
        return InputExtents(
            {n: tuple(e.put(symbol, extent) for e in r) for n, r in self.axes.items()}
        )

    @property
    def crosses(self) -> bool:
        """Whether what comes first in one input comes later in another: steps before samples."""
        first = {symbol for row in self.axes.values() for e in row[:1] for symbol, _ in e.terms}
        later = {symbol for row in self.axes.values() for e in row[1:] for symbol, _ in e.terms}
        return bool(first & later)

    def places(self, symbol: str) -> Iterator[tuple[str, int]]:
        """The axes (input, dimension) whose extent has to do with a symbol."""
        for name, row in self.axes.items():
            yield from ((name, k) for k, e in enumerate(row) if symbol in dict(e.terms))

    def solve(self, shapes: Mapping[str, Sequence[int | None]]) -> dict[str, int] | None:
        """The numbers of symbols that follow from shapes of some inputs; None if they contradict.

        Args:
            shapes: input -> its shape, None for an extent that is left open.
        """
        pairs = [
            (extent, size)
            for name, shape in shapes.items()
            for extent, size in zip(self.axes[name], shape, strict=True)
            if size is not None
        ]
        found: dict[str, int] = {}
        for _ in range(len(pairs) + 1):
            for extent, size in pairs:
                rest = extent
                for symbol, number in found.items():
                    rest = rest.put(symbol, LinearExtent(number))
                if len(rest.terms) == 1:
                    (symbol, factor), left = rest.terms[0], size - rest.constant
                    if left % factor:
                        return None
                    found[symbol] = left // factor
                elif not rest.terms and rest.constant != size:
                    return None
        return found


def read_layout(graph: ModelGraph, ranks: Mapping[str, int]) -> InputExtents:
    """What a model declares of its inputs.

    Args:
        graph: the model.
        ranks: number of dimensions of inputs for which the model declares none.
    """
    wanted = set(graph.inputs)
    return InputExtents({v.name: _row(v, ranks) for v in graph.graph.input if v.name in wanted})


def _row(info: ValueInfoProto, ranks: Mapping[str, int]) -> tuple[LinearExtent, ...]:
    if not info.type.tensor_type.HasField("shape"):
        return tuple(own(info.name, k) for k in range(ranks.get(info.name, 0)))
    dims = info.type.tensor_type.shape.dim
    return tuple(_extent(info.name, k, dim) for k, dim in enumerate(dims))


def own(name: str, dim: int) -> LinearExtent:
    """A symbol that stands on one axis only."""
    return LinearExtent(0, ((f"{name}[{dim}]", 1),))


def _extent(name: str, position: int, dim: Any) -> LinearExtent:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return LinearExtent(int(dim.dim_value))
    text = dim.dim_param.strip()
    if text.lower() in _NAMELESS or not re.search(r"[A-Za-z]", text):
        return own(name, position)
    return parse(text) or LinearExtent(0, ((text, 1),))


def parse(text: str) -> LinearExtent | None:
    """A sum of names and numbers; None if the text is anything else."""
    if len(text) > _LONGEST:
        return None
    try:
        found = _sum(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return found if found is not None and found.terms else None


def _sum(node: ast.expr) -> LinearExtent | None:
    if isinstance(node, ast.Name):
        return LinearExtent(0, ((node.id, 1),))
    if isinstance(node, ast.Constant):
        return LinearExtent(node.value) if type(node.value) is int else None
    if not isinstance(node, ast.BinOp):
        return None
    left, right = _sum(node.left), _sum(node.right)
    if left is None or right is None:
        return None
    if isinstance(node.op, ast.Add | ast.Sub):
        return left.plus(right, 1 if isinstance(node.op, ast.Add) else -1)
    if isinstance(node.op, ast.Mult) and not (left.terms and right.terms):
        number, other = (left.constant, right) if not left.terms else (right.constant, left)
        return LinearExtent(0).plus(other, number)
    return None


def tied(layout: InputExtents, label: Any) -> InputExtents:
    """The layout with one symbol for all those that have the same label.

    Args:
        layout: the layout.
        label: symbol -> whatever can be compared, or None for one that stays by itself.
    """
    first: dict[Any, str] = {}
    for symbol in layout.symbols():
        mark = label(symbol)
        same = first.setdefault(mark, symbol) if mark is not None else symbol
        if same != symbol:
            layout = layout.put(symbol, LinearExtent(0, ((same, 1),)))
    return layout
