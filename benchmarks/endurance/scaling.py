"""Seconds of work over the number of things in a file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from benchmarks.endurance.setting import COMMAND, CUT, ENVIRONMENT


def value(name: str, dims: list[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def many(kind: str, size: int) -> ModelProto:
    """A small network beside `size` nodes, inputs, outputs or initializers."""
    rng = np.random.default_rng(0)
    shapes = {"w_a": (4, 8), "w_b": (8, 3)}
    weights = [
        numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n)
        for n, s in shapes.items()
    ]
    inputs, outputs, nodes = [value("x", [1, 4])], [value("y", [1, 3])], list[NodeProto]()
    nodes.append(helper.make_node("MatMul", ["x", "w_a"], ["h"]))
    last = "h"
    if kind == "nodes":
        for k in range(size):
            nodes.append(helper.make_node("Relu", [last], [f"r{k}"]))
            last = f"r{k}"
    nodes.append(helper.make_node("MatMul", [last, "w_b"], ["y"]))
    names = [f"{kind}{k}" for k in range(size)]
    if kind == "inputs":
        inputs += [value(name, [1, 1]) for name in names]
        nodes.append(helper.make_node("Concat", names, ["z"], axis=1))
        outputs.append(value("z", [1, size]))
    if kind == "initializers":
        one = np.ones((1, 1), np.float32)
        weights += [numpy_helper.from_array(one, name) for name in names]
        nodes.append(helper.make_node("Concat", names, ["z"], axis=1))
        outputs.append(value("z", [1, size]))
    if kind == "outputs":
        nodes += [helper.make_node("Relu", ["x"], [name]) for name in names]
        outputs += [value(name, [1, 4]) for name in names]
    graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


THINGS = ("nodes", "inputs", "outputs", "initializers")


def scaling(sizes: list[int], things: list[str], folder: Path) -> Iterator[str]:
    """Seconds of work (not of waiting) of `compress` over the number of things in a file."""
    for kind in things:
        row = []
        for size in sizes:
            path = folder / "m.onnx"
            onnx.save(many(kind, size), path)
            before = os.times()
            line = [*COMMAND, "compress", str(path), "-o", str(folder / "o.onnx"), "--force", *CUT]
            done = subprocess.run(
                line, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=900
            )
            after = os.times()
            used = after.children_user - before.children_user
            used += after.children_system - before.children_system
            row.append(used)
            tail = done.stderr.strip().splitlines()[-1:] if done.returncode else []
            yield f"{kind} {size}: exit {done.returncode}, {used:.1f} s {' '.join(tail)[:200]}"
        steps = [f"{b / a:.2f}" for a, b in pairwise(row)]
        yield f"{kind}: each doubling takes {', '.join(steps)} times as long"
