"""Control flow: channels go inside of bodies and across their borders, where all are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnxslim_snacs import CompressConfig, DataConfig, compress
from onnxslim_snacs.activations.masked import masked_model
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.sizes import random_inputs
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.proof.prove import prove
from onnxslim_snacs.scores.magnitude import producing_axes

# States that start from a constant, slices and stacked results all have channels of their own.
CARRIED = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[T, 3] x) => (float[T, 2] y, float[2] z) {
  u = MatMul(x, w_u)
  v = Relu(u)
  last, s = Scan <num_scan_inputs = 1, body = step (float[4] state, float[5] now)
      => (float[4] next, float[7] out) {
    p = MatMul(now, w_a)
    q = MatMul(state, w_b)
    r = Add(p, q)
    next = Relu(r)
    o = MatMul(next, w_c)
    out = Relu(o)
  }> (w_start, v)
  y = MatMul(s, w_o)
  z = MatMul(last, w_z)
}
"""
CARRIED_WEIGHTS = """net:w_u:3:5 net:w_start:4 net:w_o:7:2 net:w_z:4:2
body:w_a:5:4 body:w_b:4:4 body:w_c:4:7"""

# A state that gets longer with every turn has no slots; the channels beside it do.
GROWING = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3] x) => (float[A, 2] y) <int64 three = {3}, bool on = {1}> {
  h = MatMul(x, w_h)
  all = Loop <body = step (int64 i, bool go, float[B, 5] a) => (bool more, float[C, 5] b) {
    more = Identity(go)
    b = Concat <axis = 0> (a, h)
  }> (three, on, h)
  y = MatMul(all, w_y)
}
"""
GROWING_WEIGHTS = "net:w_h:3:5 net:w_y:5:2"


def _weights(text: str, model: ModelProto) -> None:
    """Put small integers into the initializers `name: dims` of the bodies and of the graph."""
    rng = np.random.default_rng(0)
    bodies = {a.name: a.g for n in model.graph.node for a in n.attribute if a.HasField("g")}
    for line in text.split():
        place, name, *dims = line.split(":")
        value = rng.integers(-3, 4, [int(d) for d in dims]).astype(np.float32)
        graph = bodies.get(place, model.graph)
        graph.initializer.append(numpy_helper.from_array(value, name))


IF = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3] x, bool wide) => (float[N, 2] y) {
  h = MatMul(x, w_in)
  b = Relu(h)
  r = If (wide) <
    then_branch = wide_one () => (float[N, 2] s) {
      p = MatMul(b, w_a)
      q = Relu(p)
      s = MatMul(q, w_b)
    },
    else_branch = narrow_one () => (float[N, 2] t) {
      u = MatMul(b, w_c)
      v = Relu(u)
      t = MatMul(v, w_d)
    }
  >
  k = MatMul(r, w_k)
  l = Relu(k)
  y = MatMul(l, w_out)
}
"""
IF_WEIGHTS = """net:w_in:3:5 net:w_k:2:4 net:w_out:4:2 then_branch:w_a:5:8 then_branch:w_b:8:2
else_branch:w_c:5:6 else_branch:w_d:6:2"""

SCAN = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[T, 3] x, float[4] start) => (float[4] last, float[T, 4] y) {
  last, y = Scan <num_scan_inputs = 1, body = step (float[4] state, float[3] now)
      => (float[4] next, float[4] out) {
    p = MatMul(now, w_a)
    q = Relu(p)
    r = MatMul(q, w_b)
    next = Add(r, state)
    out = Identity(next)
  }> (start, x)
}
"""
SCAN_WEIGHTS = "body:w_a:3:6 body:w_b:6:4"

LOOP = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3] x) => (float[N, 3] y) <int64 three = {3}, bool on = {1}> {
  y = Loop <body = step (int64 i, bool go, float[N, 3] a) => (bool more, float[N, 3] b) {
    more = Identity(go)
    p = MatMul(a, w_a)
    q = Relu(p)
    b = MatMul(q, w_b)
  }> (three, on, x)
}
"""
LOOP_WEIGHTS = "body:w_a:3:6 body:w_b:6:3"


def _read(text: str, weights: str) -> Analysis:
    model = onnx.parser.parse_model(text)
    _weights(weights, model)
    return analyse(ModelGraph(model))


