"""SNACS as its authors' code has it, end to end: the reference to put beside the other runs.

Connections become zero in a model of unchanged shape.  What nothing reads any more after that is
cut, which changes no result; the released code only counts it.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim_snacs.activations.distinct import require_different
from onnxslim_snacs.activations.open_data import files_of
from onnxslim_snacs.activations.samples import split
from onnxslim_snacs.arithmetic.current import left_on_processor
from onnxslim_snacs.commands.computes import computes
from onnxslim_snacs.commands.naming import names_file
from onnxslim_snacs.commands.outputs import Outputs, Told, nobody
from onnxslim_snacs.commands.refusals import require_runnable
from onnxslim_snacs.commands.sampled import named_samples, settled_samples
from onnxslim_snacs.commands.start import Compressed, Setup, open_work
from onnxslim_snacs.config import ReleasedConfig
from onnxslim_snacs.config.fields import checked
from onnxslim_snacs.decide.dead import without_dead_units
from onnxslim_snacs.decide.masks import Masks, decide_masks, masked
from onnxslim_snacs.decide.rank import score_context
from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.judge.judge import open_judge
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.plan.plan import make_plan
from onnxslim_snacs.progress import Clock, Progress, silent
from onnxslim_snacs.proof.prove import prove_cut
from onnxslim_snacs.report.make import asked, make_report, warnings_of
from onnxslim_snacs.scores.snacs.connections import Released, score_connections


@checked
@names_file
@computes(ReleasedConfig)
def compress_as_released(
    path: Path | str,
    config: ReleasedConfig | None = None,
    *,
    out: Path | str | None = None,
    report_out: Path | str | None = None,
    html_out: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    told: Told = nobody,
) -> Compressed:
    """Zero the connections that the released formulas let go, and cut what nothing reads then.

    Args:
        path: the .onnx file.
        config: what to do.
        out: where to write the result; None writes nothing.
        report_out: where to write the report; it comes into its place together with the model.
        html_out: where to write the report as a page, likewise.
        overwrite: whether existing files may be replaced.
        progress: told (stage, done, total); the last stage is "write".
        told: told the result before its files are written; if it raises, none is.

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`.
    """
    config = config or ReleasedConfig()
    clock = Clock(progress)
    with clock.stage("load"):
        graph = load_model(Path(path))
        outputs = Outputs.of(
            path,
            graph,
            model=out,
            report=report_out,
            html=html_out,
            overwrite=overwrite,
            inputs=files_of(config.data),
        )
    with clock.stage("data"):
        given = named_samples(config.data, graph, config.seed)
    setup = Setup(
        config.provider,
        config.threads,
        config.seed,
        input_shapes=config.data.input_shapes,
        examples=given.shapes() if given is not None else (),
    )
    work = open_work(path, graph, setup, clock, progress)
    require_runnable(work.analysis, "released")
    with clock.stage("data"):
        source = settled_samples(given, config.data, work)
        few = require_different(source)
        samples = split(source)
    with clock.stage("score"):
        scored = score_connections(
            score_context(work, samples.scoring),
            groups=config.groups,
            phi=config.phi,
            save=config.save,
        )
    with clock.stage("decide"):
        judge = open_judge(work.analysis, samples.judging, work.session)
        masks = decide_masks(config, work.analysis, scored, judge)
        zeroed = ModelGraph(masked(work.analysis, scored.layers, masks.goes), graph.base_dir)
    whole = open_work(path, zeroed, setup, clock, progress)
    kept = without_dead_units(whole.analysis)
    cut = prove_cut(whole, keep_map(whole.analysis.ir, kept))
    with clock.stage("drift"):
        moved = judge.drift(cut.model)
    plan = make_plan(graph, whole.analysis.ir, kept, allow_inexact=False)
    report = make_report(whole, cut.keep, cut.proof, moved, out=out)
    report = asked(report, config, out)
    dead = sum(int((~stays).sum()) for stays in kept.values())
    report = replace(
        report,
        criterion="snacs as released",
        notes={**report.notes, "as_released": _notes(config, scored, masks, dead)},
        warnings=(
            *((few,) if few else ()),
            *warnings_of(source, work.analysis),
            *left_on_processor("auto", work.session.provider),
        ),
    )
    done = Compressed(cut.model, plan, report)
    outputs.write(done, graph.base_dir, clock, progress, told)
    return done


def _notes(config: ReleasedConfig, scored: Released, masks: Masks, dead: int) -> dict[str, Any]:
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
        "phi": config.phi,
        "save": config.save,
        "cutoff_share": masks.share,
        "retained": masks.kept,
        "units_without_readers": dead,
        "tried": [{"share": share, "drop": drop} for share, drop in masks.tried],
        "layers": layers,
        "skipped": scored.skipped,
    }
