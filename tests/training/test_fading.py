"""Units that training drives to zero: the projection by hand, and what goes without a change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.commands.finetune import finetune
from onnxslim_snacs.commands.sparse import Going, remove_zeros, zero_invariant
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.errors import NothingToPrune, ProofFailed, UsageError
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.progress import Clock, silent
from onnxslim_snacs.scores.unit_weights import unit_weights
from onnxslim_snacs.torch_graph.network import Network, open_network
from onnxslim_snacs.training.fading import PENALTY, PERIOD, half_space, open_fading
from tests.conftest import SHARED
from tests.harness import model_from_text, read
from tests.training.test_finetune import CONFIG, TEACHER

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
#: A silent group of six and one of four behind a sigmoid, which does not fall silent.
NET = (
    HEAD
    + """net (float[N,3] x, float[3,6] w_a, float[6] w_b, float[6,4] w_c, float[4,2] w_d)
  => (float[N,2] y) {
  a = MatMul(x, w_a)
  b = Add(a, w_b)
  r = Relu(b)
  c = MatMul(r, w_c)
  s = Sigmoid(c)
  y = MatMul(s, w_d)
}"""
)
X = torch.tensor([[3.0, 4.0]])


def trial(gradient: list[float]) -> torch.Tensor:
    """x - .1 gradient."""
    return X - 0.1 * torch.tensor([gradient])


def test_the_half_space_by_hand() -> None:
    """lambda 1: (3, 4) - .1 ((12, 16) + (.6, .8)) = (1.74, 2.32), whose part along x is 14.5."""
    kept = half_space(X, trial([12, 16]), 0.1, 0.0)
    assert kept.numpy() == pytest.approx(np.array([[1.74, 2.32]]))
    assert half_space(X, trial([12, 16]), 0.1, 14.4 / 25).numpy() == pytest.approx(kept.numpy())
    assert not half_space(X, trial([12, 16]), 0.1, 14.6 / 25).any()  # of 25 more has to be left
    assert not half_space(X, trial([12, 16]), 0.1, 0.95).any()
    assert not half_space(X, trial([50, 70]), 0.1, 0.0).any()  # -18.5: on the other side


def test_what_is_zero_stays_zero_whatever_the_step() -> None:
    assert not half_space(torch.zeros(1, 2), X, 0.1, 0.0).any()


def test_lengths_fall_along_a_line_and_end_in_zero() -> None:
    """Without a gradient: half of the period leaves half of the length at the most."""
    values = {"w": torch.tensor([[3.0, 1.0, 0.3], [4.0, 1.0, 0.4]])}
    average = {"w": values["w"].clone()}
    fading = open_fading(values, [("g", Axis("w", 1), np.array([[0], [2]]))])
    assert fading.lengths["g"].tolist() == pytest.approx([5.0, 0.5])
    before = fading.rows(values)
    fading.fade(values, before, 1.0, PERIOD / 2, average)
    assert values["w"].norm(dim=0).tolist() == pytest.approx([2.5, 2**0.5, 0.25])
    assert average["w"][:, 0].tolist() == [3.0, 4.0]  # not zero yet
    short = fading.rows(values)
    fading.fade(values, short, 1.0, 0.0, average)  # the penalty alone
    assert values["w"][:, 0].norm() == pytest.approx(2.5 - PENALTY)
    fading.fade(values, fading.rows(values), 1.0, PERIOD, average)
    for stored in (values["w"], average["w"]):
        assert not stored[:, [0, 2]].any()
        assert stored[:, 1].tolist() == [1.0, 1.0]


class Case:
    """The net, with chosen weights, in torch and as samples."""

    def __init__(self, folder: Path) -> None:
        self.model = model_from_text(NET, integers=False)
        rows = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
        np.savez(folder / "x.npz", x=rows)
        self.rows = rows
        self.path = folder / "x.npz"

    def opened(self) -> tuple[Analysis, Network, CalibrationSource]:
        analysis = read(self.model)
        network = open_network(analysis.graph)
        return analysis, network, open_source(DataConfig(str(self.path)), analysis.graph)

    def zero(self, name: str, axis: int, units: list[int]) -> None:
        for tensor in self.model.graph.initializer:
            if tensor.name == name:
                array = np.moveaxis(numpy_helper.to_array(tensor).copy(), axis, 0)
                array[units] = 0
                array = np.ascontiguousarray(np.moveaxis(array, 0, axis))
                tensor.CopyFrom(numpy_helper.from_array(array, name))

    def removed(self, left_out: tuple[str, ...] = ()) -> tuple[ModelProto, Any]:
        analysis, network, source = self.opened()
        makers = unit_weights(analysis, network.trained, readers=False)
        going = Going(analysis, makers, [], left_out)
        return remove_zeros(self.model, going, source, SessionConfig(), Clock(), silent)

    def run(self, model: ModelProto) -> Any:
        return create_session(model, SessionConfig(level=0)).run(None, {"x": self.rows})[0]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_groups_behind_a_sigmoid_are_not_silent(case: Case) -> None:
    analysis, network, source = case.opened()
    makers = unit_weights(analysis, network.trained, readers=False)
    first, second = analysis.ir.groups
    assert {axis.tensor for name, axis, _ in makers if name == first.id} == {"w_a", "w_b"}
    assert (first.units, second.units) == (6, 4)
    assert zero_invariant(analysis, network, makers, source) == {first.id}


def test_a_bias_that_is_no_weight_is_heard(case: Case) -> None:
    """The units' filters alone are zero then; the bias still speaks."""
    analysis, network, source = case.opened()
    makers = unit_weights(analysis, network.trained, readers=False)
    filters = [item for item in makers if item[1].tensor != "w_b"]
    assert zero_invariant(analysis, network, filters, source) == frozenset()


