"""Replay a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from onnxslim_snacs.commands.outputs import Outputs
from onnxslim_snacs.commands.work import Compressed
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.plan.plan import Plan, check_plan
from onnxslim_snacs.progress import Clock, Progress, silent
from onnxslim_snacs.proof.prove import prove, require
from onnxslim_snacs.report.make import make_report


def apply_plan(
    path: Path | str,
    plan: Plan,
    *,
    out: Path | str | None = None,
    report_out: Path | str | None = None,
    overwrite: bool = False,
    data: DataConfig | None = None,
    threads: int = 1,
    progress: Progress = silent,
) -> Compressed:
    """Replay a plan: the same model, byte for byte.

    Args:
        path: the .onnx file.
        plan: what `compress` has decided, perhaps edited by hand.
        out: where to write the result; None writes nothing.
        report_out: where to write the report; it comes into its place together with the model.
        overwrite: whether existing files may be replaced.
        data: sizes of inputs that cannot be guessed.
        threads: threads of ONNX Runtime.
        progress: told (stage, done, total); the last stage is "write".

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`.
    """
    clock = Clock()
    with clock.stage("load"):
        graph = load_model(Path(path))
        outputs = Outputs.of(path, out, None, report_out, overwrite=overwrite)
    shapes = (data or DataConfig()).input_shapes
    with clock.stage("analyse"):
        analysis = analyse(graph, allow_inexact=plan.allow_inexact, input_shapes=shapes)
    check_plan(plan, graph, analysis.ir)
    keep = keep_map(analysis.ir, plan.kept())
    with clock.stage("prune"):
        model = prune(analysis, keep)
    with clock.stage("proof"):
        proof = prove(analysis, keep, model, threads=threads)
        require(proof)
    costs = cost_model(analysis)
    report = make_report(analysis, costs, keep, proof, None, path=str(path), out=out)
    report = replace(report, criterion="plan", timings=clock.seconds)
    progress("write", 0, 1)
    with clock.stage("write"):
        outputs.write(model, plan, report, graph.base_dir)
    return Compressed(model, plan, report)
