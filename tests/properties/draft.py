"""A graph under construction: nodes, weights, and how large its numbers can become.

In integer mode every value that can arise is a multiple of 2^-bits below `bound`, and bound x
2^bits stays under 2^24: whatever the order of the sums, float32 is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]

#: Samples in every run.
BATCH = 2
#: Float32 holds every integer up to here.
EXACT = 2.0**24
#: Values that a contraction takes in; larger ones are clipped first.
CALM_BOUND, CALM_BITS = 16.0, 2


@dataclass(frozen=True)
class Flow:
    """A tensor on its way: (n, c, h, w), (n, t, c) or (n, c).

    Attributes:
        name: its name.
        shape: its shape for `BATCH` samples.
        bound: no element is larger in magnitude (integer mode).
        bits: every element is a multiple of 2^-bits (integer mode).
    """

    name: str
    shape: tuple[int, ...]
    bound: float = 0.0
    bits: int = 0

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def axis(self) -> int:
        """The channel axis."""
        return 1 if self.rank == 4 else self.rank - 1

    @property
    def channels(self) -> int:
        return self.shape[self.axis]

    def with_channels(self, count: int) -> tuple[int, ...]:
        """The shape with another number of channels."""
        return (*self.shape[: self.axis], count, *self.shape[self.axis + 1 :])


@dataclass
class Draft:
    """Everything that a builder adds to.

    Attributes:
        rng: where all choices come from.
        integer: whether weights and inputs are small integers.
        opset: version of ONNX's operators.
        symbolic: whether the batch is a named dynamic dimension.
    """

    rng: np.random.Generator
    integer: bool
    opset: int
    symbolic: bool
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, Array] = field(default_factory=dict)
    families: list[str] = field(default_factory=list)
    count: int = 0

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def node(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; the name of its output, or a list of them."""
        names = [self.name(op.lower()) for _ in range(outputs)]
        label = self.name(op) if self.chance(0.7) else ""
        self.nodes.append(helper.make_node(op, list(inputs), names, name=label, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array: Array, stem: str = "const") -> str:
        """A constant, as an initializer or as a Constant node."""
        if self.chance(0.25):
            return str(self.node("Constant", [], value=numpy_helper.from_array(np.asarray(array))))
        name = self.name(stem)
        self.initializers[name] = np.asarray(array)
        return name

    def ints(self, *values: int) -> str:
        """An int64 vector."""
        return self.constant(np.array(values, dtype=np.int64), "ints")

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, dtype=np.float32), "scalar")

    def follow(self, flow: Flow, name: str, **changes: Any) -> Flow:
        """The next tensor, whose numbers must stay exact."""
        after = replace(flow, name=name, **changes)
        if self.integer and after.bound * 2.0**after.bits >= EXACT:
            raise OverflowError(f"{name}: {after.bound:g} with {after.bits} fractional digits")
        return after

    def calm(self, flow: Flow, bound: float = CALM_BOUND, bits: int = CALM_BITS) -> Flow:
        """Round and clip numbers that would outgrow float32 (integer mode)."""
        if not self.integer:
            return flow
        if flow.bits > bits:
            flow = replace(flow, name=self.node("Floor", [flow.name]), bits=0)
        if flow.bound > bound:
            low, high = self.pick([(-4.0, 4.0), (-3.0, 5.0), (-6.0, 2.0)])
            name = self.node("Clip", [flow.name, self.scalar(low), self.scalar(high)])
            flow = replace(flow, name=name, bound=max(-low, high))
        return flow

    def numbers(self, shape: Sequence[int], scale: float = 1.0) -> Array:
        """Weights: integers of magnitude 1 or 2, or normally distributed."""
        if self.integer:
            return self.rng.choice(np.array([-2, -1, 1, 2], dtype=np.float32), size=tuple(shape))
        return (self.rng.standard_normal(tuple(shape)) * scale).astype(np.float32)

    def weight(
        self, shape: Sequence[int], summed: Sequence[int], *, levels: bool = False
    ) -> tuple[str, float]:
        """A weight, stored in one of many ways, and the most that it magnifies its input.

        Args:
            shape: its shape.
            summed: the axes over which products with it are summed.
            levels: whether it may be stored in 8 bits.
        """
        fan_in = max(1, int(np.prod([shape[a] for a in summed])))
        array = self.numbers(shape, fan_in**-0.5)
        return self.stored(array, levels=levels), float(np.abs(array).sum(axis=tuple(summed)).max())

    def stored(self, array: Array, *, levels: bool = False) -> str:
        """An array as exporters store it: plain, or behind nodes that make it.

        In 8 bits only on demand: from level 2 on, ONNX Runtime makes a product of quantised numbers
        out of MatMul with such a weight, which is not exact.
        """
        way = self.pick(["plain"] * 7 + ["identity", "transpose", "reshape", "double", "levels"])
        if way == "identity":
            return str(self.node("Identity", [self.constant(array, "weight")]))
        if way == "transpose" and array.ndim > 1:
            perm = [int(p) for p in self.rng.permutation(array.ndim)]
            back = [int(p) for p in np.argsort(perm)]
            moved = np.ascontiguousarray(array.transpose(perm))
            return str(self.node("Transpose", [self.constant(moved, "weight")], perm=back))
        if way == "reshape":
            flat = self.constant(array.reshape(array.shape[0], -1), "weight")
            return str(self.node("Reshape", [flat, self.ints(*array.shape)]))
        if way == "double":
            double = self.constant(array.astype(np.float64), "weight")
            return str(self.node("Cast", [double], to=TensorProto.FLOAT))
        if way == "levels" and levels and self.integer and self.opset >= 13:
            return self._levels(array)
        return self.constant(array, "weight")

    def _levels(self, array: Array) -> str:
        """8-bit integers with one scale for all, or one for each slot of an axis."""
        axis = int(self.rng.integers(array.ndim))
        one = self.chance(0.5)
        shape: tuple[int, ...] = () if one else (array.shape[axis],)
        scale = np.asarray(self.rng.choice([1.0, 0.5], size=shape), dtype=np.float32)
        spread = scale.reshape([-1 if d == axis and not one else 1 for d in range(array.ndim)])
        levels = self.constant((array / spread).astype(np.int8), "levels")
        inputs = [levels, self.constant(scale, "scale")]
        if self.chance(0.5):
            inputs.append(self.constant(np.zeros(shape, dtype=np.int8), "zero"))
        kind = {} if one else {"axis": axis}
        return str(self.node("DequantizeLinear", inputs, **kind))

    def vector(self, flow: Flow, values: Array | None = None) -> tuple[str, float]:
        """A number for each channel, shaped to be broadcast to the flow, and the largest."""
        size = flow.channels
        array = self.numbers((size,)) if values is None else values
        largest = float(np.abs(array).max())
        if flow.rank != 4:
            shape = self.pick([(size,), (1, size)] + [(1, 1, size)] * (flow.rank == 3))
            return self.stored(array.reshape(shape)), largest
        way = self.pick(["plain", "plain", "unsqueeze", "reshape"])
        if way == "unsqueeze":
            return self.unsqueeze(self.constant(array, "vector"), [1, 2]), largest
        if way == "reshape":
            return self.node("Reshape", [self.constant(array), self.ints(1, -1, 1, 1)]), largest
        return self.constant(array.reshape(self.pick([(size, 1, 1), (1, size, 1, 1)]))), largest

    def unsqueeze(self, name: str, axes: Sequence[int]) -> str:
        if self.opset < 13:
            return str(self.node("Unsqueeze", [name], axes=list(axes)))
        return str(self.node("Unsqueeze", [name, self.ints(*axes)]))

    def squeeze(self, name: str, axes: Sequence[int]) -> str:
        if self.opset < 13:
            return str(self.node("Squeeze", [name], axes=list(axes)))
        return str(self.node("Squeeze", [name, self.ints(*axes)]))

    def reduce(self, op: str, name: str, axes: Sequence[int], keepdims: int) -> str:
        """A reduction; its axes are an input since opset 13 (ReduceSum) or 18 (the others)."""
        if self.opset >= (13 if op == "ReduceSum" else 18):
            return str(self.node(op, [name, self.ints(*axes)], keepdims=keepdims))
        return str(self.node(op, [name], axes=list(axes), keepdims=keepdims))

    def split(self, name: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Split in the forms of all opsets."""
        even, count = len(set(sizes)) == 1, len(sizes)
        if even and self.chance(0.5):
            extra = {"num_outputs": count} if self.opset >= 18 else {}
            return list(self.node("Split", [name], count, axis=axis, **extra))
        if self.opset < 13:
            return list(self.node("Split", [name], count, axis=axis, split=list(sizes)))
        return list(self.node("Split", [name, self.ints(*sizes)], count, axis=axis))

    def slice(self, name: str, axis: int, start: int, end: int, step: int = 1) -> str:
        operands = [self.ints(start), self.ints(end), self.ints(axis)]
        if step != 1 or self.chance(0.2):
            operands.append(self.ints(step))
        return str(self.node("Slice", [name, *operands]))

    def reshape(self, name: str, shape: Sequence[int], source: str | None = None) -> str:
        """Reshape to (batch, ...), the extents spelled out, inferred, copied or computed.

        Args:
            name: what is reshaped.
            shape: the new shape for `BATCH` samples, the batch first.
            source: a tensor from whose first extent the batch may be read.
        """
        rest = list(shape[1:])
        if self.chance(0.4) and rest:
            rest[int(self.rng.integers(len(rest)))] = -1
        if self.chance(0.3):
            extents = self.node("Shape", [source or name])
            batch = self.node("Gather", [extents, self.ints(0)], axis=0)
            target = self.node("Concat", [batch, self.ints(*rest)], axis=0)
        elif not self.symbolic and self.chance(0.5):
            target = self.ints(shape[0], *rest)
        elif -1 in rest or self.chance(0.5):
            target = self.ints(0, *rest)
        else:
            target = self.ints(-1, *rest)
        return str(self.node("Reshape", [name, target]))


def finished(draft: Draft, inputs: Sequence[Flow], outputs: Sequence[Flow]) -> ModelProto:
    """The model that a draft has become."""

    def info(flow: Flow) -> Any:
        batch: str | int = "N" if draft.symbolic else BATCH
        return helper.make_tensor_value_info(flow.name, TensorProto.FLOAT, [batch, *flow.shape[1:]])

    opset = helper.make_opsetid("", draft.opset)
    tensors = [numpy_helper.from_array(a, name) for name, a in draft.initializers.items()]
    graph = helper.make_graph(
        draft.nodes, "generated", list(map(info, inputs)), list(map(info, outputs)), tensors
    )
    version = {11: 6, 13: 7, 17: 8, 18: 8, 21: 10}[draft.opset]
    model = helper.make_model(graph, opset_imports=[opset], ir_version=version)
    model.doc_string = "made by the generator"
    helper.set_model_props(model, {"families": " ".join(draft.families)})
    return model
