"""Criteria on gradients against numbers worked out by hand, and gates against taking units out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, parser

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.sources import Batch
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.proof.oracle import masked_original
from onnxslim_snacs.scores import CRITERIA, grasp, hesso, snip, taylor
from onnxslim_snacs.scores.criterion import ScoreContext, with_options
from onnxslim_snacs.scores.losses import Signs
from onnxslim_snacs.scores.unit_gates import gate_products, mean_over_samples
from onnxslim_snacs.torch_graph.network import open_network
from tests.harness import model_from_text, read

#: a = [[1, 0, 1], [0, 2, 2]] is what the last layer reads; y = [0, 2].
TOY = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3] x) => (float[N,1] y)
<float[3,3] one = {1, 0, 0,  0, 1, 0,  0, 0, 1}, float[3,1] w = {1, 2, -1}>
{
  a = MatMul(x, one)
  y = MatMul(a, w)
}
"""
#: The units of a stream that two layers read, behind a projection that goes on.
STREAM = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,4,4] x, float[5,3,1,1] w_a, float[5] w_s, float[5] w_b, float[5] w_m, float[5,5,3,3] w_c, float[4,5,1,1] w_d) => (float[N,4,4,4] y)
  <float[5] v = {1.0, 0.5, 2.0, 1.5, 0.7}> {
  a = Conv(x, w_a)
  n = BatchNormalization(a, w_s, w_b, w_m, v)
  r = Sigmoid(n)
  c = Conv<pads = [1,1,1,1]>(r, w_c)
  s = Add(c, r)
  y = Conv(s, w_d)
}
"""  # noqa: E501


def context(model: ModelProto, path: Path, seed: int = 0, **arrays: Any) -> ScoreContext:
    np.savez(path, **arrays)
    analysis = read(model)
    source = open_source(DataConfig(str(path)), analysis.graph)
    return ScoreContext(analysis, source, SessionConfig(), seed)


@pytest.fixture
def toy(tmp_path: Path) -> ScoreContext:
    rows = np.array([[1, 0, 1], [0, 2, 2]], dtype=np.float32)
    return context(parser.parse_model(TOY), tmp_path / "x.npz", x=rows)


@pytest.fixture
def stream(tmp_path: Path) -> ScoreContext:
    rows = np.random.default_rng(0).standard_normal((6, 3, 4, 4)).astype(np.float32)
    return context(model_from_text(STREAM, integers=False), tmp_path / "x.npz", x=rows)


def squared(outputs: Mapping[str, torch.Tensor], batch: Batch) -> Sequence[torch.Tensor]:
    """1/2 (y - t)^2 with t = [1, 0]."""
    (y,) = outputs.values()
    target = torch.tensor([[1.0], [0.0]])[torch.from_numpy(batch.index)]
    return [0.5 * (y - target).square().sum()]


def test_products_are_those_worked_out_by_hand(toy: ScoreContext) -> None:
    ((products,),) = list(gate_products(toy, squared))
    ((key, z),) = products.items()
    assert key == (toy.analysis.ir.groups[0].id, 0)
    assert z.tolist() == [[-1, 0, 1], [0, 8, -4]]


def test_snip_by_hand(toy: ScoreContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """|mean z| = [.5, 4, 1.5], of their sum; with one reader of one output so of connections.

    A connection that makes a unit is the identity's 1 here, and so adds the same again.
    """
    monkeypatch.setattr(snip, "choose_losses", lambda *_, **__: ("squared", squared))
    (values,) = snip.snip(toy, form="gate").scores.values()
    assert values == pytest.approx([1 / 12, 2 / 3, 1 / 4])
    (values,) = snip.snip(toy).scores.values()
    assert values == pytest.approx([1 / 12, 2 / 3, 1 / 4])
    (values,) = snip.snip(toy, form="per-sample").scores.values()
    assert values == pytest.approx([0.5 / 7, 4 / 7, 2.5 / 7])


def test_snip_takes_absolute_values_of_single_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x = (1, 1), filters (2, -1) and (1, 1), readers 1 and 3: a = (1, 2), y = 7, dL/dy = 7.

    dL/da = (7, 21): |w dL/dw| of the filters 14 + 7 and 21 + 21, of the readers 7 and 42; a gate on
    the first unit sees 14 - 7 = 7 alone.
    """
    text = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,2] x) => (float[N,1] y) <float[2,2] w = {2, 1,  -1, 1}, float[2,1] v = {1, 3}> {
  a = MatMul(x, w)
  y = MatMul(a, v)
}
"""

    def half_square(outputs: Mapping[str, torch.Tensor], batch: Batch) -> Sequence[torch.Tensor]:
        return [0.5 * y.square().sum() for y in outputs.values()]

    monkeypatch.setattr(snip, "choose_losses", lambda *_, **__: ("squared", half_square))
    made = context(parser.parse_model(text), tmp_path / "x.npz", x=np.ones((1, 2), np.float32))
    (values,) = snip.snip(made).scores.values()
    assert values == pytest.approx([28 / 112, 84 / 112])
    (values,) = snip.snip(made, reduce="max").scores.values()
    assert values == pytest.approx([21 / 63, 42 / 63])
    (values,) = snip.snip(made, form="gate").scores.values()
    assert values == pytest.approx([7 / 49, 42 / 49])


def test_snip_by_weight_makes_groups_of_different_sizes_alike(tmp_path: Path) -> None:
    """Units of 3 + 5 weights, and of 4 + 1: shares over eight and over five."""
    text = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3] x, float[3,4] w_a, float[4,5] w_b, float[5,1] w_c) => (float[N,1] y) {
  a = MatMul(x, w_a)
  b = MatMul(a, w_b)
  y = MatMul(b, w_c)
}
"""
    rows = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    made = context(model_from_text(text, integers=False), tmp_path / "x.npz", x=rows)
    first, second = snip.snip(made).scores.values()
    by_weight = snip.snip(made, per="weight").scores.values()
    total = float(first.sum() / 8 + second.sum() / 5)
    for found, wanted in zip(by_weight, (first / 8, second / 5), strict=True):
        assert found == pytest.approx(wanted / total)


