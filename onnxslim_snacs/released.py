"""SNACS as its authors' code has it, end to end: the reference to put beside the other runs.

Connections become zero in a model of unchanged shape.  What nothing reads any more after that is
cut, which changes no result; the released code only counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from onnxslim_snacs.activations.sources import open_source
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.errors import NothingToPrune, UsageError, foreign
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.ir.types import BoolArray
from onnxslim_snacs.judge import Judge, split_source
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, resolve_provider
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.outcome import Clock, Compressed
from onnxslim_snacs.outputs import Outputs
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.passes.zero_connections import zero_connections
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.plan.dead import without_dead_units
from onnxslim_snacs.plan.plan import make_plan
from onnxslim_snacs.progress import Progress, silent
from onnxslim_snacs.refusals import require_runnable
from onnxslim_snacs.report.make import make_report, warnings_of
from onnxslim_snacs.scores.criterion import ScoreContext
from onnxslim_snacs.scores.snacs.released import (
    Released,
    ReleasedLayer,
    decide_connections,
    retained,
    score_connections,
)
from onnxslim_snacs.verify import prove, require

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


def compress_as_released(
    path: Path | str,
    config: CompressConfig,
    *,
    out: Path | str | None = None,
    plan_out: Path | str | None = None,
    report_out: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Compressed:
    """As `pipeline.compress`; `--target params=` is the share of connection weights to keep.

    Raises:
        UsageError: an option that is about units.
        SnacsError: as there.
    """
    check_released(config, plan_out)
    session = SessionConfig(resolve_provider(config.provider), config.threads)
    clock = Clock()
    with clock.stage("load"):
        graph = load_model(Path(path))
        outputs = Outputs.of(path, out, None, report_out, overwrite=overwrite)
    with clock.stage("analyse"):
        analysis = analyse(graph, input_shapes=config.data.input_shapes)
        require_runnable(analysis, "--as-released")
    with clock.stage("data"):
        source = open_source(config.data, graph, seed=config.seed)
        scoring, judging = split_source(source)
    with clock.stage("score"):
        context = ScoreContext(analysis, scoring, session, config.seed, progress)
        scored = score_connections(context, groups=config.groups)
    judge = Judge(analysis, judging, session)
    with clock.stage("decide"):
        masks = decide_masks(config, analysis, scored, judge)
    with clock.stage("prune"):
        zeroed = ModelGraph(masked(analysis, scored.layers, masks.goes), graph.base_dir)
        whole = analyse(zeroed, input_shapes=config.data.input_shapes)
        kept = without_dead_units(whole)
        keep = keep_map(whole.ir, kept)
        model = prune(whole, keep)
    with clock.stage("proof"):
        proof = prove(whole, keep, model, threads=config.threads)
        require(proof)
    with clock.stage("drift"):
        moved = judge.drift(model)
    plan = make_plan(graph, whole.ir, kept, allow_inexact=False)
    report = make_report(whole, cost_model(whole), keep, proof, moved, path=str(path), out=out)
    dead = sum(int((~stays).sum()) for stays in kept.values())
    report = replace(
        report,
        criterion=config.criterion,
        notes={**report.notes, "as_released": _notes(config, scored, masks, dead)},
        warnings=warnings_of(source, analysis),
        timings=clock.seconds,
        provider=session.provider,
        seed=config.seed,
    )
    progress("write", 0, 1)
    with clock.stage("write"):
        outputs.write(model, plan, report, graph.base_dir)
    return Compressed(model, plan, report)


def check_released(config: CompressConfig, plan_out: Path | str | None) -> None:
    """Refuse what has no meaning for connections.

    Raises:
        UsageError: naming the option.
    """
    refused = {
        "--ratio": config.ratio is not None,
        "--protect": bool(config.protect),
        "--multiple-of": config.multiple_of != 1,
        "--allow-inexact": config.allow_inexact,
        "--plan-out": plan_out is not None,
        "--target " + " ".join(config.target): bool(set(config.target) - {"params"}),
    }
    for option, given in refused.items():
        if given:
            raise UsageError(
                f"{option} is about units; --as-released removes connections, and knows "
                "--target params=... (share of their weights to keep), --auto and --groups"
            )


def masked(
    analysis: Analysis, layers: Sequence[ReleasedLayer], goes: Sequence[BoolArray]
) -> ModelProto:
    """The model with a decision's zeros."""
    by_node = {layer.pair.child.node: m for layer, m in zip(layers, goes, strict=True)}
    return zero_connections(analysis, by_node)


def decide_masks(
    config: CompressConfig, analysis: Analysis, scored: Released, judge: Judge
) -> Masks:
    """The mildest decision within the budget, or the deepest with a tolerated drop.

    Raises:
        NothingToPrune: the limits keep more than the budget allows, or every cut drops too much.
    """
    layers = scored.layers
    if config.target:
        return _by_budget(layers, config.target["params"])
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


def _notes(config: CompressConfig, scored: Released, masks: Masks, dead: int) -> dict[str, Any]:
    layers = [
        {
            "layer": foreign(layer.pair.child.name),
            "parent": foreign(layer.pair.parent.name),
            "connections": layer.rho.size,
            "limit": layer.limit,
            "retained": float(1.0 - np.mean(goes)),
            "dead_parents": int(goes.all(axis=0).sum()),
            **asdict(layer.scores.quality),
        }
        for layer, goes in zip(scored.layers, masks.goes, strict=True)
    ]
    return {
        "groups": config.groups,
        "cutoff_share": masks.share,
        "retained": masks.kept,
        "units_without_readers": dead,
        "tried": [{"share": share, "drop": drop} for share, drop in masks.tried],
        "layers": layers,
        "skipped": scored.skipped,
    }
