from __future__ import annotations

from math import inf

import numpy as np
import pytest
from onnx import ValueInfoProto, numpy_helper

from onnxslim_snacs.layers.layers import original_layers
from onnxslim_snacs.layers.tail import Tail, follow
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.recovery.tasks import Task, make_tasks
from tests.harness import model_from_text, read, run

HEAD = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[n, 3, 5, 5] x, float[4, 3, 1, 1] w_a, float[4, 4, 1, 1] w_b, float[4, 3, 1, 1] w_f,
   float[4] w_s, float[4] w_t, float[4] w_m, float[4] w_var, float[1, 4, 1, 1] w_c,
   float[4, 1, 1] w_d, float w_e) => (float[n, 4, 5, 5] y) {
  a = Conv(x, w_a)
  BODY
}
"""


LOW, HIGH = (
    f"{name} = Constant<value_float = {value}>()" for name, value in (("low", -1.0), ("high", 6.0))
)


def analysis_of(body: str) -> Analysis:
    model = model_from_text(HEAD.replace("BODY", body), 1)
    for tensor in model.graph.initializer:
        if tensor.name == "w_var":
            variance = np.array([1, 2, 3, 4], dtype=np.float32)
            tensor.CopyFrom(numpy_helper.from_array(variance, "w_var"))
    return read(model)


def tail_of(analysis: Analysis) -> Tail:
    layer = next(layer for _, layer in original_layers(analysis) if layer.out == "a")
    return follow(analysis.graph, layer)


AFFINE = {
    "batch norm": "y = BatchNormalization(a, w_s, w_t, w_m, w_var)",
    "add": "y = Add(a, w_c)",
    "add first": "y = Add(w_d, a)",
    "subtract": "y = Sub(a, w_c)",
    "subtract from": "y = Sub(w_c, a)",
    "scale": "y = Mul(a, w_e)",
    "divide": "y = Div(a, w_c)",
    "chain": "b = Mul(a, w_c) c = Identity(b) d = Add(c, w_d) y = Sub(w_e, d)",
}


@pytest.mark.parametrize("case", AFFINE)
def test_the_map_is_what_the_nodes_compute(case: str) -> None:
    analysis = analysis_of(AFFINE[case])
    tail = tail_of(analysis)
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 5)).astype(np.float32)
    analysis.graph.proto.graph.output.append(ValueInfoProto(name="a"))
    y, a = run(analysis.graph.proto, {"x": x}, 0)
    wanted = a * tail.scale[:, None, None] + tail.shift[:, None, None]
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)
    assert tail.end == "y"
    assert tail.total is None
    assert (tail.bias is None) == (case in ("scale", "divide", "chain"))


def test_a_sum_ends_the_tail() -> None:
    tail = tail_of(analysis_of("c = Add(a, w_c) z = Conv(x, w_f) y = Add(c, z)"))
    assert (tail.end, tail.total, tail.other) == ("c", "y", "z")


QUANTISER = """u = Constant<value_float = 0.5>() v = Constant<value_float = 0.25>()
  p = Constant<value = uint8 {8}>()"""


def test_what_is_rounded_on_the_way_still_runs_into_the_sum() -> None:
    rounded = "q = QuantizeLinear(a, u, p) c = DequantizeLinear(q, u, p)"
    body = f"{QUANTISER} {rounded} z = Conv(x, w_f) s = Add(c, z) t = QuantizeLinear(s, u, p)"
    tail = tail_of(analysis_of(f"{body} y = DequantizeLinear(t, u, p)"))
    assert (tail.end, tail.total, tail.other) == ("a", "s", "z")
    assert (tail.low, tail.high) == (-4.0, 123.5)  # half of 0 - 8 and of 255 - 8
    scaled = "q = QuantizeLinear(a, u, p) c = DequantizeLinear(q, v, p)"
    tail = tail_of(analysis_of(f"{QUANTISER} {scaled} z = Conv(x, w_f) y = Add(c, z)"))
    assert (tail.end, tail.total) == ("a", None)


def test_nobody_else_may_read_on_the_way() -> None:
    tail = tail_of(analysis_of("c = Add(a, w_c) z = Abs(a) y = Add(c, z)"))
    assert (tail.end, tail.total) == ("a", None)


@pytest.mark.parametrize(
    ("body", "bounds"),
    [
        ("y = Relu(a)", (0, inf)),
        ("y = Sigmoid(a)", (-inf, inf)),
        ("r = Relu(a) s = Relu(a) y = Mul(r, s)", (0, inf)),
        ("r = Relu(a) y = Add(r, a)", (-inf, inf)),
        (f"{LOW} {HIGH} y = Clip(a, low, high)", (-1, 6)),
        (f"{HIGH} y = Clip(a, , high)", (-inf, 6)),
        ("z = Conv(x, w_f) s = Add(a, z) y = Relu(s)", (0, inf)),
    ],
)
def test_flat_parts_of_activations(body: str, bounds: tuple[float, float]) -> None:
    tail = tail_of(analysis_of(body))
    assert (tail.low, tail.high) == bounds


def targets(body: str) -> dict[str, str]:
    analysis = analysis_of(body)
    layers = [layer for _, layer in original_layers(analysis)]
    tasks = make_tasks(analysis.graph, analysis.facts, layers, wide=True, sums=True)
    return {task.layer.out: task.target for task in tasks if isinstance(task, Task)}


def test_the_last_of_two_branches_aims_at_the_sum() -> None:
    assert targets("z = Conv(x, w_f) y = Add(a, z)") == {"a": "a", "z": "y"}


def test_the_other_operand_may_come_later_in_the_file() -> None:
    found = targets("r = Relu(a) b = Conv(r, w_b) s = Abs(r) c = Abs(s) y = Add(b, c)")
    assert found == {"a": "a", "b": "y"}


def test_a_layer_does_not_wait_for_what_depends_on_it() -> None:
    found = targets("c = Add(a, w_c) b = Conv(x, w_f) e = Mul(b, c) y = Add(b, e)")
    assert found == {"a": "a", "b": "b"}


def test_without_its_sum_a_layer_knows_no_activation() -> None:
    analysis = analysis_of("z = Conv(x, w_f) s = Add(a, z) y = Relu(s)")
    layers = [layer for _, layer in original_layers(analysis)]
    tasks = [t for t in make_tasks(analysis.graph, analysis.facts, layers, wide=True, sums=True)]
    bounds = [(t.tail.low, t.tail.high) for t in tasks if isinstance(t, Task)]
    assert bounds == [(-inf, inf), (0.0, inf)]
