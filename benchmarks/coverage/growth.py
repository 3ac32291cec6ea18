"""How time and memory of the analysis and the cut grow with the number of nodes.

    python -m benchmarks.coverage.growth [NODES ...] [--readme README.md]

Chains of Conv, Relu, Conv, Relu, Add (a residual block of five nodes) with eight channels; each
length in a process of its own, so that it has its own peak memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from benchmarks.marked import put_into

CHANNELS = 8
SIDE = 4
BLOCK = 5
DEFAULT = (1_000, 5_000, 20_000)


def chain(nodes: int) -> ModelProto:
    """A residual network of about `nodes` nodes, on images (N, channels, side, side)."""
    rng = np.random.default_rng(0)
    made, weights = [], []

    def conv(source: str, target: str) -> None:
        weight = 0.1 * rng.standard_normal((CHANNELS, CHANNELS, 1, 1), dtype=np.float32)
        weights.append(numpy_helper.from_array(weight, f"{target}_w"))
        made.append(helper.make_node("Conv", [source, f"{target}_w"], [target], name=target))

    def simple(op: str, sources: list[str], target: str) -> None:
        made.append(helper.make_node(op, sources, [target], name=target))

    conv("x", "stem")
    last = "stem"
    for k in range(max(1, (nodes - 2) // BLOCK)):
        conv(last, f"a{k}")
        simple("Relu", [f"a{k}"], f"b{k}")
        conv(f"b{k}", f"c{k}")
        simple("Relu", [f"c{k}"], f"d{k}")
        simple("Add", [last, f"d{k}"], f"e{k}")
        last = f"e{k}"
    conv(last, "y")
    image = ["N", CHANNELS, SIDE, SIDE]
    graph = helper.make_graph(
        made,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, image)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def measure(nodes: int) -> dict[str, Any]:
    """Seconds and peak memory of one chain, in this process."""
    from benchmarks.coverage.worker import peak_mib
    from onnxslim_snacs.ir.keep import keep_map
    from onnxslim_snacs.model.graph import ModelGraph
    from onnxslim_snacs.ops.analyse import analyse
    from onnxslim_snacs.passes.prune import prune

    model = chain(nodes)
    before = peak_mib()
    start = perf_counter()
    analysis = analyse(ModelGraph(model))
    middle = perf_counter()
    half = {g.id: np.arange(g.units) % 2 == 0 for g in analysis.ir.groups}
    cut = prune(analysis, keep_map(analysis.ir, half))
    end = perf_counter()
    return {
        "nodes": len(model.graph.node),
        "groups": len(analysis.ir.groups),
        "analyse_s": round(middle - start, 3),
        "prune_s": round(end - middle, 3),
        "before_mib": before,
        "peak_mib": peak_mib(),
        "left": len(cut.graph.node),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    head = ["nodes", "groups", "analyse s", "prune s", "MiB before", "MiB peak"]
    keys = ["nodes", "groups", "analyse_s", "prune_s", "before_mib", "peak_mib"]
    lines = [head, ["---"] * len(head), *[[str(row[k]) for k in keys] for row in rows]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("nodes", nargs="*", type=int, default=DEFAULT)
    parser.add_argument("--readme", type=Path)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.nodes[0])))
        return
    rows = []
    for nodes in options.nodes:
        command = [sys.executable, "-m", "benchmarks.coverage.growth", str(nodes), "--here"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    if options.readme:
        put_into(options.readme, "growth", table(rows))


if __name__ == "__main__":
    main()
