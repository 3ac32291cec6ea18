"""LSTM, GRU and RNN: the two products in their gates, each re-fitted by itself.

A gate adds W x + Wb and R h + Rb.  What the features of x that go have given is taken over by the
others in W' and Wb', what the hidden units that go have given in R' and Rb' (symmetric, with the
original's states as input).  In a GRU the reset gate stands between h and R of one gate; there the
fit is approximate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.layers.layers import stored
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.layers.rows import some_of
from onnxslim_snacs.layers.walk import Walk
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.recovery.effort import Effort
from onnxslim_snacs.recovery.gathered import Part, joined, rows_of_batch, wanted_rows
from onnxslim_snacs.recovery.regression import Regression
from onnxslim_snacs.recovery.solve import Affine

_OPERATORS = ("LSTM", "GRU", "RNN")
_W, _R, _B = 1, 2, 3


@dataclass(frozen=True, slots=True)
class GateTask:
    """One of the two products of a recurrent node.

    Attributes:
        name: of the node.
        op: its operator.
        out: the first output that it has.
        factor: position of the weights among its inputs: 1 for W, 2 for R.
        weight: their name.
        data: the tensor with which they are multiplied, (time, batch, features) for W,
            (time, directions, batch, units) for R, or with the batch first.
        batch_first: whether the batch comes first.
        full: (directions, features, gates x kept units) what the original multiplies with.
        now: what the cut model does; the bias is what is added to the present one.
    """

    name: str
    op: str
    out: str
    factor: int
    weight: str
    data: str
    batch_first: bool
    full: FloatArray
    now: Affine

    @property
    def scale(self) -> FloatArray:
        """(directions x gate rows,) ones: nothing stands between the product and its target."""
        return np.ones(self.now.bias.size)

    @property
    def target(self) -> str:
        """What the report calls the product."""
        return self.weight

    @property
    def wants(self) -> tuple[str, ...]:
        """The tensors of the original that the regression needs."""
        return (self.data,)

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors of the cut model that it needs."""
        return (self.data,) if self.factor == _W else ()


def find_gates(
    analysis: Analysis, keep: KeepMap, cut: ModelGraph, changed: set[str]
) -> Iterator[GateTask]:
    """The products of recurrent nodes that have lost features, or read others than before.

    Args:
        analysis: the original.
        keep: what the plan keeps.
        cut: the cut model.
        changed: tensors whose kept part has other values than in the original.
    """
    for node in analysis.nodes:
        outputs = [name for name in node.outputs if name in cut.producer]
        if node.op not in _OPERATORS or not outputs:
            continue
        new = cut.nodes[cut.producer[outputs[0]]]
        if new.op_type != node.op or list(new.input[:4]) != list(node.inputs[:4]):
            continue
        batch_first = any(a.name == "layout" and a.i == 1 for a in new.attribute)
        products = ((_W, node.inputs[0]), (_R, node.outputs[0]))
        for factor, tensor in products:
            if not tensor:
                continue
            axis = Axis(tensor, len(node.facts.shape(tensor) or ()) - 1)
            lost = keep.index(axis) is not None or (factor == _W and tensor in changed)
            full, now = node.in_value(factor), stored(cut, node.inputs[factor])
            if not lost or full is None or now is None:
                continue
            if _shared(cut, node.inputs[factor]) or not _has_bias(cut, list(new.input)):
                continue
            rows = keep.index(Axis(node.inputs[factor], 1))
            full = full if rows is None else full[:, rows]
            weight = now.astype(np.float64).transpose(0, 2, 1)
            yield GateTask(
                name=node.name,
                op=node.op,
                out=outputs[0],
                factor=factor,
                weight=node.inputs[factor],
                data=tensor,
                batch_first=batch_first,
                full=full.astype(np.float64).transpose(0, 2, 1),
                now=Affine(weight, np.zeros((weight.shape[0], weight.shape[2]))),
            )


def _shared(cut: ModelGraph, name: str) -> bool:
    return len(cut.consumers.get(name, ())) > 1


def _has_bias(cut: ModelGraph, inputs: list[str]) -> bool:
    return len(inputs) > _B and bool(inputs[_B]) and stored(cut, inputs[_B]) is not None


def gather_gate(
    task: GateTask,
    keep: KeepMap,
    original: Walk,
    present: Walk,
    rng: np.random.Generator,
    effort: Effort,
) -> Regression | None:
    """The regression of one product; a block for each direction."""
    directions, features, _ = task.now.weight.shape
    rows = wanted_rows(features, effort)
    cap = rows_of_batch(rows, directions * features, original.batches)
    return joined(_parts(task, keep, original, present, rng, cap), original.batches)


def _parts(
    task: GateTask,
    keep: KeepMap,
    original: Walk,
    present: Walk,
    rng: np.random.Generator,
    cap: int,
) -> Iterator[Part]:
    directions = len(task.full)
    nothing = np.zeros((directions, 1, task.full.shape[2]), dtype=np.float32)
    for number in range(original.batches):
        whole = np.asarray(original.live[task.data][number])
        if task.factor == _W:
            left = np.asarray(present.live[task.data][number])
            flat = [a.reshape(1, -1, a.shape[-1]) for a in (whole, left)]
        else:
            left = keep.cut(task.data, whole)
            axis = 2 if task.batch_first else 1
            turned = [np.moveaxis(a, axis, 0) for a in (whole, left)]
            flat = [a.reshape(directions, -1, a.shape[-1]) for a in turned]
        if flat[0].shape[1] != flat[1].shape[1]:
            continue  # a computed value says how many steps there are
        chosen = some_of(flat[0].shape[1], cap, rng)
        before, after = (a[:, chosen].astype(np.float32) for a in flat)
        x = np.ascontiguousarray(np.broadcast_to(after, (directions, *after.shape[1:])))
        yield x, before @ task.full.astype(np.float32), nothing
