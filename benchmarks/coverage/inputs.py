"""Make the light models of the `onnx` wheel into full ones: fold their weights, seeded.

    python -m benchmarks.coverage.inputs OUT_DIR [NAME ...]

They are full-size topologies whose weights are written by ConstantOfShape nodes, all alike.
"""

from __future__ import annotations

import sys
from math import prod, sqrt
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper


def light_models() -> list[Path]:
    """The light models that the installed `onnx` brings along."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return sorted(folder.glob("light_*.onnx"))


def filled(model: ModelProto, seed: int = 0) -> ModelProto:
    """The model with its ConstantOfShape nodes replaced by initializers with random values."""
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    roles = {name: (n.op_type, k) for n in graph.node for k, name in enumerate(n.input)}
    rng = np.random.default_rng(seed)
    folded = [n for n in graph.node if n.op_type == "ConstantOfShape"]
    for node in folded:
        shape = tuple(int(d) for d in constants[node.input[0]])
        value = weights(rng, shape, *roles[node.output[0]])
        graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        graph.node.remove(node)
    spent = {node.input[0] for node in folded}
    for name in spent:
        graph.initializer.remove(next(t for t in graph.initializer if t.name == name))
    for info in [v for v in graph.input if v.name in constants]:
        graph.input.remove(info)
    result.ir_version = 8  # from 4 on, initializers need not be listed among the inputs
    return result


def weights(
    rng: np.random.Generator, shape: tuple[int, ...], op: str, position: int
) -> NDArray[np.float32]:
    """Values that keep activations in range (He et al. 2015, equation 10)."""
    if op == "BatchNormalization" and position in (1, 4):  # scale, variance
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) < 2:
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    deviation = sqrt(2 / prod(shape[1:]))
    return (rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)).astype(np.float32)


def main() -> None:
    """Write every light model, or those named, to a folder."""
    out, names = Path(sys.argv[1]), sys.argv[2:]
    out.mkdir(parents=True, exist_ok=True)
    for path in light_models():
        if not names or path.stem in names:
            onnx.save(filled(onnx.load(path)), str(out / path.name))
            print(path.name)


if __name__ == "__main__":
    main()
