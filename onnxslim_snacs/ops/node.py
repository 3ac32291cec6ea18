"""What an operator rule sees of a node, and the edits with which it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxslim_snacs.ir.types import Axis, IntArray
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.sizes import Shape

#: What a rule raises at shapes that its operator could never have.
MISFITS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class OpNode:
    """A node with what is known of its surroundings.

    Attributes:
        key: unique within the model, made from the node's position; never shown.
        proto: the node; not to be changed.
        facts: shapes and values of its tensors.
        opset: version of the node's operator set.
        allow_inexact: whether normalisations may lose channels (`--allow-inexact`).
        fed_back: positions of outputs that are states which come in again with the next call.
    """

    key: str
    proto: NodeProto
    facts: ModelFacts
    opset: int
    allow_inexact: bool = False
    fed_back: frozenset[int] = frozenset()

    @property
    def op(self) -> str:
        """Operator type, with its domain unless it is ONNX's own."""
        return op_key(self.proto)

    @property
    def name(self) -> str:
        """The node's name, or the first output's where it has none."""
        return self.proto.name or next((o for o in self.proto.output if o), self.key)

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the inputs; "" for one that is left out."""
        names: Sequence[str] = self.proto.input
        return names

    @property
    def outputs(self) -> Sequence[str]:
        """Names of the outputs; "" for one that is left out."""
        names: Sequence[str] = self.proto.output
        return names

    @property
    def is_shaped(self) -> bool:
        """Whether the shapes of all operands and results are known."""
        return all(
            self.facts.shape(name) is not None for name in (*self.inputs, *self.outputs) if name
        )

    def has_input(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.proto.input) and self.proto.input[index] != ""

    def attr(self, name: str, default: Any = None) -> Any:
        """Value of an attribute, or `default`."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def in_shape(self, index: int) -> Shape | None:
        """Shape of input `index`, None if unknown or left out."""
        return self.facts.shape(self.proto.input[index]) if self.has_input(index) else None

    def out_shape(self, index: int = 0) -> Shape | None:
        """Shape of output `index`, None if unknown."""
        return self.facts.shape(self.proto.output[index])

    def in_value(self, index: int) -> NDArray[Any] | None:
        """Value of input `index` where it is constant, else None."""
        return self.facts.value(self.proto.input[index]) if self.has_input(index) else None

    def in_axis(self, index: int, dim: int) -> Axis:
        """The axis `dim` (counted from 0, or from the end if negative) of input `index`."""
        return _axis(self.proto.input[index], dim, self.in_shape(index))

    def out_axis(self, dim: int, index: int = 0) -> Axis:
        """The axis `dim` of output `index`."""
        return _axis(self.proto.output[index], dim, self.out_shape(index))


def _axis(tensor: str, dim: int, shape: Shape | None) -> Axis:
    if dim < 0:
        if shape is None:
            raise ValueError(f"axis {dim} of {tensor!r}: its rank is not known")
        dim += len(shape)
    return Axis(tensor, dim)


def op_key(proto: NodeProto) -> str:
    """Operator type, with its domain unless it is ONNX's own."""
    return proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}::{proto.op_type}"


class Keep(Protocol):
    """Which slots stay, as the plan says."""

    def index(self, axis: Axis) -> IntArray | None:
        """The kept slots of an axis in ascending order; None if all are kept."""

    def extent(self, axis: Axis, before: int) -> int:
        """How many of the `before` slots are kept."""

    def scale(self, axis: Axis) -> tuple[int, int] | None:
        """(kept, period) for an axis with a period that loses slots, else None."""


@dataclass(frozen=True, slots=True)
class SetAttribute:
    """Give an attribute of the node a new value (None takes the attribute away)."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class SetInput:
    """Replace a constant input of the node by another value."""

    index: int
    value: NDArray[Any]


@dataclass(frozen=True, slots=True)
class SetDims:
    """Replace entries of a shape-like input (Reshape, Expand ...) that may be partly dynamic.

    Attributes:
        index: position of the input.
        entries: position within the vector -> the new number.
        scales: position within the vector -> (a, b): what stands there at run time times a / b.
        reshape: 0 and -1 have the meaning that they have for Reshape.
    """

    index: int
    entries: Mapping[int, int]
    scales: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    reshape: bool = False


@dataclass(frozen=True, slots=True)
class ReplaceNode:
    """Replace the node by others that write the same outputs.

    Attributes:
        nodes: the new nodes.
        initializers: the constants that they need, by name; names that begin with the name of the
            node's first output are free.
    """

    nodes: tuple[NodeProto, ...]
    initializers: Mapping[str, NDArray[Any]] = field(default_factory=dict)


Edit = SetAttribute | SetInput | SetDims | ReplaceNode


def known(shape: Shape | None) -> Shape:
    """The shape, which the caller has made sure is known.

    Raises:
        ValueError: it is not; `MISFITS` are caught where rules are asked.
    """
    if shape is None:
        raise ValueError("the shape is not known")
    return shape


def arange(start: int, stop: int) -> IntArray:
    """Indices start, start + 1, ..., stop - 1."""
    return np.arange(start, stop, dtype=np.int64)
