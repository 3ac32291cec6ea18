"""What is known of the shapes and values of a model's tensors; `reading` finds it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxslim_snacs.errors import InputRefused, RuntimeRefused
from onnxslim_snacs.model.changing import NOTHING_CHANGES, Changing
from onnxslim_snacs.model.evaluate import evaluate
from onnxslim_snacs.model.graph import ModelGraph, node_constant
from onnxslim_snacs.model.patience import patience
from onnxslim_snacs.model.probes import weight_bytes
from onnxslim_snacs.model.session import (
    SessionConfig,
    create_session,
)
from onnxslim_snacs.model.settle import Settled
from onnxslim_snacs.model.sizes import Shape
from onnxslim_snacs.model.values import RAGGED

#: Bytes up to which a value is kept in memory once it has been asked for.
_CACHED = 1 << 20


@dataclass(frozen=True, slots=True)
class Fed:
    """What goes into a model that is the body of a node, instead of random inputs.

    Attributes:
        feeds: input -> value, one mapping for each sample size of the model around it.
        by_shape: inputs that follow from constants and shapes alone.
        weights: inputs that follow from constants alone.
    """

    feeds: tuple[Mapping[str, NDArray[Any]], ...]
    by_shape: frozenset[str]
    weights: frozenset[str]


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model's tensors without looking at any data.

    Attributes:
        graph: the model.
        shapes: for each sample size, tensor -> shape.
        values: for each sample size, tensor -> value, for small tensors that follow from shapes and
            constants alone.
        static: shapes by static inference, where the model could not be run.
        weights: tensors that follow from constants alone.
        by_shape: tensors that follow from constants and shapes alone.
        ran: whether the shapes come from running the model.
        note: why it could not be run, else "".
        lacks_operator: whether that is because ONNX Runtime does not have one of its operators.
        feeds: the inputs with which it was run.
        settled: the extents of its inputs, and which of them could not be varied; None if it was
            not run, or is the body of a node.
        changing: what changes with the input although no two runs differ in it.
        sequences: what is a sequence of tensors; its shape is that of each of them.
    """

    graph: ModelGraph
    shapes: tuple[dict[str, tuple[int, ...]], ...]
    values: tuple[dict[str, NDArray[Any]], ...]
    static: dict[str, Shape]
    weights: frozenset[str]
    by_shape: frozenset[str]
    ran: bool
    note: str = ""
    lacks_operator: bool = False
    feeds: tuple[Mapping[str, NDArray[Any]], ...] = ()
    settled: Settled | None = None
    changing: Changing = NOTHING_CHANGES
    sequences: frozenset[str] = frozenset()
    _cache: dict[str, NDArray[Any] | None] = field(default_factory=dict)
    _shapes: dict[str, Shape | None] = field(default_factory=dict)

    def shape(self, tensor: str) -> Shape | None:
        """The tensor's shape; None entries are dynamic, None altogether if unknown."""
        if tensor not in self._shapes:
            self._shapes[tensor] = self._shape(tensor)
        return self._shapes[tensor]

    def _shape(self, tensor: str) -> Shape | None:
        initializer = self.graph.initializers.get(tensor)
        if initializer is not None:
            return tuple(initializer.dims)
        seen = self.samples(tensor)
        if not seen or len({len(s) for s in seen}) != 1:
            return self.static.get(tensor) if not seen else None
        moving = self.changing.dims.get(tensor, frozenset())
        return tuple(
            d[0] if len(set(d)) == 1 and d[0] != RAGGED and k not in moving else None
            for k, d in enumerate(zip(*seen, strict=True))
        )

    def samples(self, tensor: str) -> tuple[tuple[int, ...], ...]:
        """The tensor's shape under each sample size.

        Those of all tensors can be laid side by side: they are of the same runs.  () where the
        tensor was in none of them; where the model was not run, that is every tensor, stored ones
        too, and `shape` says what is known without a run.
        """
        initializer = self.graph.initializers.get(tensor)
        if initializer is not None:
            return (tuple(initializer.dims),) * len(self.shapes)
        found = tuple(run[tensor] for run in self.shapes if tensor in run)
        return found if len(found) == len(self.shapes) else ()

    @property
    def first_batch(self) -> int | None:
        """How many samples the first run had: the leading extent of the first input.

        None where that has none, it is zero, or the model was not run.
        """
        seen = self.samples(next(iter(self.graph.inputs), ""))
        return (seen[0][0] or None) if seen and seen[0] else None

    def holds_nothing(self, tensor: str) -> bool:
        """Whether it is a sequence in which no run had a tensor, so that it has no axes."""
        return tensor in self.sequences and not any(tensor in run for run in self.shapes)

    @property
    def first_sizes(self) -> Mapping[str, tuple[int, ...]]:
        """The inputs' shapes in the first run, if any of them is dynamic."""
        settled = self.settled
        return settled.trials[0].sizes if settled and settled.layout.symbols() else {}

    def value(self, tensor: str) -> NDArray[Any] | None:
        """The tensor's value where it is the same for every input, else None."""
        if tensor in self._cache:
            return self._cache[tensor]
        value = self._value(tensor)
        self._remember(tensor, value)
        return value

    def _remember(self, tensor: str, value: NDArray[Any] | None) -> None:
        if value is None or value.nbytes <= _CACHED << 4 * (tensor not in self.graph.initializers):
            self._cache[tensor] = value

    def _value(self, tensor: str) -> NDArray[Any] | None:
        if tensor in self.graph.initializers:
            return self.graph.array(tensor)
        seen = [run[tensor] for run in self.values if tensor in run]
        if seen and len(seen) == len(self.values) and all(_same(seen[0], v) for v in seen):
            return None if tensor in self.changing.entries else seen[0]
        if tensor in self.weights:
            return _evaluate(self, tensor)
        return None

    def partial(self, tensor: str) -> tuple[int | None, ...] | None:
        """The entries of an integer vector, None where one changes with the input's size."""
        value = self.value(tensor)
        if value is not None and value.ndim <= 1 and value.dtype.kind in "iu":
            return tuple(int(v) for v in value.reshape(-1))
        seen = [run[tensor] for run in self.values if tensor in run]
        if not seen or len({v.shape for v in seen}) != 1 or seen[0].ndim != 1:
            return None
        rows, moving = np.stack(seen), self.changing.entries.get(tensor)
        same = (rows == rows[0]).all(axis=0)
        fixed = same if moving is None else same & ~moving
        return tuple(int(n) if stays else None for n, stays in zip(rows[0], fixed, strict=True))

    def follows_from_shapes(self, tensor: str) -> bool:
        """Whether the tensor follows from constants and the inputs' sizes alone."""
        return tensor in self.by_shape

    def is_weight(self, tensor: str) -> bool:
        """Whether the tensor follows from initializers and Constant nodes alone."""
        return tensor in self.weights

    @cached_property
    def fullest(self) -> int:
        """The first of the runs in which the fewest tensors were empty (no detections, no past)."""
        empty = [sum(0 in shape for shape in run.values()) for run in self.shapes]
        return empty.index(min(empty)) if empty else 0


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b))


