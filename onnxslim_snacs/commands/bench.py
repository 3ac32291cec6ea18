"""Size, work, answers and time of two models side by side."""

from __future__ import annotations

from pathlib import Path

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.run import batch_size
from onnxslim_snacs.commands.naming import names_file
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.errors import InputRefused, RuntimeRefused, foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.judge.drift import answers, drift
from onnxslim_snacs.judge.judge import affordable
from onnxslim_snacs.judge.stopwatch import compare_latency
from onnxslim_snacs.model.external import is_external
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, resolve_provider
from onnxslim_snacs.model.stored import stored_tensors
from onnxslim_snacs.model.tensors import stored_bytes
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.report.report import Comparison


@names_file
def side_by_side(
    before: Path,
    after: Path,
    data: DataConfig,
    *,
    batch: int = 1,
    threads: int = 1,
    provider: str = "auto",
) -> Comparison:
    """Compare two models with the same interface.

    Args:
        before: the first model.
        after: the second model.
        data: where inputs come from; where samples are given, the answers are compared on all.
        batch: samples in a run, if the model leaves that open.
        threads: threads of ONNX Runtime.
        provider: auto, cpu or cuda.

    Raises:
        InputRefused: the models do not take the same inputs, or one of them cannot be run.
    """
    first, second = load_model(before), load_model(after)
    if first.inputs != second.inputs:
        raise InputRefused(
            f"{foreign(after)}: inputs {foreign(second.inputs)}, expected {foreign(first.inputs)}"
        )
    where = resolve_provider(provider)
    source = open_source(data, first, seed=0)
    feeds = next(iter(source.batches(batch))).inputs
    original, other = (analyse(graph, input_shapes=data.input_shapes) for graph in (first, second))
    costs = [cost_model(each).cost(KeepMap({})) for each in (original, other)]
    session = SessionConfig(provider=where, threads=threads)
    moved = None
    if data.path is not None:
        few = source.part(0, affordable(original, source.samples))
        size = batch_size(original.facts, few, first.outputs)
        said = [answers(g.proto, few.batches(size), session, g.base_dir) for g in (first, second)]
        moved = drift(*said)
    try:
        latency = compare_latency(
            first.proto,
            second.proto,
            feeds,
            session,
            base_dirs=(first.base_dir, second.base_dir),
        )
    except RuntimeRefused as error:
        raise InputRefused(f"the models cannot be run on the data: {error}") from error
    sizes = (_size(first, before), _size(second, after))
    names = (str(before), str(after))
    return Comparison(
        names=names,
        before=costs[0],
        after=costs[1],
        files=sizes,
        latency=latency,
        threads=threads,
        provider=where,
        drift=moved,
    )


def _size(graph: ModelGraph, path: Path) -> int:
    """Bytes of a model's file and of its external data."""
    tensors = [tensor for _, tensor in stored_tensors(graph.proto)]
    return path.stat().st_size + sum(stored_bytes(t) for t in tensors if is_external(t))
