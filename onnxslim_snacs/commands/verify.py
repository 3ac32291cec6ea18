"""The proof on its own, for two files and a plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnxslim_snacs.errors import ProofFailed, foreign
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.model.interface import interface_difference
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.plan import Plan, check_plan, model_digest
from onnxslim_snacs.proof.prove import Proof, prove


def verify_files(
    before: Path | str,
    after: Path | str,
    plan: Plan,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    threads: int = 1,
) -> Proof:
    """The proof on its own, for two files and the plan that leads from one to the other.

    A model that was recovered after the cut computes something else than the cut model: it is held
    against the digest in the plan, and what is proved is the cut.

    Args:
        before: the original.
        after: the cut model.
        plan: what was cut.
        input_shapes: sizes of inputs that cannot be guessed.
        threads: threads of ONNX Runtime.

    Raises:
        InputRefused: a file is no model, or the plan belongs to another one.
        ProofFailed: the inputs and outputs of the two differ.
    """
    graph, other = load_model(Path(before)), load_model(Path(after))
    shapes = input_shapes or plan.sizes
    analysis = analyse(graph, allow_inexact=plan.allow_inexact, input_shapes=shapes)
    check_plan(plan, graph, analysis.ir)
    different = interface_difference(graph.proto, other.proto)
    if different:
        raise ProofFailed(f"{foreign(after)} cannot take the place of the original: {different}")
    keep = keep_map(analysis.ir, plan.kept())
    if plan.recovered and plan.recovered == model_digest(other.proto, other.base_dir):
        return prove(analysis, keep, prune(analysis, keep), threads=threads)
    return prove(analysis, keep, other.proto, threads=threads, pruned_dir=other.base_dir)
