"""The passes that `prune` runs, one after the other: the contract of each, over every rule."""

from __future__ import annotations

import inspect
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.model.wiring import check_wiring
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.passes.draft import Draft, Pass, open_draft
from onnxslim_snacs.passes.nodes import place_nodes
from onnxslim_snacs.passes.prune import PASSES, prune
from onnxslim_snacs.passes.slices import slice_tensors
from onnxslim_snacs.passes.tidy import rejoin_copies, remove_dead, unfold_weights
from onnxslim_snacs.proof.oracle import masked_original
from tests.harness import Fixture, check, fixtures, model_from_text, random_keep, read, run

ALL = [f for f in fixtures() if f.groups]
NAMES = [step.__name__ for step in PASSES]


def whole(model: ModelProto) -> None:
    """Every name that is read is written before, and every tensor is stored once."""
    check(model)
    check_wiring(model)
    stored = Counter(t.name for t in model.graph.initializer)
    made = Counter(o for n in model.graph.node for o in n.output if o)
    assert max((stored + made).values(), default=1) == 1


def opened(fixture: Fixture) -> Draft:
    analysis = read(fixture.model, allow_inexact=fixture.allow_inexact)
    return open_draft(analysis, random_keep(analysis, 0.5, 1))


@pytest.mark.parametrize("fixture", ALL, ids=lambda f: f.title)
def test_the_model_is_whole_after_each_pass(fixture: Fixture) -> None:
    draft = opened(fixture)
    before = draft.analysis.graph.proto.SerializeToString()
    waiting = NAMES.index(place_nodes.__name__)
    for number, step in enumerate(PASSES):
        step(draft)
        if number >= waiting or not (draft.before or draft.instead):
            whole(draft.model)
        assert draft.analysis.graph.proto.SerializeToString() == before
    expected = prune(draft.analysis, draft.keep)
    assert draft.model.SerializeToString() == expected.SerializeToString()


@pytest.mark.parametrize("step", PASSES, ids=NAMES)
def test_a_pass_takes_a_draft_and_says_what_it_does(step: object) -> None:
    (draft,) = inspect.signature(step).parameters.values()  # type: ignore[arg-type]
    assert draft.annotation == "Draft"
    assert inspect.getdoc(step)


#: What takes back how the model was prepared; the others leave everything where nothing goes.
UNDOING = (rejoin_copies, unfold_weights)


@pytest.mark.parametrize("step", [s for s in PASSES if s not in UNDOING], ids=lambda s: s.__name__)
def test_a_pass_changes_nothing_where_nothing_goes(step: Pass) -> None:
    for fixture in ALL[::7]:
        draft = open_draft(read(fixture.model), KeepMap({}))
        before = draft.model.SerializeToString()
        step(draft)
        assert draft.model.SerializeToString() == before


def test_what_was_prepared_is_taken_back() -> None:
    prepared = 0
    for fixture in ALL:
        draft = open_draft(read(fixture.model), KeepMap({}))
        prepared += draft.model.SerializeToString() != fixture.model.SerializeToString()
        for step in UNDOING:
            step(draft)
        if draft.analysis.given is None:
            assert draft.model.SerializeToString() == fixture.model.SerializeToString()
    assert prepared >= 3


NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,2] x, float[2,3] w_a, float[3] w_bias, float[3,2] w_b) => (float[N,2] y) {
  a = MatMul(x, w_a)
  b = Add(a, w_bias)
  y = MatMul(b, w_b)
}
"""


def net() -> Analysis:
    return read(model_from_text(NET))


def stored(model: ModelProto) -> dict[str, list[object]]:
    return {t.name: numpy_helper.to_array(t).tolist() for t in model.graph.initializer}


def test_tensors_are_sliced_along_their_own_axes() -> None:
    analysis = net()
    keep = random_keep(analysis, 0.3, 0)
    (index,) = {tuple(kept.tolist()) for kept in keep.kept.values()}
    draft, before = open_draft(analysis, keep), stored(analysis.graph.proto)
    slice_tensors(draft)
    after = stored(draft.model)
    a = onnx.numpy_helper.to_array(analysis.graph.initializers["w_a"])
    assert after["w_a"] == a[:, list(index)].tolist()
    assert after["w_bias"] == [before["w_bias"][k] for k in index]
    assert after["w_b"] == [before["w_b"][k] for k in index]
    assert keep.index(Axis("w_a", 1)) is not None


def test_what_has_lost_its_reader_goes() -> None:
    draft = open_draft(net(), KeepMap({}))
    draft.model.graph.node[1].input[1] = "w_other"
    draft.model.graph.initializer.add().CopyFrom(numpy_helper.from_array(numpy_helper.to_array(
        draft.model.graph.initializer[1]), "w_other"))  # fmt: skip
    draft.suspects.add("w_bias")
    remove_dead(draft)
    assert {t.name for t in draft.model.graph.initializer} == {"w_a", "w_b", "w_other"}


def test_what_a_file_declares_against_its_runs_is_left_out_of_the_cut() -> None:
    proto = model_from_text(NET)
    declared: dict[str, list[int | str]] = {"a": ["N", 3], "b": ["N", 7], "y": ["N", 2]}
    for name, shape in declared.items():
        proto.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    analysis = read(proto)
    before = [value.name for value in analysis.graph.proto.graph.value_info]
    cut = prune(analysis, random_keep(analysis, 0.3, 0))
    assert before == ["a", "b", "y"]
    assert [value.name for value in cut.graph.value_info] == ["a", "y"]
    (extents,) = (v.type.tensor_type.shape for v in cut.graph.value_info if v.name == "a")
    (weight,) = (t.dims for t in cut.graph.initializer if t.name == "w_a")
    assert extents.dim[1].dim_value == weight[1] < 3


#: Two layers whose two heads lie in one axis with the samples, as exporters write and name it.
HEADS = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,8] x, float[8,8] w_a, float[4,4] w_b, float[8,8] w_c, float[4,4] w_d, float[8,3] w_e)
 => (float[N,3] y)
 <int64[2] apart = {-1, 4}, int64[2] whole = {-1, 8}> {
  a = MatMul(x, w_a)
  b = Reshape(a, apart)
  c = MatMul(b, w_b)
  d = Reshape(c, whole)
  e = MatMul(d, w_c)
  f = Reshape(e, apart)
  g = MatMul(f, w_d)
  h = Reshape(g, whole)
  y = MatMul(h, w_e)
}
"""


def test_the_name_of_an_axis_that_has_lost_heads_is_not_kept() -> None:
    """ONNX Runtime shares memory among tensors whose axes are called alike."""
    proto = model_from_text(HEADS)
    for name in "bcfg":
        shape: list[int | str] = ["2*N", 4]
        proto.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    analysis = read(proto)
    (heads,) = (g for g in analysis.ir.groups if g.on(Axis("b", 0)) is not None)
    keep = keep_map(analysis.ir, {heads.id: np.array([True, False])})
    cut = prune(analysis, keep)
    names = {v.name: v.type.tensor_type.shape.dim[0].dim_param for v in cut.graph.value_info}
    assert names == {"b": "", "c": "", "f": "2*N", "g": "2*N"}
    feeds = {"x": np.ones((5, 8), np.float32)}
    got, expected = run(cut, feeds, 0), run(masked_original(analysis, keep), feeds, 0)
    np.testing.assert_array_equal(got[0], expected[0])
