"""A model above 2 GB, made of random weights, through compress, apply and verify: time and memory.

    python -m benchmarks.large [--layers 10] [--width 8192] [--folder DIR]

The model is a chain of MatMul, Add, Relu whose weights lie in a data file beside it.  Every command
runs in a process of its own; its peak memory counts mapped files as well.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
from onnx import TensorProto, helper

#: Rows of a weight that are drawn at a time.
_ROWS = 512


@dataclass(frozen=True, slots=True)
class Run:
    """What one command took.

    Attributes:
        seconds: wall time.
        peak: largest resident memory in bytes, mapped files included.
        own: the part of it that is no file, at its own largest.
    """

    seconds: float
    peak: int
    own: int


def make_model(path: Path, layers: int, width: int) -> int:
    """Write a chain of layers with weights (width, width) and biases (width).

    Returns:
        Bytes of the weights.
    """
    rng = np.random.default_rng(0)
    nodes, tensors = [], []
    data = path.with_suffix(".data")
    with data.open("wb") as file:

        def store(name: str, rows: int, dims: Sequence[int]) -> None:
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
            tensor.data_location = TensorProto.EXTERNAL
            region = {"location": data.name, "offset": file.tell(), "length": 4 * rows * width}
            for key, value in region.items():
                tensor.external_data.add(key=key, value=str(value))
            for start in range(0, rows, _ROWS):
                part = rng.standard_normal((min(_ROWS, rows - start), width), dtype=np.float32)
                file.write((part * np.float32((2 / width) ** 0.5)).tobytes())
            tensors.append(tensor)

        last = "x"
        for k in range(layers):
            store(f"w{k}", width, (width, width))
            store(f"b{k}", 1, (width,))
            out = "y" if k == layers - 1 else f"h{k}"
            nodes.append(helper.make_node("MatMul", [last, f"w{k}"], [f"p{k}"]))
            nodes.append(helper.make_node("Add", [f"p{k}", f"b{k}"], [f"s{k}"]))
            nodes.append(helper.make_node("Relu", [f"s{k}"], [out]))
            last = out
    row: list[str | int | None] = ["N", width]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, row)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, row)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return data.stat().st_size


def run(arguments: Sequence[str]) -> Run:
    """Run one command of snacs-onnx in a process of its own."""
    code = "import sys; from onnxslim_snacs.cli import main; main()"
    start, own = perf_counter(), 0
    child = subprocess.Popen([sys.executable, "-c", code, *arguments])
    while True:
        done, status, usage = os.wait4(child.pid, os.WNOHANG)
        if done:
            break
        own = max(own, _anonymous(child.pid))
        sleep(0.02)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{arguments[0]} ended with exit code {child.returncode}")
    return Run(perf_counter() - start, usage.ru_maxrss * 1024, own)


def _anonymous(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("RssAnon")), "RssAnon: 0")
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--width", type=int, default=8192)
    parser.add_argument("--folder", type=Path, help="where the files lie while this runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        model, out, again = (folder / f"{stem}.onnx" for stem in ("large", "out", "again"))
        plan = folder / "plan.json"
        weights = make_model(model, options.layers, options.width)
        print(f"weights: {weights / 1e9:.2f} GB")
        print("| command | seconds | peak memory | share of the weights | of it no file |")
        print("|---|---|---|---|---|")
        cut = ["compress", str(model), "-o", str(out), "--ratio", "0.5", "--criterion", "l1"]
        for command in (
            [*cut, "--plan-out", str(plan), "--threads", "2"],
            ["apply", str(model), str(plan), "-o", str(again), "--threads", "2"],
            ["verify", str(model), str(out), "--plan", str(plan), "--threads", "2"],
        ):
            done = run(command)
            print(
                f"| {command[0]} | {done.seconds:.0f} | {done.peak / 1e9:.2f} GB | "
                f"{done.peak / weights:.2f} | {done.own / 1e9:.2f} GB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