def test_taylor_by_hand(toy: ScoreContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """2019: mean z^2; 2016: mean |z| = [.5, 4, 2.5] divided by its norm."""
    monkeypatch.setattr(taylor, "choose_losses", lambda *_, **__: ("squared", squared))
    (values,) = taylor.taylor(toy).scores.values()
    assert values == pytest.approx([0.5, 32, 8.5])
    (values,) = taylor.taylor(toy, form="2016").scores.values()
    assert values == pytest.approx([0.1054, 0.8433, 0.5270], abs=1e-4)


def test_grasp_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """H = diag(2, 1), weights (1, 2), minimum (0, 1): g = (2, 1), H g = (4, 1), w H g = (4, 2)."""
    text = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,1] x) => (float[N,1] y) <float[1,2] w = {1, 2}, float[2,1] v = {1, 1}> {
  a = MatMul(x, w)
  y = MatMul(a, v)
}
"""
    model = parser.parse_model(text)
    made = context(model, tmp_path / "x.npz", x=np.ones((1, 1), np.float32))

    def quadratic(outputs: Mapping[str, torch.Tensor], batch: Batch) -> Sequence[torch.Tensor]:
        w = weights[0]
        return [w[0, 0].square() + 0.5 * (w[0, 1] - 1.0).square()]

    weights: list[torch.Tensor] = []
    opened = open_network

    def remembered(*given: Any, **options: Any) -> Any:
        network = opened(*given, **options)
        weights[:] = [network.values["w"]]
        return network

    monkeypatch.setattr(grasp, "open_network", remembered)
    monkeypatch.setattr(grasp, "choose_losses", lambda *_, **__: ("quadratic", quadratic))
    (values,) = grasp.grasp(made).scores.values()
    assert values == pytest.approx([4, 2])


def test_grasp_against_finite_differences_of_the_gradient(tmp_path: Path) -> None:
    """H g is how much the gradient changes along itself."""
    text = TOY.replace("float[N,1] y", "float[N,2] y").replace(
        "float[3,1] w = {1, 2, -1}", "float[3,2] w = {1, 0,  0, 2,  -1, 1}"
    )
    rows = np.array([[1, 0, 1], [2, 2, 2], [0, 1, -1]], dtype=np.float32)
    labels = np.array([0, 1, 1])
    made = context(parser.parse_model(text), tmp_path / "x.npz", x=rows, labels=labels)
    cold = with_options(CRITERIA["grasp"], {"temperature": 2.0})
    (values,) = cold.score(made).scores.values()
    first, last = np.eye(3), np.array([[1, 0], [0, 2], [-1, 1.0]])

    def gradient(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Of the mean cross-entropy of x a b / 2."""
        y = rows @ a @ b / 2.0
        p = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
        error = (p - np.eye(2)[labels]) / (2.0 * len(rows))
        return rows.T @ error @ b.T, (rows @ a).T @ error

    g, h = gradient(first, last)
    step = 1e-5
    ahead, behind = (gradient(first + s * g, last + s * h)[0] for s in (step, -step))
    wanted = (first * (ahead - behind) / (2 * step)).sum(axis=0)
    assert values == pytest.approx(wanted, rel=1e-4)


