"""Model-local functions: channels inside of them go, and what is not cut stays as it was."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.proof.prove import prove

TEXT = """
<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
net (float[N, 3] x, float[3, 6] w_a, float[6, 8] w_b, float[8, 2] w_c) => (float[N, 2] y) {
  h = own.layer(x, w_a)
  k = own.layer(h, w_b)
  y = MatMul(k, w_c)
}
<domain: "own", opset_import: ["" : 17]>
layer (data, weight) => (out) {
  product = MatMul(data, weight)
  out = Relu(product)
}
"""


def _analysis() -> Analysis:
    model = onnx.parser.parse_model(TEXT)
    rng = np.random.default_rng(0)
    for info in list(model.graph.input)[1:]:
        dims = [d.dim_value for d in info.type.tensor_type.shape.dim]
        value = rng.integers(-3, 4, dims).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(value, info.name))
        model.graph.input.remove(info)
    return analyse(ModelGraph(model))


def test_channels_between_calls_go() -> None:
    analysis = _analysis()
    assert [group.units for group in analysis.ir.groups] == [6, 8]
    half = {g.id: np.arange(g.units) % 2 == 0 for g in analysis.ir.groups}
    keep = keep_map(analysis.ir, half)
    pruned = prune(analysis, keep)
    assert not pruned.functions
    assert {t.name: tuple(t.dims) for t in pruned.graph.initializer} == {
        "w_a": (3, 3),
        "w_b": (3, 4),
        "w_c": (4, 2),
    }
    assert prove(analysis, keep, pruned).max_rel_diff == 0


def test_a_model_that_loses_nothing_keeps_its_functions() -> None:
    analysis = _analysis()
    assert analysis.given is not None
    same = prune(analysis, KeepMap({}))
    assert same.SerializeToString() == analysis.given.proto.SerializeToString()


def test_an_unknown_operator_in_a_function_pins_around_every_call() -> None:
    model = onnx.parser.parse_model(TEXT)
    model.functions[0].node.append(helper.make_node("layer", ["out"], ["more"], domain="unknown"))
    assert analyse(ModelGraph(model)).ir.groups == ()
