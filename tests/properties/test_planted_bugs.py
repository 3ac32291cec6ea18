"""The test of the tests: ten bugs that pruning tools have had, each put in and each found.

A bug is planted in a rule or in the prune pass; then graphs are drawn until P1, P2 or P3 fails.
How many that took is printed (`pytest -s`, or `-rP`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis, Fact, Split, Tie
from onnxslim_snacs.ops import OPERATORS, concat, reshape
from onnxslim_snacs.ops.node import OpNode
from tests.properties.checks import Check, cut, p1_bit_equal, p2_close, p3_gather
from tests.properties.generator import sample

#: A bug that is not found in so many graphs is not found.
GRAPHS = 500
Patch = pytest.MonkeyPatch
Index = NDArray[np.int64]
#: (kept slots, extent) -> the wrong ones, as many.
Wrong = Callable[[Index, int], Index]
Suspect = Callable[[NodeProto], Iterable[int]]


@dataclass
class _Model:
    """The model that is being cut."""

    proto: ModelProto


@dataclass(frozen=True)
class Bug:
    """A bug and how to plant it."""

    name: str
    plant: Callable[[Patch, _Model], None]


def first_ones(kept: Index, extent: int) -> Index:
    """As if the tensor had been cut to length and not along the kept slots."""
    return np.arange(len(kept), dtype=np.int64)


def off_by_one(kept: Index, extent: int) -> Index:
    """The last kept slot is the one behind it."""
    shifted = kept.copy()
    shifted[-1] = (kept[-1] + 1) % extent
    return shifted


def cut_again(kept: Index, extent: int) -> Index:
    """The slots of the slots, as if a second reader had cut the tensor once more."""
    again: Index = np.take(kept, kept, mode="clip")
    return again


def of_any_shape(shape: tuple[int, ...]) -> bool:
    return True


def of_one_channel(shape: tuple[int, ...]) -> bool:
    """The weight of a depthwise convolution."""
    return len(shape) == 4 and shape[1] == 1


def cuts(
    suspects: Suspect, wrong: Wrong, shaped: Callable[[tuple[int, ...]], bool] = of_any_shape
) -> Callable[[Patch, _Model], None]:
    """Stored tensors that certain nodes read at certain inputs are cut along the wrong slots."""

    def plant(patch: Patch, model: _Model) -> None:
        def cut_array(keep: KeepMap, name: str, array: NDArray[Any]) -> NDArray[Any]:
            read = Counted(model.proto).positions(name)
            hit = shaped(array.shape) and any(k in suspects(node) for node, k in read)
            for dim in range(array.ndim):
                kept = keep.index(Axis(name, dim))
                if kept is not None:
                    index = wrong(kept, array.shape[dim]) if hit else kept
                    array = np.take(array, index, axis=dim)
            return array

        patch.setattr(KeepMap, "cut", cut_array)

    return plant


@dataclass(frozen=True)
class Counted:
    """Who reads a tensor."""

    proto: ModelProto

    def positions(self, name: str) -> list[tuple[NodeProto, int]]:
        return [(n, k) for n in self.proto.graph.node for k, i in enumerate(n.input) if i == name]


def inputs_of(*ops: str, at: tuple[int, ...]) -> Suspect:
    return lambda node: at if node.op_type in ops else ()


def grouped_weight(node: NodeProto) -> Iterable[int]:
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    return (1,) if node.op_type == "Conv" and group > 1 else ()


def shared_twice(patch: Patch, model: _Model) -> None:
    """A tensor with two readers is cut once for each of them."""

    def cut_array(keep: KeepMap, name: str, array: NDArray[Any]) -> NDArray[Any]:
        twice = len(Counted(model.proto).positions(name)) > 1
        for dim in range(array.ndim):
            kept = keep.index(Axis(name, dim))
            if kept is not None:
                index = cut_again(kept, array.shape[dim]) if twice else kept
                array = np.take(array, index, axis=dim)
        return array

    patch.setattr(KeepMap, "cut", cut_array)


def rewritten(op: str, change: Callable[[OpNode, Fact], Fact]) -> Callable[[Patch, _Model], None]:
    """The rule of an operator states something else."""

    def plant(patch: Patch, model: _Model) -> None:
        rule = OPERATORS[op]
        wrong = replace(rule, propagate=lambda n: [change(n, f) for f in rule.propagate(n)])
        patch.setitem(OPERATORS, op, wrong)

    return plant


def groups_inside_out(node: OpNode, fact: Fact) -> Fact:
    """A grouped convolution's output is (channels, groups) instead of (groups, channels)."""
    if isinstance(fact, Split) and fact.fine == node.out_axis(1):
        return replace(fact, factors=fact.factors[::-1])
    return fact