@pytest.mark.parametrize(
    ("text", "weights", "groups"),
    [
        (IF, IF_WEIGHTS, {2, 4, 5, 6, 8}),
        (SCAN, SCAN_WEIGHTS, {6}),
        (LOOP, LOOP_WEIGHTS, {6}),
        (CARRIED, CARRIED_WEIGHTS, {4, 5, 7}),
        (GROWING, GROWING_WEIGHTS, {5}),
    ],
    ids=["if", "scan", "loop", "carried", "growing"],
)
def test_channels_inside_go_and_both_levels_are_proved(
    text: str, weights: str, groups: set[int]
) -> None:
    analysis = _read(text, weights)
    assert {group.units for group in analysis.ir.groups} == groups
    half = {g.id: np.arange(g.units) % 2 == 0 for g in analysis.ir.groups}
    keep = keep_map(analysis.ir, half)
    pruned = prune(analysis, keep)
    onnx.checker.check_model(pruned, full_check=True)
    proof = prove(analysis, keep, pruned)
    assert proof.passed, proof.failure
    assert proof.max_rel_diff == 0
    stored = sum(
        int(np.prod(t.dims))
        for graph in (pruned.graph, *_bodies(pruned))
        for t in graph.initializer
        if t.name.startswith("w_")
    )
    assert cost_model(analysis).cost(keep).params == stored
    assert len(list(producing_axes(analysis))) >= len(groups)


@pytest.mark.parametrize(
    ("text", "weights"),
    [(IF, IF_WEIGHTS), (SCAN, SCAN_WEIGHTS), (LOOP, LOOP_WEIGHTS), (CARRIED, CARRIED_WEIGHTS)],
    ids=["if", "scan", "loop", "carried"],
)
def test_channels_inside_are_switched_off_at_run_time(text: str, weights: str) -> None:
    """So that curves can be measured; each group alone, against the cut model."""
    analysis = _read(text, weights)
    model = masked_model(analysis)
    whole = create_session(model.proto, SessionConfig())
    assert analysis.facts.settled is not None
    rng = np.random.default_rng(0)
    feeds = random_inputs(analysis.graph, analysis.facts.settled.trials[0].sizes, seed=1)
    feeds |= {n: rng.integers(-3, 4, v.shape).astype("f4") for n, v in feeds.items() if v.ndim}
    moved = 0
    for branch in (True, False):
        feeds |= {name: np.array(branch) for name in feeds if name == "wide"}
        (original, *_) = whole.run(None, {**feeds, **model.feeds(KeepMap({}))})
        for group in analysis.ir.groups:
            keep = keep_map(analysis.ir, {group.id: np.arange(group.units) % 2 == 0})
            got = whole.run(None, {**feeds, **model.feeds(keep)})
            wanted = create_session(prune(analysis, keep), SessionConfig()).run(None, feeds)
            for one, other in zip(got, wanted, strict=True):
                np.testing.assert_array_equal(one, other)
            moved += not np.array_equal(got[0], original)
    assert moved >= len(analysis.ir.groups)


def test_the_main_command_cuts_inside_of_a_loop(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(LOOP)
    _weights(LOOP_WEIGHTS, model)
    samples = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=samples)
    data = DataConfig(str(tmp_path / "data.npz"))
    report = compress(model, CompressConfig(data=data, target={"params": 0.6})).report
    assert report.after.params <= 0.6 * report.before.params
    assert report.proof is not None
    assert report.proof.passed


@pytest.mark.parametrize("branch", ["then_branch", "else_branch"])
def test_a_wrong_weight_in_either_branch_is_noticed(branch: str) -> None:
    analysis = _read(IF, IF_WEIGHTS)
    half = {g.id: np.arange(g.units) % 2 == 0 for g in analysis.ir.groups}
    keep = keep_map(analysis.ir, half)
    pruned = prune(analysis, keep)
    node = next(n for n in pruned.graph.node if n.op_type == "If")
    body = next(a.g for a in node.attribute if a.name == branch)
    weight = numpy_helper.to_array(body.initializer[0]).copy()
    weight[0, 0] += 8
    body.initializer[0].CopyFrom(numpy_helper.from_array(weight, body.initializer[0].name))
    assert not prove(analysis, keep, pruned).passed


def test_what_is_not_cut_stays_byte_for_byte() -> None:
    analysis = _read(IF, IF_WEIGHTS)
    before = analysis.graph.proto.SerializeToString()
    assert prune(analysis, KeepMap({})).SerializeToString() == before
    outer = next(g for g in analysis.ir.groups if g.units == 4)
    cut = prune(analysis, keep_map(analysis.ir, {outer.id: np.arange(4) < 2}))
    bodies = [[g.SerializeToString() for g in _bodies(m)] for m in (analysis.graph.proto, cut)]
    assert bodies[0] == bodies[1]


def test_a_body_that_fails_on_its_own_stays() -> None:
    model = onnx.parser.parse_model(IF)
    _weights(IF_WEIGHTS, model)
    branch = next(a.g for n in model.graph.node for a in n.attribute if a.name == "else_branch")
    shape = numpy_helper.from_array(np.array([7, 11], dtype=np.int64), "impossible")
    branch.initializer.append(shape)
    branch.node.append(helper.make_node("Reshape", ["v", "impossible"], ["nowhere"]))
    analysis = analyse(ModelGraph(model), input_shapes={"x": (2, 3)})
    assert {group.units for group in analysis.ir.groups} == {4, 8}


def _bodies(model: ModelProto) -> list[onnx.GraphProto]:
    return [a.g for n in model.graph.node for a in n.attribute if a.HasField("g")]