def test_fisher_by_hand(toy: ScoreContext) -> None:
    """One answer: v'J = +-(a w), whatever the signs; a w = [[1, 0, -1], [0, 4, -2]], spread 1."""
    (values,) = CRITERIA["fisher"].score(toy).scores.values()
    assert values == pytest.approx([0.5, 8, 2.5])


def test_many_signs_give_the_squared_jacobian(stream: ScoreContext) -> None:
    """The mean of (v'J)^2 tends to |J|^2, which one answer at a time gives exactly."""

    def each(outputs: Mapping[str, torch.Tensor], batch: Batch) -> Sequence[torch.Tensor]:
        (y,) = outputs.values()
        return list(y.flatten(1).sum(0))

    wanted = {
        group: values * 64  # a mean over 64 answers
        for group, values in mean_over_samples(stream, each, np.square).items()
    }
    scale = Signs(0, 1)
    next(iter(gate_products(stream, scale)))
    signs = Signs(0, 400, spread=dict.fromkeys(scale.spread, 1.0))
    found = mean_over_samples(stream, signs, np.square)
    for group, values in wanted.items():
        assert found[group] == pytest.approx(values, rel=0.15)


def test_a_gate_is_the_derivative_of_taking_the_unit_out(stream: ScoreContext) -> None:
    """z of a linear loss against the masked original with one unit nearly and wholly taken out.

    The last group is read by one linear layer: there the loss falls by z exactly.
    """

    def total(outputs: Mapping[str, torch.Tensor], batch: Batch) -> Sequence[torch.Tensor]:
        (y,) = outputs.values()
        return [y.sum()]

    (batch,) = stream.source.batches()
    ((products,),) = list(gate_products(stream, total))
    analysis = stream.analysis
    (group,) = analysis.ir.groups
    network_sum = create_session(analysis.graph.proto, SessionConfig(level=0)).run(
        None, batch.inputs
    )[0]
    for unit in range(group.units):
        mask = np.arange(group.units) != unit
        masked = masked_original(analysis, keep_map(analysis.ir, {group.id: mask}))
        (without,) = create_session(masked, SessionConfig(level=0)).run(None, batch.inputs)
        # both readers are linear: y = D (C r + r) with the unit out of both sums is exact but for
        # what goes through both at once
        gone = network_sum.sum(axis=(1, 2, 3)) - without.sum(axis=(1, 2, 3))
        both = products[group.id, 0][:, unit] - gone
        inner = _through_both(stream, unit, batch)
        np.testing.assert_allclose(both, inner, rtol=1e-3, atol=1e-4)