def concat_offset(patch: Patch, model: _Model) -> None:
    """The offsets of Concat count from the last input."""

    def propagate(node: OpNode) -> Iterable[Fact]:
        ties = list(concat.propagate_concat(node))
        axis = int(node.attr("axis", 0)) % len(node.out_shape() or ())
        total = (node.out_shape() or ())[axis] or 0
        for tie in ties:
            if isinstance(tie, Tie) and tie.ib is not None:
                yield replace(tie, ib=np.sort(total - 1 - tie.ib))
            else:
                yield tie

    patch.setitem(OPERATORS, "Concat", replace(OPERATORS["Concat"], propagate=propagate))


def flatten_stride(patch: Patch, model: _Model) -> None:
    """Merged axes count the channels as the fastest factor."""
    right = reshape._product

    def product(axis: Axis, parts: Any) -> Iterable[Fact]:
        for fact in right(axis, parts):
            yield replace(fact, factors=fact.factors[::-1]) if isinstance(fact, Split) else fact

    patch.setattr(reshape, "_product", product)


def gemm_not_transposed(patch: Patch, model: _Model) -> None:
    """`transB` is not looked at."""
    rule = OPERATORS["Gemm"]

    def propagate(node: OpNode) -> Iterable[Fact]:
        plain = NodeProto()
        plain.CopyFrom(node.proto)
        kept = [a for a in plain.attribute if a.name != "transB"]
        del plain.attribute[:]
        plain.attribute.extend([*kept, helper.make_attribute("transB", 0)])
        return rule.propagate(replace(node, proto=plain))

    patch.setitem(OPERATORS, "Gemm", replace(rule, propagate=propagate))


BUGS = (
    Bug("off-by-one keep index", cuts(inputs_of("Conv", "Gemm", "MatMul", at=(1,)), off_by_one)),
    Bug("bias not sliced", cuts(inputs_of("Conv", "Gemm", at=(2,)), first_ones)),
    Bug("BN mean not sliced", cuts(inputs_of("BatchNormalization", at=(3,)), first_ones)),
    Bug("concat offset", concat_offset),
    Bug("group conv", rewritten("Conv", groups_inside_out)),
    Bug("depthwise weight", cuts(grouped_weight, first_ones, of_one_channel)),
    Bug("flatten stride", flatten_stride),
    Bug("shared weight twice", shared_twice),
    Bug("transposed Gemm", gemm_not_transposed),
    Bug("PRelu slope", cuts(inputs_of("PRelu", at=(1,)), first_ones)),
)


def caught_after(model: _Model) -> tuple[int, str] | None:
    """How many graphs it takes until one fails, and how it fails; None if none does."""
    for number in range(GRAPHS):
        integer = number % 2 == 0
        checks: tuple[Check, ...] = (p1_bit_equal if integer else p2_close, p3_gather)
        one = sample(number // 2, integer)
        stage = "analysis"
        try:
            drawn = cut(one)
            model.proto = drawn.analysis.graph.proto
            for check in checks:
                stage = check.__name__
                check(drawn)
        except Exception as error:
            return number + 1, f"{stage}: {type(error).__name__} ({' '.join(one.families)})"
    return None


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_planted_bug_is_caught(bug: Bug, monkeypatch: Patch) -> None:
    model = _Model(ModelProto())
    bug.plant(monkeypatch, model)
    found = caught_after(model)
    assert found is not None, f"{bug.name}: not caught in {GRAPHS} graphs"
    print(f"{bug.name}: caught after {found[0]} graphs by {found[1]}")
