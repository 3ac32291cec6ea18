"""HRank and CHIP: numbers worked out by hand, and map by map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import parser

from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.chip import nuclear_falls
from onnxslim_snacs.scores.criterion import ScoreContext, with_options
from tests.harness import model_from_text
from tests.scores.test_gradients import context

#: A map of rank one and one of rank two, doubled and rectified, and their readers.
MAPS = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,2,2,2] x, float[1,2,1,1] w_b) => (float[N,1,2,2] y)
<float[2,2,1,1] a = {2, 0,  0, 2}> {
  c = Conv(x, a)
  r = Relu(c)
  y = Conv(r, w_b)
}
"""
STREAM = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,5,4] x, float[6,3,1,1] w_a, float[6,6,3,3] w_c, float[2,6,1,1] w_d)
  => (float[N,2,5,4] y) {
  a = Conv(x, w_a)
  r = Relu(a)
  c = Conv<pads = [1,1,1,1]>(r, w_c)
  s = Add(c, r)
  t = Relu(s)
  y = Conv(t, w_d)
}
"""


def made(text: str, path: Path, rows: Any) -> ScoreContext:
    return context(model_from_text(text, integers=False), path, x=np.asarray(rows, np.float32))


def values(made: ScoreContext, name: str, **options: object) -> NDArray[np.float64]:
    (found,) = with_options(CRITERIA[name], options).score(made).scores.values()
    return np.asarray(found)


def test_ranks_by_hand(tmp_path: Path) -> None:
    """[[1, 2], [2, 4]] has rank one, the identity two; a second sample has none and one."""
    rows = [[[[1, 2], [2, 4]], [[1, 0], [0, 1]]], [[[0, 0], [0, 0]], [[3, 3], [3, 3]]]]
    assert values(made(MAPS, tmp_path / "x.npz", rows), "hrank").tolist() == [0.5, 1.5]


def test_ranks_are_taken_behind_the_rectifier(tmp_path: Path) -> None:
    """In front of it the first map has rank two, behind it one."""
    rows = [[[[1, 2], [-2, -1]], [[1, 0], [0, 1]]]]
    assert values(made(MAPS, tmp_path / "x.npz", rows), "hrank").tolist() == [1, 2]


@pytest.mark.parametrize("activation", ["LeakyRelu", "Sigmoid", "HardSwish", "Elu"])
def test_behind_other_activations_the_criterion_says_nothing(
    activation: str, tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).standard_normal((3, 2, 2, 2))
    text = MAPS.replace("Relu(c)", f"{activation}(c)")
    result = CRITERIA["hrank"].score(made(text, tmp_path / "x.npz", rows))
    (group,) = result.scores
    assert result.notes == {"ordered by their norms": [group]}
    assert "all ranks are full" in result.warnings[0]


def test_a_rectifier_that_is_cut_off_is_one(tmp_path: Path) -> None:
    rows = [[[[1, 2], [-2, -1]], [[1, 0], [0, 1]]]]
    text = MAPS.replace("r = Relu(c)", "lo = Constant<value = float {0.0}>()\n r = Clip(c, lo)")
    assert values(made(text, tmp_path / "x.npz", rows), "hrank").tolist() == [1, 2]
    text = text.replace("{0.0}", "{-9.0}")
    assert CRITERIA["hrank"].score(made(text, tmp_path / "y.npz", rows)).warnings


def test_ranks_of_a_stream_are_those_of_single_maps(tmp_path: Path) -> None:
    rows = np.random.default_rng(2).standard_normal((9, 3, 5, 4))
    stream = made(STREAM, tmp_path / "x.npz", rows)
    r, t = watched(stream)
    ranks = [
        np.mean([[np.linalg.matrix_rank(m) for m in sample] for sample in maps], axis=0)
        for maps in (r, t)
    ]
    assert values(stream, "hrank") == pytest.approx((ranks[0] + ranks[1]) / 2)
    few = [np.linalg.matrix_rank(m) for m in r[:1].reshape(-1, 5, 4)]
    order = stream.source.part(0, 1).order[0]
    one = [np.linalg.matrix_rank(m) for m in r[order]]
    assert len(few) == 6
    assert values(stream, "hrank", images=1, reduce="first").tolist() == one


def watched(stream: ScoreContext) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The two rectified tensors, in the order of the file."""
    import torch

    graph = stream.analysis.graph
    w = {name: torch.tensor(graph.array(name)).double() for name in graph.initializers}
    x = torch.from_numpy(np.load(Path(stream.source.name))["x"]).double()
    r = torch.relu(torch.nn.functional.conv2d(x, w["w_a"]))
    t = torch.relu(torch.nn.functional.conv2d(r, w["w_c"], padding=1) + r)
    return r.numpy(), t.numpy()


def test_falls_of_the_nuclear_norm_by_hand() -> None:
    """Rows (3,0,0,0), (0,4,0,0), (3,0,0,0): norm 8.2426, falls 1.2426, 4, 1.2426."""
    maps = np.array([[[3.0, 0, 0, 0], [0, 4, 0, 0], [3, 0, 0, 0]]])
    index = np.arange(3)[:, None]
    wanted = [[1.2426, 4, 1.2426]]
    assert nuclear_falls(maps, index) == pytest.approx(np.array(wanted), abs=1e-4)
    tall = maps[:, :, :2]  # fewer positions than channels: the other product
    assert nuclear_falls(tall, index) == pytest.approx(np.array(wanted), abs=1e-4)
    both = nuclear_falls(maps, np.array([[0, 2]]))
    assert both == pytest.approx(np.array([[8.2426 - 4]]), abs=1e-4)


def test_falls_of_a_stream_are_those_of_single_matrices(tmp_path: Path) -> None:
    """Readers see r and t; each is brought to its mean, then the mean of both counts."""
    rows = np.random.default_rng(3).standard_normal((5, 3, 5, 4))
    stream = made(STREAM, tmp_path / "x.npz", rows)
    wanted = []
    for maps in watched(stream):
        falls = np.zeros((len(maps), 6))
        for sample, matrix in enumerate(maps.reshape(len(maps), 6, -1)):
            whole = np.linalg.norm(matrix, "nuc")
            for channel in range(6):
                without = matrix.copy()
                without[channel] = 0
                falls[sample, channel] = whole - np.linalg.norm(without, "nuc")
        mean = falls.mean(axis=0)
        wanted.append(mean / mean.mean())
    assert values(stream, "chip") == pytest.approx(np.mean(wanted, axis=0), rel=1e-4)


def test_channels_of_tokens_are_maps_of_one_position(tmp_path: Path) -> None:
    """a = [[3, 4]]: norms 5, without the first 4, without the second 3."""
    text = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,2] x) => (float[N,1] y) <float[2,2] a = {1, 0,  0, 1}, float[2,1] b = {1, 1}> {
  h = MatMul(x, a)
  y = MatMul(h, b)
}
"""
    model = parser.parse_model(text)
    found = context(model, tmp_path / "x.npz", x=np.array([[3, 4]], np.float32))
    assert values(found, "chip", normalise="none") == pytest.approx([1, 2])