def test_readers_are_summed_before_squares_unless_they_are_asked_one_by_one(
    stream: ScoreContext,
) -> None:
    """Two gates z and -z would cancel as one, and count twice apart."""

    def total(outputs: Mapping[str, torch.Tensor], batch: Batch) -> Sequence[torch.Tensor]:
        (y,) = outputs.values()
        return [y.sum()]

    ((apart,),) = list(gate_products(stream, total, apart=True))
    ((one,),) = list(gate_products(stream, total))
    (group,) = stream.analysis.ir.groups
    first, second = apart.values()
    assert one[group.id, 0] == pytest.approx(first + second)
    together = mean_over_samples(stream, total, np.square)[group.id]
    each = mean_over_samples(stream, total, np.square, reduce="sum")[group.id]
    largest = mean_over_samples(stream, total, np.square, reduce="max", normalise="max")[group.id]
    squares = np.square(first).mean(axis=0), np.square(second).mean(axis=0)
    assert together == pytest.approx(np.square(first + second).mean(axis=0))
    assert each == pytest.approx(squares[0] + squares[1])
    assert largest == pytest.approx(np.maximum(*(s / s.max() for s in squares)))


def test_hesso_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """x = 1, weights (1, 2) and bias (0, -2), readers 1: a = (1, 0), y = 1, all slopes 1.

    Unit 1: |x| 1, over two numbers 1/2, x.g 1, |g| sqrt 2, cosine 1/sqrt 2 + 1; unit 2: |x|
    sqrt 8, sqrt 2, x.g 0, cosine 1.
    """
    text = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,1] x) => (float[N,1] y)
<float[1,2] w = {1, 2}, float[2] b = {0, -2}, float[2,1] v = {1, 1}> {
  a = MatMul(x, w)
  c = Add(a, b)
  y = MatMul(c, v)
}
"""

    def total(outputs: Mapping[str, torch.Tensor], batch: Batch) -> Sequence[torch.Tensor]:
        return [y.sum() for y in outputs.values()]

    monkeypatch.setattr(hesso, "choose_losses", lambda *_, **__: ("sum", total))
    made = context(parser.parse_model(text), tmp_path / "x.npz", x=np.ones((1, 1), np.float32))
    (values,) = hesso.score(made).scores.values()
    root = np.sqrt(2.0)
    cosines = np.array([1 / root + 1, 1.0])
    wanted = (
        np.array([1, 2 * root]) / 3
        + np.array([0.5, root]) / 1.5
        + cosines / np.linalg.norm(cosines)
        + np.array([1, 0])
        + np.array([1, 0])
    ) / 5
    assert values == pytest.approx(wanted)


def test_norms_of_hesso_are_those_of_all_groups_together() -> None:
    sums = [np.array([[9.0], [1.0], [3.0], [1.0]]), np.array([[16.0], [1.0], [4.0], [1.0]])]
    first, second = hesso.saliency(sums)
    along = np.array([9.0, 16.0]) / np.hypot(9, 16)
    wanted = (2 * np.array([3, 4]) / 5 + 1 / np.sqrt(2) + np.array([3, 4]) / 5 + along) / 5
    assert np.concatenate([first, second]) == pytest.approx(wanted)


def _through_both(stream: ScoreContext, unit: int, batch: Batch) -> np.ndarray[Any, Any]:
    """(samples,) what goes through the unit's gates of both layers, counted twice in z."""
    graph = stream.analysis.graph
    x = torch.from_numpy(batch.inputs["x"])
    w = {name: torch.tensor(graph.array(name)) for name in graph.initializers}
    a = torch.nn.functional.conv2d(x, w["w_a"])
    n = torch.nn.functional.batch_norm(a, w["w_m"], w["v"], w["w_s"], w["w_b"], False, 0.0, 1e-5)
    only = torch.zeros_like(n)
    only[:, unit] = torch.sigmoid(n)[:, unit]
    c = torch.nn.functional.conv2d(only, w["w_c"], padding=1)
    kept = torch.zeros_like(c)
    kept[:, unit] = c[:, unit]
    y = torch.nn.functional.conv2d(kept, w["w_d"])
    found: np.ndarray[Any, Any] = y.sum(dim=(1, 2, 3)).numpy()
    return found


