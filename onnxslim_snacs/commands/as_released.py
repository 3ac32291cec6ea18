"""SNACS as its authors' code has it, end to end: the reference to put beside the other runs.

Connections become zero in a model of unchanged shape.  What nothing reads any more after that is
cut, which changes no result; the released code only counts it.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim_snacs.activations.sources import open_source
from onnxslim_snacs.commands.outputs import Outputs
from onnxslim_snacs.commands.refusals import require_runnable
from onnxslim_snacs.commands.work import Compressed
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.decide.dead import without_dead_units
from onnxslim_snacs.decide.masks import Masks, decide_masks, masked
from onnxslim_snacs.errors import UsageError, foreign
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.judge.judge import Judge, split_source
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, resolve_provider
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.plan.plan import make_plan
from onnxslim_snacs.progress import Clock, Progress, silent
from onnxslim_snacs.proof.prove import prove, require
from onnxslim_snacs.report.make import make_report, warnings_of
from onnxslim_snacs.scores.criterion import ScoreContext
from onnxslim_snacs.scores.snacs.released import (
    Released,
    score_connections,
)


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
