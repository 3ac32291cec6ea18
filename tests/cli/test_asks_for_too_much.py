"""Models that make something enormous, or nothing that is possible, on the way to a factor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tests.cli.conftest import Cli, untouched

CUT = ("--criterion", "l1", "--ratio", "0.5", "--recover", "none")
#: No memory has so many elements, whatever the system promises of it.
FAR = 1 << 50
Stored = dict[str, NDArray[Any]]


def whole(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def real(*numbers: float) -> NDArray[np.float32]:
    return np.array(numbers, dtype=np.float32)


def scalar(number: float) -> NDArray[np.float32]:
    return np.array(number, dtype=np.float32)


def node(op: str, *inputs: str, **attributes: Any) -> NodeProto:
    """A node that writes z."""
    return helper.make_node(op, inputs, ["z"], **attributes)


PICTURE: Stored = {"v": np.ones((1, 1, 2, 2), np.float32)}
#: What makes z -> (nodes, what is stored for them, exit code).
MADE: dict[str, tuple[Sequence[NodeProto], Stored, int]] = {
    "Expand": ([node("Expand", "v", "k")], {"v": real(1), "k": whole(FAR)}, 7),
    "Tile": ([node("Tile", "v", "k")], {"v": real(1, 2), "k": whole(FAR)}, 7),
    "Pad": ([node("Pad", "v", "k")], {"v": real(1, 2), "k": whole(0, FAR)}, 7),
    "Pad, away": ([node("Pad", "v", "k")], {"v": real(1, 2), "k": whole(-5, -7)}, 3),
    "ConstantOfShape": (
        [helper.make_node("Mul", ["k", "k"], ["m"]), node("ConstantOfShape", "m")],
        {"k": whole(1 << 25, 1 << 25)},
        7,
    ),
    "ConstantOfShape, negative": ([node("ConstantOfShape", "k")], {"k": whole(-2, 3)}, 3),
    "Range, tiny steps": (
        [node("Range", "p", "q", "s")],
        {"p": scalar(0), "q": scalar(1), "s": scalar(1e-14)},
        7,
    ),
    "Range, no steps": (
        [node("Range", "p", "q", "s")],
        {"p": scalar(0), "q": scalar(1), "s": scalar(0)},
        3,
    ),
    "OneHot": (
        [node("OneHot", "i", "k", "v")],
        {"i": whole(1), "k": np.array(FAR), "v": real(0, 1)},
        7,
    ),
    "Resize by scales": (
        [node("Resize", "v", "", "s")],
        {**PICTURE, "s": real(1, 1, 1e9, 1e9)},
        7,
    ),
    "Resize to sizes": (
        [node("Resize", "v", "", "", "k")],
        {**PICTURE, "k": whole(1, 1, FAR, 2)},
        7,
    ),
    "BlackmanWindow": ([node("BlackmanWindow", "k")], {"k": np.array(FAR)}, 7),
    "RandomNormal": ([node("RandomNormal", shape=[1 << 25, 1 << 25])], {}, 7),
    "TopK": (
        [helper.make_node("TopK", ["v", "k"], ["z", "i"])],
        {"v": real(1, 2), "k": whole(FAR)},
        3,
    ),
    "Gather": ([node("Gather", "v", "k")], {"v": real(1, 2), "k": whole(FAR)}, 3),
    "Slice": (
        [node("Slice", "v", "p", "q", "p", "p")],
        {"v": real(1, 2), "p": whole(0), "q": whole(2)},
        3,
    ),
    "Split": (
        [helper.make_node("Split", ["v", "k"], ["z", "i"])],
        {"v": real(1, 2), "k": whole(FAR, -7)},
        3,
    ),
    "CumSum": ([node("CumSum", "v", "k")], {"v": real(1, 2), "k": np.array(99)}, 3),
    "Reshape to a matrix": (
        [node("Reshape", "v", "k")],
        {"v": real(1, 2, 3, 4), "k": np.array([[2], [2]])},
        3,
    ),
    "Squeeze": ([node("Squeeze", "v", "k")], {"v": real(1, 2), "k": whole(7)}, 3),
    "Transpose": ([node("Transpose", "v", perm=[0, 0, 7])], {"v": real(1, 2)}, 3),
    "Einsum": ([node("Einsum", "v", "v", equation="a,a-")], {"v": real(1, 2)}, 3),
}


@pytest.mark.parametrize("what", MADE)
def test_what_no_machine_can_make_or_nobody(cli: Cli, tmp_path: Path, what: str) -> None:
    nodes, stored, code = MADE[what]
    rng = np.random.default_rng(0)
    weights = {
        "w_a": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "w_b": rng.standard_normal((4, 8, 3, 3)).astype(np.float32),
        **stored,
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w_a"], ["a"]),
            *nodes,
            helper.make_node("ReduceSum", ["z"], ["r"], keepdims=0),
            helper.make_node("Mul", ["a", "r"], ["m_"]),
            helper.make_node("Conv", ["m_", "w_b"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    path = tmp_path / "net.onnx"
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    with untouched(tmp_path):
        for line in (("inspect", path), ("compress", path, *CUT)):
            assert f"error: {path}: " in cli(*line, code=code).err
