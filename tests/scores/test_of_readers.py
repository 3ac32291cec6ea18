"""Criteria on what readers see: numbers worked out by hand, and brute force on real patches."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import parser
from sklearn.linear_model import Lasso

from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.criterion import ScoreContext, with_options
from onnxslim_snacs.scores.he2017 import entries, lasso
from onnxslim_snacs.scores.thinet import removal_order
from tests.harness import model_from_text, read
from tests.scores.test_gradients import TOY, context

ROWS_A = [[1, 0, 1], [0, 2, 2]]
ROWS_B = [[1, 0, 1], [0, 2, 2], [1, 1, 0], [0, 0, 0]]
#: M = E[(a w)(a w)'] of toy A.
MATRIX = np.array([[0.5, 0, -0.5], [0, 8, -4], [-0.5, -4, 2.5]])
#: A stream of five channels that two convolutions read, one with a stride.
PATCHES = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,2,6,6] x, float[5,2,1,1] w_a, float[4,5,3,3] w_b, float[4] w_s, float[3,5,1,1] w_c)
  => (float[N,4,6,6] y, float[N,3,3,3] z)
{
  a = Conv(x, w_a)
  r = Relu(a)
  y = Conv<pads = [1,1,1,1]>(r, w_b, w_s)
  z = Conv<strides = [2,2]>(r, w_c)
}
"""


def toy(tmp_path: Path, rows: list[list[int]]) -> ScoreContext:
    array = np.array(rows, dtype=np.float32)
    return context(parser.parse_model(TOY), tmp_path / "x.npz", x=array)


def values(made: ScoreContext, name: str, **options: object) -> NDArray[np.float64]:
    (found,) = with_options(CRITERIA[name], options).score(made).scores.values()
    return np.asarray(found)


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> ScoreContext:
    model = model_from_text(PATCHES, seed=4, integers=False)
    rows = np.random.default_rng(1).standard_normal((24, 2, 6, 6)).astype(np.float32)
    return context(model, tmp_path_factory.mktemp("patches") / "x.npz", x=rows)


@pytest.fixture(scope="module")
def seen(patched: ScoreContext) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """(rows, 5, taps) patches and (outputs, 5, taps) weights of both readers."""
    graph = patched.analysis.graph
    w = {name: torch.tensor(graph.array(name)).double() for name in graph.initializers}
    x = torch.from_numpy(np.load(Path(patched.source.name))["x"]).double()
    r = torch.relu(torch.nn.functional.conv2d(x, w["w_a"]))
    found = []
    for name, size, how in (("w_b", 3, {"padding": 1}), ("w_c", 1, {"stride": 2})):
        unfolded = torch.nn.functional.unfold(r, size, **how)  # (N, channels x taps, positions)
        rows = unfolded.transpose(1, 2).reshape(-1, 5, size * size)
        found.append((rows.numpy(), w[name].reshape(len(w[name]), 5, -1).numpy()))
    return found


def test_wanda_by_hand(tmp_path: Path) -> None:
    found = values(toy(tmp_path, ROWS_A), "wanda", normalise="none")
    assert found == pytest.approx([0.7071, 2.8284, 1.5811], abs=1e-4)


def test_energy_by_hand(tmp_path: Path) -> None:
    """One output and one feature to a channel: the same as wanda, and as the block form."""
    made = toy(tmp_path, ROWS_A)
    for form in ("diagonal", "block"):
        found = values(made, "energy", normalise="none", form=form)
        assert found == pytest.approx(np.sqrt(np.diag(MATRIX)), abs=1e-6)


def test_flap_by_hand_orders_the_first_and_the_third_otherwise_than_wanda(tmp_path: Path) -> None:
    made = toy(tmp_path, ROWS_A)
    assert values(made, "flap", normalise="none") == pytest.approx([0.25, 4, 0.25])
    standard = (np.array([0.25, 4, 0.25]) - 1.5) / np.sqrt(3.125)
    assert values(made, "flap") == pytest.approx(standard)


def test_obs_without_intercept_by_hand(tmp_path: Path) -> None:
    """a3 = a1 + a2 on both rows: every channel is made of the others."""
    found = values(toy(tmp_path, ROWS_A), "obs", moments="second", ridge=0, normalise="none")
    assert found == pytest.approx([0, 0, 0], abs=1e-6)


def test_obs_with_intercept_by_hand(tmp_path: Path) -> None:
    found = values(toy(tmp_path, ROWS_B), "obs", ridge=0, normalise="none")
    assert found == pytest.approx([0.2222, 1.6, 0.4], abs=1e-4)


def test_thinet_by_hand(tmp_path: Path) -> None:
    """Errors {1} .5, {1, 3} 2.0 against {1, 2} 8.5: the order is 1, 3, 2."""
    subset = {
        removed: np.ones(len(removed)) @ MATRIX[np.ix_(removed, removed)] @ np.ones(len(removed))
        for size in (1, 2)
        for removed in combinations(range(3), size)
    }
    assert subset == pytest.approx(
        {(0,): 0.5, (1,): 8, (2,): 2.5, (0, 2): 2.0, (1, 2): 2.5, (0, 1): 8.5}
    )
    assert values(toy(tmp_path, ROWS_A), "thinet").tolist() == [0, 2, 1]


