"""The words of the dependency IR.  They know nothing of operators.

An *axis* is one dimension of one tensor; a *slot* is one index on it.  Operators say four things
about slots: a `Tie` (these live or die together), a `Pin` (these may never go), a `Split` (one axis
is the row-major product of several) and a `Sink` (here the axis is summed over, so that a slot of
zeros is as good as no slot).  `Inexact` and `Blank` tell the proof of what is neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Axis(NamedTuple):
    """One dimension of one tensor.

    Attributes:
        tensor: the tensor's name; a *virtual* axis (the groups of a convolution, the hidden units
            of an LSTM) carries a name that no tensor of a model can have, see `virtual_axis`.
        dim: the dimension, counted from 0.
    """

    tensor: str
    dim: int

    def __str__(self) -> str:
        if is_virtual(self):
            return f"{role_of(self)} of {node_of(self)}"
        return f"{self.tensor}[{self.dim}]"


def virtual_axis(node_key: str, role: str) -> Axis:
    """An axis that belongs to a node and to no tensor, e.g. the groups of a convolution."""
    return Axis(f"\0{node_key}\0{role}", 0)


def is_virtual(axis: Axis) -> bool:
    """Whether the axis belongs to a node and to no tensor."""
    return axis.tensor.startswith("\0")


def node_of(axis: Axis) -> str:
    """The key of the node to which a virtual axis belongs."""
    return axis.tensor.split("\0")[1]


def role_of(axis: Axis) -> str:
    """What a virtual axis counts."""
    return axis.tensor.split("\0")[2]


@dataclass(frozen=True, slots=True)
class Extent:
    """Declares a virtual axis and how many slots it has."""

    axis: Axis
    size: int


@dataclass(frozen=True, slots=True)
class Period:
    """Declares that an axis whose extent changes with the input is a whole multiple of `size`.

    Where it is sound, the axis gets `size` slots: slot s stands for all indices i with i mod size
    = s (batch x heads).
    """

    axis: Axis
    size: int


@dataclass(frozen=True, slots=True)
class Tie:
    """Slot `a[ia[k]]` and slot `b[ib[k]]` live or die together, for every k.

    `None` for an index stands for all slots of the axis in order.
    """

    a: Axis
    b: Axis
    ia: IntArray | None = None
    ib: IntArray | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """Slots that may never be removed.

    Attributes:
        axis: where they lie.
        reason: why, as a sentence for the user.
        index: which slots; None for all.
        structural: the axis is no channel axis by its nature (pixels, taps, time steps), so that
            nobody is told of the pin unless he asks.
    """

    axis: Axis
    reason: str
    index: IntArray | None = None
    structural: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """Axis `fine` is the row-major product of the axes `factors`, the slowest first.

    What is kept of `fine` has to be the outer product of what is kept of its factors.
    """

    fine: Axis
    factors: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Sink:
    """An axis of one input of a node is summed over: a removed slot counts as zero there.

    Attributes:
        axis: the summed axis of the input `input`; the proof puts zeros at its removed slots.
        input: the position of that input among the node's inputs.
        weight: the axis of the other operand that runs along with it, if there is one.
        weight_input: the position of that operand.
        weight_out: the axis of that operand that makes the node's output channels.
        out: the output's channel axis.
        groups: how many blocks the summed axis falls into (grouped convolution).
        ranged: what the node also takes from all slots of the axis, so that a cut changes it: a
            sentence for the user, "" if nothing.
        on_weight: the proof's zeros go onto the weight, for what stands for zero in the data is not
            known (a zero point).
        zero: the tensor with the one number that stands for zero, "" where that is 0.
    """

    axis: Axis
    input: int
    weight: Axis | None = None
    weight_input: int | None = None
    weight_out: Axis | None = None
    out: Axis | None = None
    groups: int = 1
    ranged: str = ""
    on_weight: bool = False
    zero: str = ""

    @property
    def zeros(self) -> tuple[Axis, int]:
        """The axis at whose removed slots zeros are put, and the position of its input."""
        if self.on_weight and self.weight is not None and self.weight_input is not None:
            return self.weight, self.weight_input
        return self.axis, self.input


@dataclass(frozen=True, slots=True)
class Blank:
    """An output keeps its extent although slots go: it holds zeros in their places.

    Attributes:
        axis: the axis of the node that loses slots.
        output: the position of the output among the node's outputs.
        dim: the dimension of the output along which the slots lie, from the end if negative.
    """

    axis: Axis
    output: int
    dim: int


@dataclass(frozen=True, slots=True)
class Inexact:
    """Statistics are taken over an axis: what the node says of the rest changes with a cut.

    The proof shows the node of the original the kept slots alone, and spreads what it says of them.

    Attributes:
        axis: the axis of which the statistics skip slots, virtual or not.
        reason: what changes, as a sentence for the user.
        inputs: (position of an input, dimension) of every axis of an input that runs along.
        outputs: the same for the outputs.
        index: for each slot of those axes its slot of `axis`; None where they are the same.
    """

    axis: Axis
    reason: str
    inputs: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[int, int], ...] = ()
    index: IntArray | None = None


Fact = Extent | Period | Tie | Pin | Split | Sink | Blank | Inexact


def axes_of(fact: Fact) -> tuple[Axis, ...]:
    """The axes of which a fact speaks."""
    if isinstance(fact, Tie):
        return (fact.a, fact.b)
    if isinstance(fact, Split):
        return (fact.fine, *fact.factors)
    return (fact.axis,)


@dataclass(frozen=True, slots=True)
class InexactNode:
    """A node of which a cut changes what it computes for the rest, for the report.

    Attributes:
        node: its name.
        op: its operator type.
        axis: the axis over which it takes statistics.
        reason: one sentence.
    """

    node: str
    op: str
    axis: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stated:
    """A fact and who stated it.

    Attributes:
        node: position of the node among the nodes; -1 for the graph itself.
        name: its name for the user.
        op: its operator type.
        fact: the fact.
    """

    node: int
    name: str
    op: str
    fact: Fact


@dataclass(frozen=True, slots=True)
class PinReason:
    """Why something cannot be pruned, for the report.

    Attributes:
        node: name of the node (or "graph") that pins.
        op: its operator type.
        axis: the axis on which the pin lies.
        reason: one sentence.
    """

    node: str
    op: str
    axis: str
    reason: str


@dataclass(frozen=True, slots=True)
class GroupAxis:
    """The part of a group that lies on one axis.

    Attributes:
        axis: the axis.
        index: (units, multiplicity) the slots of each unit on that axis.
    """

    axis: Axis
    index: IntArray


@dataclass(frozen=True, slots=True)
class Group:
    """Units that lie on the same axes in the same way, so that they can be ranked together.

    Attributes:
        id: stable name, "g" and a running number in graph order.
        label: the axis that a person would name it by.
        units: how many units it has.
        members: one entry for each axis on which its units lie.
    """

    id: str
    label: str
    units: int
    members: tuple[GroupAxis, ...]

    def on(self, axis: Axis) -> IntArray | None:
        """The (units, multiplicity) slots of this group on `axis`, or None."""
        for member in self.members:
            if member.axis == axis:
                return member.index
        return None
