"""Models that contradict themselves, or ask for too much: refused with a reason, never a fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim_snacs.errors import InputRefused, LimitExceeded, RuntimeRefused, ShapesDisagree
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.load import checked
from onnxslim_snacs.model.session import SessionConfig, create_session, out_of_memory
from onnxslim_snacs.ops.analyse import analyse
from tests.harness import model_from_text

HEAD = '<ir_version: 8, opset_import: ["" : 17, "own" : 1]>'


def parsed(text: str) -> onnx.ModelProto:
    return model_from_text(f"{HEAD}\n{text}")


def declared(name: str, *dims: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


#: A model that cannot be run, so that what it declares is all that is known.
UNKNOWN = """
net (float[N,3,8,8] x, float[8,3,3,3] w_a, float[2,{channels},3,3] w_b) => (float[N,2,4,4] y) {{
  a = Conv(x, w_a)
  b = {op}(a)
  c = Conv(b, w_b)
  y = own.Unknown(c)
}}
"""


def test_weights_that_do_not_fit_each_other() -> None:
    analyse(ModelGraph(parsed(UNKNOWN.format(channels=8, op="Relu"))))
    with pytest.raises(ShapesDisagree, match=r"has 8 entries where w_b\[1\] has 4"):
        analyse(ModelGraph(parsed(UNKNOWN.format(channels=4, op="Relu"))))


@pytest.mark.parametrize("dims", [(1, 8), (1, 5, 6, 6), (8,), (1, 8, 6, 6, 6)])
def test_declared_shapes_that_no_operator_makes(dims: tuple[int, ...]) -> None:
    model = parsed(UNKNOWN.format(channels=8, op="own.Other"))
    model.graph.value_info.append(declared("b", *dims))
    try:
        analysis = analyse(ModelGraph(model))
    except InputRefused:
        return
    pinned = {pin.axis for pin in analysis.ir.pins}
    assert "a[1]" in pinned  # `Other` is not known


def test_a_declared_axis_that_no_table_could_hold() -> None:
    model = parsed(UNKNOWN.format(channels=8, op="own.Other"))
    model.graph.value_info.append(declared("b", 1, 1 << 40, 6, 6))
    with pytest.raises(LimitExceeded, match="1,099,511,627,776"):
        analyse(ModelGraph(model))


def test_a_list_of_extents_that_is_a_matrix() -> None:
    shape = numpy_helper.from_array(np.full((2, 2), 2, dtype=np.int64), "k")
    made = helper.make_node("ConstantOfShape", ["k"], ["z"])
    model = parsed("net (float[1] x) => (float[1] y) { y = Relu(x) }")
    model.graph.initializer.append(shape)
    model.graph.node.append(made)
    with pytest.raises(InputRefused, match=r"an array of shape \(2, 2\)"):
        checked(model, Path())


@pytest.mark.parametrize("op", ["ConstantOfShape", "Expand", "Constant", "Conv", "Loop"])
def test_operators_without_operands_or_results(op: str) -> None:
    wrong: tuple[tuple[list[str], list[str]], ...] = ((["x"], []), ([], []))
    for inputs, outputs in (*wrong, (["x"] if op == "Constant" else [], ["z"])):
        model = parsed("net (float[1] x) => (float[1] y) { y = Relu(x) }")
        model.graph.node.append(helper.make_node(op, inputs, outputs))
        with pytest.raises(InputRefused, match="objects"):
            checked(model, Path())


LOOP = """
net (float[1] x, int64 count) => (float[1] y) <bool go = {{1}}, int64 often = {{{turns}}}> {{
  squared = Mul(often, often)
  two = Constant<value = int64 {{2}}>()
  half = Div(often, two)
  halved = Identity(half)
  y = Loop({count}, go, x) <body = turn (int64 i, bool c, float[1] s) => (bool d, float[1] t) {{
    d = {keeps}
    t = Identity(s)
  }}>
}}
"""


@pytest.mark.parametrize(
    ("count", "turns", "keeps", "refused"),
    [
        ("often", 10**9, "Identity(c)", True),
        ("often", 10**9, "Cast<to=9>(c)", True),
        ("often", 10**9, "Constant<value = bool {1}>()", True),
        ("often", 10**9, "Less(i, often)", False),  # ends when the condition says so
        ("often", 2**63 - 1, "Not(c)", False),
        ("often", 1000, "Identity(c)", False),
        ("count", 10**9, "Identity(c)", False),  # not known before a run
        ("squared", 10**5, "Identity(c)", True),
        ("halved", 10**9, "Identity(c)", True),
        ("halved", 2 * 10**7, "Identity(c)", False),
        ('""', 1, "Identity(c)", True),
    ],
)
def test_loops_without_an_end(count: str, turns: int, keeps: str, *, refused: bool) -> None:
    model = parsed(LOOP.format(count=count, turns=turns, keeps=keeps))
    if not refused:
        checked(model, Path())
        return
    with pytest.raises(LimitExceeded, match="turns"):
        checked(model, Path())


def test_turns_of_loops_within_loops_are_multiplied() -> None:
    inner = """
      u = Loop(n, e, s) <body = inner (int64 j, bool e1, float[1] v) => (bool e2, float[1] w) {
        e2 = Identity(e1)
        w = Identity(v)
      }>
    """
    text = LOOP.format(count="often", turns=10_000, keeps="Identity(c)")
    nested = text.replace(
        "t = Identity(s)",
        f"n = Constant<value = int64 {{10000}}>()\n e = Identity(c)\n {inner}\n t = Identity(u)",
    )
    with pytest.raises(LimitExceeded, match="100,000,000 times"):
        checked(parsed(nested), Path())


def test_what_onnx_runtime_raises_is_a_refusal_of_ours() -> None:
    with pytest.raises(RuntimeRefused, match="Unknown"):
        create_session(parsed(UNKNOWN.format(channels=8, op="Relu")), SessionConfig())
    model = parsed("net (float[2,3] x, int64[1] s) => (float[M] y) { y = Reshape(x, s) }")
    session = create_session(model, SessionConfig())
    feeds = {"x": np.ones((2, 3), np.float32), "s": np.array([6])}
    assert session.run(None, feeds)[0].shape == (6,)
    with pytest.raises(RuntimeRefused, match="Reshape"):
        session.run(None, {**feeds, "s": np.array([5])})


def test_what_onnx_runtime_cannot_allocate_is_a_limit() -> None:
    model = parsed("net (float[1] x, int64[2] s) => (float[M,K] y) { y = Expand(x, s) }")
    session = create_session(model, SessionConfig())
    with pytest.raises(LimitExceeded, match="max-memory"):
        session.run(None, {"x": np.ones(1, np.float32), "s": np.array([1 << 31, 1 << 20])})
    assert out_of_memory(MemoryError())
    assert not out_of_memory(ValueError("a"))


@pytest.mark.parametrize(
    ("equation", "right"),
    [
        ("ab,bc->ac", True),
        ("ab, bc -> ac", True),
        ("...b,bc", True),
        ("...b,bc->...c", True),
        ("ab,bc->", True),
        ("ab,bc-", False),  # ONNX Runtime never comes back from it
        ("....b,bc->....c", False),
        ("ab<,bc->ac", False),
        ("ab,bc->ac->", False),
        ("ab,b1->a1", False),
        ("...b...,bc", False),
        ("\x1b,bc->c", False),
    ],
)
def test_what_is_no_equation_is_refused(equation: str, *, right: bool) -> None:
    net = (
        "net (float[N,3] x, float[3,4] w) => (float[N,4] y) { y = Einsum<equation='ab,bc'>(x, w) }"
    )
    model = parsed(net.replace("'", '"'))
    model.graph.node[0].attribute[0].s = equation.encode()
    if right:
        checked(model, Path())
        return
    with pytest.raises(InputRefused, match="no equation"):
        checked(model, Path())