@pytest.mark.parametrize("name", ["fisher", "taylor", "snip"])
def test_permuted_channels_have_permuted_scores(name: str, toy: ScoreContext) -> None:
    (before,) = CRITERIA[name].score(toy).scores.values()
    text = TOY.replace("1, 0, 0,  0, 1, 0,  0, 0, 1", "0, 1, 0,  0, 0, 1,  1, 0, 0")
    turned = parser.parse_model(text.replace("1, 2, -1", "-1, 1, 2"))
    (after,) = CRITERIA[name].score(replace(toy, analysis=read(turned))).scores.values()
    assert after == pytest.approx(before[[2, 0, 1]])


@pytest.mark.parametrize("name", ["fisher", "taylor", "snip"])
def test_the_same_seed_gives_the_same_scores(name: str, stream: ScoreContext) -> None:
    first, again = (CRITERIA[name].score(stream).scores for _ in range(2))
    other = CRITERIA[name].score(replace(stream, seed=1)).scores
    for group, values in first.items():
        assert values.tolist() == again[group].tolist()
        assert values.tolist() != other[group].tolist()


def test_labels_are_used_where_there_are_some(tmp_path: Path) -> None:
    """Cross-entropy of two classes: dL/dy = p - 1 for the label, p for the other."""
    text = TOY.replace("float[N,1] y", "float[N,2] y").replace(
        "float[3,1] w = {1, 2, -1}", "float[3,2] w = {1, 0,  0, 0,  0, 0}"
    )
    rows = np.array([[1, 0, 1], [2, 2, 2]], dtype=np.float32)
    made = context(parser.parse_model(text), tmp_path / "x.npz", x=rows, labels=np.array([0, 1]))
    result = CRITERIA["taylor"].score(made)
    (values,) = result.scores.values()
    p = 1 / (1 + np.exp(-np.array([1.0, 2.0])))
    z = np.array([1.0, 2.0]) * (p - [1, 0])
    assert values == pytest.approx([np.mean(z**2), 0, 0])
    assert result.notes["loss"] == "labels"
    by_signs = with_options(CRITERIA["taylor"], {"loss": "signs"}).score(made)
    assert by_signs.notes["loss"] == "signs"


def test_labels_that_are_not_there_cannot_be_asked_for(toy: ScoreContext) -> None:
    with pytest.raises(UsageError, match="no labels"):
        with_options(CRITERIA["taylor"], {"loss": "labels"}).score(toy)
    with pytest.raises(UsageError, match="expected one of auto, labels, signs"):
        with_options(CRITERIA["snip"], {"loss": "no"})


def test_a_group_that_no_layer_reads_in_floats_is_ordered_by_its_norms(tmp_path: Path) -> None:
    text = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3] x, float[3,4] w_a) => (float[N,1] y) {
  a = MatMul(x, w_a)
  axes = Constant<value = int64[1] {1}>()
  y = ReduceSum(a, axes)
}
"""
    model = model_from_text(text, integers=False)
    rows = np.ones((2, 3), dtype=np.float32)
    made = context(model, tmp_path / "x.npz", x=rows)
    analysis = read(model, allow_inexact=True)
    (group,) = analysis.ir.groups
    result = CRITERIA["fisher"].score(replace(made, analysis=analysis))
    assert result.notes == {"ordered by their norms": [group.id]}
    norms = CRITERIA["l1"].score(replace(made, analysis=analysis)).scores
    assert result.scores[group.id].tolist() == norms[group.id].tolist()


def test_answers_are_read_in_front_of_the_softmax(tmp_path: Path) -> None:
    """Of a softmax that is sure, gradients are nearly zero; of what it is given, they are not."""
    text = TOY.replace("y = MatMul(a, w)", "l = MatMul(a, w)\n  y = Softmax(l)").replace(
        "float[N,1] y", "float[N,2] y"
    )
    text = text.replace("float[3,1] w = {1, 2, -1}", "float[3,2] w = {99, 0,  0, 0,  0, 1}")
    rows = np.array([[1, 0, 1], [1, 2, 2]], dtype=np.float32)
    made = context(parser.parse_model(text), tmp_path / "x.npz", x=rows)
    (values,) = CRITERIA["fisher"].score(made).scores.values()
    assert values[0] / values[2] == pytest.approx(99**2 / 2.5)
    assert values[1] == 0.0
