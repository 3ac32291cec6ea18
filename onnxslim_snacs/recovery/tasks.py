"""Which layers are corrected, in which order, and at what each of them aims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onnxslim_snacs.layers.layers import Layer, NotFitted
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.layers.tail import Tail, follow, runs_into_sum
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.pieces import reads
from onnxslim_snacs.recovery.affine import alpha, read_affine
from onnxslim_snacs.recovery.bilinear import Partner
from onnxslim_snacs.recovery.solve import Affine


@dataclass(frozen=True, slots=True)
class Task:
    """A layer to correct.

    Attributes:
        layer: the layer.
        tail: what follows it, up to the tensor at which it aims.
        now: what it computes.
        wide: whether the regression sees the layer's input, or only its own output.
        partner: what its output is multiplied with, if that has lost dimensions.
    """

    layer: Layer
    tail: Tail
    now: Affine
    wide: bool
    partner: Partner | None = None

    @property
    def name(self) -> str:
        """The name of its node."""
        return self.layer.name

    @property
    def op(self) -> str:
        """The operator of its node."""
        return self.layer.op

    @property
    def scale(self) -> FloatArray:
        """(outputs,) by what each output is multiplied before it meets the target."""
        return self.tail.scale

    @property
    def target(self) -> str:
        """The tensor of the original at which the layer aims."""
        if self.partner is not None:
            return self.tail.end
        return self.tail.total or self.layer.out

    @property
    def wants(self) -> tuple[str, ...]:
        """The tensors of the original that the regression needs."""
        return (self.target,) if self.partner is None else (self.target, self.partner.tensor)

    @property
    def reads(self) -> tuple[str, ...]:
        """The tensors of the cut model that the regression needs."""
        partner = None if self.partner is None else self.partner.tensor
        return (self.layer.data, *(n for n in (self.tail.other, partner) if n is not None))


def make_tasks(
    cut: ModelGraph,
    facts: ModelFacts,
    found: Iterable[Layer | NotFitted],
    *,
    wide: bool,
    sums: bool,
    partners: Mapping[str, Partner] | None = None,
) -> list[Task | NotFitted]:
    """Settle for each layer at what it aims.

    Args:
        cut: the cut model.
        facts: shapes of the original's tensors, which tell what is spread over a batch.
        found: its layers in order.
        wide: whether the regressions may see the layers' inputs.
        sums: whether a layer may aim at the sum into which it runs.
        partners: output of a layer -> what it is multiplied with, where that has lost dimensions.
    """
    layers = list(found)
    later = {layer.position for layer in layers if isinstance(layer, Layer)}
    tasks: list[Task | NotFitted] = []
    for layer in layers:
        if isinstance(layer, NotFitted):
            tasks.append(layer)
            continue
        now = read_affine(cut, layer)
        if now is None or alpha(layer, cut.nodes[layer.position]) == 0:
            reason = "its bias is computed, or differs along more than its channels"
            tasks.append(NotFitted(layer.name, layer.op, reason))
            continue
        tail = follow(cut, layer)
        partner = (partners or {}).get(layer.out)
        if partner is not None:
            tail = tail.alone
        alone = not sums or not runs_into_sum(facts, layer, tail)
        if tail.other is not None and (alone or not _is_there(cut, layer, tail.other, later)):
            tail = tail.alone
        tasks.append(Task(layer, tail, now, wide, partner))
        later.discard(layer.position)
    return tasks


def _is_there(cut: ModelGraph, layer: Layer, other: str, later: set[int]) -> bool:
    """Whether the other operand of a sum follows from layers that are corrected before."""
    start = cut.producer.get(other)
    if start is None:
        return other in cut.inputs
    stack, seen = [start], set[int]()
    while stack:
        position = stack.pop()
        if position in later:
            return False
        if position < layer.position or position in seen:
            continue  # the nodes are in order: nothing before the layer depends on it
        seen.add(position)
        sources = (cut.producer.get(name) for name in reads(cut.nodes[position]))
        stack.extend(source for source in sources if source is not None)
    return True