def _evaluate(facts: ModelFacts, tensor: str) -> NDArray[Any] | None:
    """Value of a tensor that follows from constants."""
    graph = facts.graph
    needed = _unevaluated(facts, tensor)
    readers = Counter(n for k in needed for n in set(graph.nodes[k].input))
    found: dict[str, NDArray[Any] | None] = {}
    for position in needed:
        node = graph.nodes[position]
        for name in node.input:
            if name and name not in found:
                found[name] = facts.value(name)
        made = _evaluate_node(node, {n: found[n] for n in node.input if n}, graph.opsets)
        for name in filter(None, node.output):
            found[name] = made.get(name)
            facts._remember(name, found[name])
        for name in set(node.input):  # a chain of large weights is not kept in memory as a whole
            readers[name] -= 1
            if not readers[name]:
                found.pop(name, None)
    return found[tensor]


def _unevaluated(facts: ModelFacts, tensor: str) -> list[int]:
    """Positions of the nodes that have to be evaluated for a tensor, in order.

    A walk, not a recursion: chains of constants can have as many links as a file has nodes.
    """
    graph, needed, pending = facts.graph, set[int](), [tensor]
    while pending:
        name = pending.pop()
        position = graph.producer.get(name)
        known = name != tensor and (name in facts._cache or any(name in v for v in facts.values))
        if position is None or position in needed or known:
            continue
        needed.add(position)
        pending.extend(n for n in graph.nodes[position].input if n)
    return sorted(needed)


def _evaluate_node(
    node: NodeProto, feeds: Mapping[str, NDArray[Any] | None], opsets: Mapping[str, int]
) -> Mapping[str, NDArray[Any] | None]:
    if node.op_type == "Constant":
        return {node.output[0]: node_constant(node)}
    known = {name: value for name, value in feeds.items() if value is not None}
    return evaluate(node, known, opsets) if len(known) == len(feeds) else {}


def require_run(graph: ModelGraph, facts: ModelFacts) -> None:
    """Run a model once: what is said to come from runs may have been inferred, for it is large.

    Raises:
        InputRefused: ONNX Runtime cannot run it.
    """
    config = SessionConfig(level=0)
    try:
        session = create_session(graph.proto, config, graph.base_dir)
        with patience(weight_bytes(graph)):
            session.run(None, dict(facts.feeds[0]))
    except RuntimeRefused as error:
        raise InputRefused(f"ONNX Runtime cannot run this model: {error}") from error
