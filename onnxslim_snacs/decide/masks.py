"""Which connections go: the released code's decision, by budget or by the tolerated drop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

from onnxslim_snacs.config import ReleasedConfig
from onnxslim_snacs.errors import NothingToPrune
from onnxslim_snacs.ir.types import BoolArray
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.zero_connections import zero_connections
from onnxslim_snacs.scores.snacs.connections import (
    Released,
    ReleasedLayer,
    decide_connections,
    retained,
)

_STEPS = 9


@dataclass(frozen=True, slots=True)
class Masks:
    """A decision on connections.

    Attributes:
        goes: for each scored layer what goes, axes (child, channel that the child reads).
        share: place of the cutoff among all distinct scores.
        kept: share of the scored layers' weights that stays.
        tried: (share, drop) of the automatic decision's attempts.
    """

    goes: tuple[BoolArray, ...]
    share: float
    kept: float
    tried: tuple[tuple[float, float], ...] = ()


def masked(
    analysis: Analysis, layers: Sequence[ReleasedLayer], goes: Sequence[BoolArray]
) -> ModelProto:
    """The model with a decision's zeros.

    Args:
        analysis: the model.
        layers: the layers whose connections were scored.
        goes: which of each go, (children, parents).
    """
    by_node = {layer.pair.child.node: m for layer, m in zip(layers, goes, strict=True)}
    return zero_connections(analysis, by_node)


def decide_masks(
    config: ReleasedConfig, analysis: Analysis, scored: Released, judge: Judge
) -> Masks:
    """The mildest decision within the budget, or the deepest with a tolerated drop.

    Args:
        config: the budget, or the drop that is tolerated.
        analysis: the model.
        scored: connections of all layers with their scores.
        judge: compares with the original.

    Raises:
        NothingToPrune: the limits keep more than the budget allows, or every cut drops too much.
    """
    layers = scored.layers
    if config.params is not None:
        return _by_budget(layers, config.params)
    tried: list[tuple[float, float]] = []

    def tolerated(share: float) -> bool:
        loss = judge.drift(masked(analysis, layers, decide_connections(layers, share))).drop
        tried.append((share, loss))
        return loss <= config.max_drop

    share = 1.0 if tolerated(1.0) else _last(tolerated)
    goes = decide_connections(layers, share)
    if not any(mask.any() for mask in goes):
        least, drop = min(tried)
        raise NothingToPrune(
            f"--max-drop {config.max_drop:g} lets nothing go: a cutoff at {100 * least:.2f} % of "
            f"the scores drops {drop:.4f}; allow more, or give a --target"
        )
    return Masks(tuple(goes), share, retained(layers, goes), tuple(tried))


def _last(tolerated: Any) -> float:
    """The largest share that is tolerated, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if tolerated(middle) else (low, middle)
    return low


def _by_budget(layers: Sequence[ReleasedLayer], target: float) -> Masks:
    deepest = decide_connections(layers, 1.0)
    least = retained(layers, deepest)
    if least > target:
        raise NothingToPrune(
            f"--target params={target:g} cannot be met: at the limits of all layers, "
            f"params={-(-least // 1e-4) * 1e-4:.4f} of the connections' weights are left"
        )
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        within = retained(layers, decide_connections(layers, middle)) <= target
        low, high = (low, middle) if within else (middle, high)
    goes = decide_connections(layers, high)
    return Masks(tuple(goes), high, retained(layers, goes))
