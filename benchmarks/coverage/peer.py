"""Give one file to another tool, and say what came out: run by the peers' own Python.

    python peer.py onnxsim|torch_pruning MODEL OUT.json [SHAPES_JSON]

Half of the channels, as each tool counts them; a result counts if it runs with the same shapes.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import GraphProto, ModelProto, TensorProto, helper

#: A tool that asks for more than this has no result.
MEMORY = 10 << 30
_REAL = {
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.DOUBLE,
    TensorProto.INT8,
    TensorProto.UINT8,
}


def params(model: ModelProto) -> int:
    """Stored numbers, counted as the sweep counts them: int64 shape constants are none."""
    return sum(_stored(graph) for graph in _graphs(model.graph))


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and all bodies of control flow in it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _graphs(body)


def _stored(graph: GraphProto) -> int:
    total = sum(int(np.prod(t.dims)) for t in graph.initializer if t.data_type in _REAL)
    for node in graph.node:
        if node.op_type == "Constant":
            values = [a.t for a in node.attribute if a.name == "value"]
            total += sum(int(np.prod(t.dims)) for t in values if t.data_type in _REAL)
    return total


def feeds(model: ModelProto, hints: dict[str, Any]) -> dict[str, Any]:
    """Seeded inputs; a dynamic dimension without a hint is 1."""
    rng = np.random.default_rng(0)
    constants = {t.name for t in model.graph.initializer}
    found = {}
    for info in model.graph.input:
        if info.name in constants:
            continue
        kind = info.type.tensor_type
        shape = hints.get(info.name) or [max(1, d.dim_value) for d in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype.kind == "f":
            found[info.name] = rng.standard_normal(shape).astype(dtype)
        else:
            found[info.name] = rng.integers(0, 2, size=shape).astype(dtype)
    return found


def answer_shapes(model: ModelProto, inputs: dict[str, Any]) -> list[tuple[int, ...]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.shape(o) for o in session.run(None, inputs)]


def run_onnxsim(path: str, hints: dict[str, Any]) -> dict[str, Any]:
    """Simplify, then structured pruning by L2 norms."""
    import onnxsim

    model = onnx.load(path)
    start = perf_counter()
    simple, _ = onnxsim.simplify(model)
    pruned = onnxsim.apply_structured_pruning(simple, sparsity=0.5)
    seconds = perf_counter() - start
    inputs = feeds(model, hints)
    wanted, got = answer_shapes(model, inputs), answer_shapes(pruned, inputs)
    # against the better of the two originals, in the tool's favour
    kept = params(pruned) / max(1, params(simple), params(model))
    return {"kept": kept, "seconds": seconds, "runs": wanted == got}


def run_torch_pruning(path: str, hints: dict[str, Any]) -> dict[str, Any]:
    """To PyTorch, then L2 norms over dependency groups, the layers before the outputs protected.

    What onnx2torch does not take as it is, it gets simplified, and then of an older opset.
    """
    original, errors = onnx.load(path), []
    for prepared in (lambda: original, lambda: _simple(original), lambda: _older(original)):
        try:
            return _torch_pruning(prepared(), hints)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
    raise ValueError("; then ".join(dict.fromkeys(e[:120] for e in errors)))


@cache
def declare_torchvision_operators() -> Any:
    """Declare what torchvision lacks beside a CPU build of torch; lives as long as the result."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _simple(model: ModelProto) -> ModelProto:
    import onnxsim

    result: ModelProto = onnxsim.simplify(model)[0]
    return result


def _older(model: ModelProto) -> ModelProto:
    from onnx import version_converter

    return version_converter.convert_version(_simple(model), 16)


def _torch_pruning(original: ModelProto, hints: dict[str, Any]) -> dict[str, Any]:
    declare_torchvision_operators()
    import onnx2torch
    import torch
    import torch_pruning

    torch.set_num_threads(1)
    inputs = tuple(torch.from_numpy(v) for v in feeds(original, hints).values())
    start = perf_counter()
    module = onnx2torch.convert(original).eval()
    wanted = _torch_shapes(module(*inputs))
    before = _torch_params(module)
    pruner = torch_pruning.pruner.MagnitudePruner(
        module,
        inputs,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=last_layers(module),
    )
    pruner.step()
    seconds = perf_counter() - start
    got = _torch_shapes(module(*inputs))
    kept = _torch_params(module) / max(1, before)
    return {"kept": kept, "seconds": seconds, "runs": wanted == got}


def _torch_params(module: Any) -> int:
    tensors = [*module.parameters(), *module.buffers()]
    return sum(t.numel() for t in tensors if t.dtype.is_floating_point)


def _torch_shapes(result: Any) -> list[tuple[int, ...]]:
    outputs = result if isinstance(result, (list, tuple)) else [result]
    return [tuple(o.shape) for o in outputs]


def last_layers(module: Any) -> list[Any]:
    """The layers with weights that are met first on the way back from each output."""
    modules = dict(module.named_modules())
    pending = [n for n in module.graph.nodes if n.op == "output"]
    seen, found = set(pending), []
    while pending:
        node = pending.pop()
        layer = modules.get(node.target) if node.op == "call_module" else None
        weight = getattr(layer, "weight", None)
        if weight is not None and weight.ndim >= 2:
            found.append(layer)
            continue
        fresh = [n for n in node.all_input_nodes if n not in seen]
        seen.update(fresh)
        pending.extend(fresh)
    return found


def main() -> None:
    tool, path, out = sys.argv[1:4]
    hints = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        result = (run_onnxsim if tool == "onnxsim" else run_torch_pruning)(path, hints)
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}"[:300]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    Path(out).write_text(json.dumps({**result, "peak_mib": round(peak, 1)}))


if __name__ == "__main__":
    main()