def test_just_the_units_whose_weights_are_all_zero_are_removed(case: Case) -> None:
    """2 and 5 are zero; 3 has a bias left."""
    case.zero("w_a", 1, [2, 3, 5])
    case.zero("w_b", 0, [2, 5])
    left = case.opened()[0].ir.groups[1].id
    cut, removed = case.removed((left,))
    first = case.opened()[0].ir.groups[0].id
    assert removed.units == {first: 2}
    assert removed.macs == pytest.approx((4 * 3 + 4 * 4 + 8) / (6 * 3 + 6 * 4 + 8))
    assert removed.difference <= 1e-5
    shapes = {t.name: list(t.dims) for t in cut.graph.initializer}
    assert shapes["w_a"] == [3, 4]
    assert case.run(cut) == pytest.approx(case.run(case.model), abs=1e-6)


def test_zeros_that_readers_do_not_see_as_zeros_fail(case: Case) -> None:
    """Behind the sigmoid a half goes on: a group that was not left out is found out."""
    case.zero("w_c", 1, [1])
    with pytest.raises(ProofFailed, match="no zeros to their readers"):
        case.removed()


def test_one_unit_stays(case: Case) -> None:
    case.zero("w_a", 1, list(range(6)))
    case.zero("w_b", 0, list(range(6)))
    left = case.opened()[0].ir.groups[1].id
    cut, removed = case.removed((left,))
    assert list(removed.units.values()) == [5]
    assert case.run(cut) == pytest.approx(case.run(case.model), abs=1e-6)


def test_training_ends_with_units_gone_and_nothing_changed_by_that(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    model, report = finetune(TEACHER, TEACHER, replace(CONFIG, steps=50, sparse=0.6), out=out)
    removed = report.removed
    assert removed is not None
    assert 0.5 < removed.macs <= 0.6
    assert sum(removed.units.values()) > 10
    assert removed.left_out == ()
    assert removed.difference <= 1e-5
    assert onnx.load(out) == model
    small, large = (
        sum(t.ByteSize() for t in m.graph.initializer) for m in (model, onnx.load(TEACHER))
    )
    assert small < 0.8 * large
    assert (report.after.top1_agreement or 0.0) > 0.5


def test_training_that_is_stopped_removes_what_is_zero_by_then(tmp_path: Path) -> None:
    """After a single step no unit has come to zero: the whole model is given back."""
    config = replace(CONFIG, steps=50, sparse=0.6)
    model, report = finetune(TEACHER, TEACHER, config, stop=lambda: True)
    assert report.removed is not None
    assert report.removed.units == {}
    assert report.removed.macs == 1.0
    assert {t.name: t.dims for t in model.graph.initializer} == {
        t.name: t.dims for t in onnx.load(TEACHER).graph.initializer
    }


def test_resumed_training_ends_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=30, sparse=0.6)
    whole, _ = finetune(TEACHER, TEACHER, config)
    note, asked = tmp_path / "note", iter(range(100))
    finetune(TEACHER, TEACHER, config, checkpoint=note, stop=lambda: next(asked) == 8)
    assert note.exists()
    resumed, _ = finetune(TEACHER, TEACHER, config, checkpoint=note, resume=True)
    assert resumed == whole


@pytest.mark.shared
def test_units_of_residual_streams_go_without_a_trace(tmp_path: Path) -> None:
    """ResNet-20 with its normalisations as they were trained: a few steps, and half is zero."""
    path = SHARED / "models" / "cifar10_akamaster_resnet20_ts17_bn.onnx"
    rows = np.random.default_rng(0).standard_normal((24, 3, 32, 32)).astype(np.float32)
    np.savez(tmp_path / "x.npz", input=rows)
    data = DataConfig(str(tmp_path / "x.npz"))
    config = replace(CONFIG, data=data, steps=3, batch=6, sparse=0.5)
    _, report = finetune(path, path, config)
    removed = report.removed
    assert removed is not None
    assert removed.macs <= 0.5
    assert removed.left_out == ()
    assert removed.difference <= 1e-5


def test_what_cannot_be_had_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        replace(CONFIG, sparse=1.5)
    with pytest.raises(NothingToPrune, match="cannot be met"):
        finetune(TEACHER, TEACHER, replace(CONFIG, sparse=0.001))
