"""Replay a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from onnxslim_snacs.commands.outputs import Outputs, Told, nobody
from onnxslim_snacs.commands.start import Compressed, Setup, open_work
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.plan.plan import Plan, check_plan, load_plan
from onnxslim_snacs.progress import Clock, Progress, silent
from onnxslim_snacs.proof.prove import prove_cut
from onnxslim_snacs.report.make import make_report


def apply_plan(
    path: Path | str,
    plan: Plan | Path | str,
    *,
    out: Path | str | None = None,
    report_out: Path | str | None = None,
    overwrite: bool = False,
    data: DataConfig | None = None,
    threads: int = 1,
    progress: Progress = silent,
    told: Told = nobody,
) -> Compressed:
    """Replay a plan: the same model, byte for byte.

    Args:
        path: the .onnx file.
        plan: what `compress` has decided, perhaps edited by hand; or the file that holds it.
        out: where to write the result; None writes nothing.
        report_out: where to write the report; it comes into its place together with the model.
        overwrite: whether existing files may be replaced.
        data: sizes of inputs that cannot be guessed.
        threads: threads of ONNX Runtime.
        progress: told (stage, done, total); the last stage is "write".
        told: told the result before its files are written; if it raises, none is.

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`.
    """
    plan_files = () if isinstance(plan, Plan) else (Path(plan),)
    plan = plan if isinstance(plan, Plan) else load_plan(Path(plan))
    clock = Clock()
    with clock.stage("load"):
        graph = load_model(Path(path))
        outputs = Outputs.of(
            path,
            graph,
            out,
            None,
            report_out,
            overwrite=overwrite,
            inputs=plan_files,
        )
    shapes = (data or DataConfig()).input_shapes or plan.sizes
    setup = Setup(threads=threads, allow_inexact=plan.allow_inexact, input_shapes=shapes)
    work = open_work(path, graph, setup, clock, progress)
    check_plan(plan, graph, work.analysis.ir)
    cut = prove_cut(work, keep_map(work.analysis.ir, plan.kept()))
    report = replace(make_report(work, cut.keep, cut.proof, None, out=out), criterion="plan")
    done = Compressed(cut.model, plan, report)
    outputs.write(done, graph.base_dir, clock, progress, told)
    return done