def test_thinet_counts_what_cancels(tmp_path: Path) -> None:
    """{2} goes before {1} once {3} has gone, although it alone is larger."""
    matrix = np.array([[3.0, 0, 0], [0, 4, -3.9], [0, -3.9, 1]])
    assert removal_order(matrix).tolist() == [2, 1, 0]


def test_lasso_by_hand() -> None:
    """b = (0, (4 - lambda) / 8, 0) for every 0 < lambda <= 4, 0 above."""
    target = MATRIX.sum(axis=1)
    assert target.tolist() == [0, 4, -2]
    levels = np.array([5.0, 4.0, 3.0, 2.0, 0.5])
    found = lasso(MATRIX, target, levels)
    assert found[1] == pytest.approx([0, 0, 1 / 8, 1 / 4, 3.5 / 8], abs=1e-5)
    assert np.abs(found[[0, 2]]).max() < 1e-5


def test_units_that_never_come_in_follow_by_their_size(tmp_path: Path) -> None:
    found = values(toy(tmp_path, ROWS_A), "he2017")
    assert found[1] > 0.9
    assert 0 < found[0] < found[2] < 1e-3


def contributions(patches: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rows, outputs, channels)"""
    return np.asarray(np.einsum("rct,oct->roc", patches, weight))


def variance(patches: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Of the outputs, summed."""
    return float(contributions(patches, weight).sum(axis=2).var(axis=0).sum())


def test_sizes_are_those_of_whole_patches(patched: ScoreContext, seen: Any) -> None:
    sums: dict[str, Any] = dict.fromkeys(("wanda", "energy", "block", "flap"), 0.0)
    for patches, weight in seen:
        scale = variance(patches, weight)
        second = np.square(patches).mean(axis=0)  # (channel, tap)
        sums["wanda"] += (np.abs(weight) * np.sqrt(second)).sum(axis=(0, 2)) / np.sqrt(scale)
        squares = np.sqrt((np.square(weight) * second).sum(axis=(0, 2)))
        sums["energy"] += squares / np.sqrt(scale)
        alone = contributions(patches, weight)
        sums["block"] += np.sqrt(np.square(alone).mean(axis=0).sum(axis=0) / scale)
        fluctuates = (np.square(weight) * patches.var(axis=0)).sum(axis=(0, 2))
        sums["flap"] += (fluctuates - fluctuates.mean()) / fluctuates.std() / len(seen)
    found = {name: values(patched, name) for name in ("wanda", "energy", "flap")}
    found["block"] = values(patched, "energy", form="block")
    for name, wanted in sums.items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5, err_msg=name)


def test_obs_is_the_error_of_every_reader_after_its_best_re_fit(
    patched: ScoreContext, seen: Any
) -> None:
    wanted = np.zeros(5)
    for patches, weight in seen:
        target = contributions(patches, weight).sum(axis=2)
        for channel in range(5):
            left = np.delete(patches, channel, axis=1).reshape(len(patches), -1)
            design = np.hstack([left, np.ones((len(left), 1))])
            fitted = design @ np.linalg.lstsq(design, target, rcond=None)[0]
            error = np.square(target - fitted).mean(axis=0).sum()
            wanted[channel] += error / variance(patches, weight)
    np.testing.assert_allclose(values(patched, "obs", ridge=0), wanted, rtol=1e-4, atol=1e-5)


def test_thinet_is_greedy_on_what_readers_miss(patched: ScoreContext, seen: Any) -> None:
    def missed(removed: list[int]) -> float:
        return sum(
            float(np.square(contributions(p, w)[:, :, removed].sum(axis=2)).mean(0).sum())
            / variance(p, w)
            for p, w in seen
        )

    order: list[int] = []
    while len(order) < 5:
        rest = [c for c in range(5) if c not in order]
        order.append(min(rest, key=lambda c: missed([*order, c])))
    assert np.argsort(values(patched, "thinet")).tolist() == order


def test_gains_are_those_of_scikit_learn(seen: Any) -> None:
    patches, weight = seen[0]
    alone = contributions(patches, weight)
    outputs = alone.shape[1]
    design = alone.reshape(-1, 5)
    matrix = design.T @ design / len(alone)
    target = matrix.sum(axis=1)
    levels = np.abs(target).max() * np.array([0.9, 0.5, 0.1, 0.01])
    for level, gains in zip(levels, lasso(matrix, target, levels).T, strict=True):
        model = Lasso(alpha=level / outputs, fit_intercept=False, tol=1e-10, max_iter=100_000)
        model.fit(design, design.sum(axis=1))
        np.testing.assert_allclose(gains, model.coef_, atol=1e-5)
    order = np.argsort(-entries(matrix))
    first = int(np.argmax(np.abs(target)))
    assert order[0] == first


def test_a_group_without_known_readers_is_told_of(tmp_path: Path) -> None:
    text = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3] x, float[3,4] w_a) => (float[N,1] y) {
  a = MatMul(x, w_a)
  axes = Constant<value = int64[1] {1}>()
  y = ReduceSum(a, axes)
}
"""
    model = model_from_text(text, integers=False)
    made = context(model, tmp_path / "x.npz", x=np.ones((8, 3), np.float32))
    result = CRITERIA["flap"].score(replace(made, analysis=read(model, allow_inexact=True)))
    assert "ordered by their norms: no layer with stored weights" in result.warnings[0]
