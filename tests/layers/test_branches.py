"""Whole blocks, found by dominance: which there are, and which look like ones and are none."""

from __future__ import annotations

import pytest

from onnxslim_snacs.layers.branches import Branch, find_branches, without_nested
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.analyse import analyse
from tests.harness import model_from_text

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
BASIC = (
    HEAD
    + """net (float[N,3,4,4] x, float[4,3,1,1] w_0, float[4,4,1,1] w_1, float[4,4,1,1] w_2,
     float[6,4,1,1] w_3, float[6,6,1,1] w_4, float[6,4,1,1] w_5, float[2,6,1,1] w_6)
     => (float[N,2,H,W] y) {
  a = Conv(x, w_0)  t = Relu(a)
  b = Conv(t, w_1)  c = Relu(b)  d = Conv(c, w_2)  s = Add(d, t)  r = Relu(s)
  e = Conv(r, w_3)  f = Relu(e)  g = Conv(f, w_4)
  p = Conv(r, w_5)  u = Add(g, p)  v = Relu(u)
  y = Conv(v, w_6)
}"""
)
BOTTLENECK = (
    HEAD
    + """net (float[N,8,4,4] x, float[8,8,1,1] w_0, float[2,8,1,1] w_1, float[2,2,3,3] w_2,
     float[8,2,1,1] w_3, float[2,8,1,1] w_4) => (float[N,2,4,4] y) {
  a = Conv(x, w_0)  t = Relu(a)
  b = Conv(t, w_1)  c = Relu(b)  d = Conv<pads=[1,1,1,1]>(c, w_2)  e = Relu(d)  f = Conv(e, w_3)
  s = Add(t, f)  r = Relu(s)  y = Conv(r, w_4)
}"""
)
#: Width 4; attention without heads, then two layers; `more` follows a pattern twice.
_LAYER = """
  n{k} = LayerNormalization(h{k}, w_n)
  q{k} = MatMul(n{k}, w_q)  l{k} = Transpose<perm=[0,2,1]>(n{k})  m{k} = MatMul(q{k}, l{k})
  o{k} = Softmax<axis=-1>(m{k})  z{k} = MatMul(o{k}, n{k})  c{k} = MatMul(z{k}, w_o)
  i{k} = Add(h{k}, c{k})
  j{k} = LayerNormalization(i{k}, w_n)
  u{k} = MatMul(j{k}, w_u)  g{k} = Relu(u{k})  d{k} = MatMul(g{k}, w_d)
  h{next} = Add(i{k}, d{k})"""
TRANSFORMER = (
    HEAD
    + """net (float[N,T,3] x, float[3,4] w_i, float[4] w_n, float[4,4] w_q, float[4,4] w_o,
     float[4,6] w_u, float[6,4] w_d, float[4,2] w_y) => (float[N,T,2] y) {
  h0 = MatMul(x, w_i)"""
    + "".join(_LAYER.format(k=k, next=k + 1) for k in range(2))
    + """
  y = MatMul(h2, w_y)
}"""
)


def found(text: str) -> tuple[Branch, ...]:
    graph = ModelGraph(model_from_text(text))
    return find_branches(graph, analyse(graph).facts)


def ends(text: str) -> list[tuple[str, str, str]]:
    return [(b.kind, b.exit, b.shortcut) for b in found(text)]


def test_basic_blocks_with_and_without_a_projection() -> None:
    # the first ends behind its Relu, through which its shortcut has come as well
    assert ends(BASIC) == [("branch", "r", "t"), ("projected", "u", "p")]


def test_a_bottleneck() -> None:
    assert ends(BOTTLENECK) == [("branch", "r", "t")]


def test_a_block_whose_shortcut_has_not_come_through_its_relu_ends_at_the_sum() -> None:
    text = BOTTLENECK.replace("t = Relu(a)", "t = Identity(a)")
    assert ends(text) == [("branch", "s", "t")]


def test_sub_layers_and_whole_blocks_of_a_transformer() -> None:
    assert ends(TRANSFORMER) == [
        ("branch", "i0", "h0"),
        ("branch", "h1", "i0"),
        ("branch", "i1", "h1"),
        ("branch", "h2", "i1"),
        ("block", "h1", "i0"),
        ("block", "h2", "i1"),
    ]
    blocks = found(TRANSFORMER)[4:]
    assert [[part.exit for part in block.parts] for block in blocks] == [["i0", "h1"], ["i1", "h2"]]


def test_post_norm_sub_layers_and_blocks() -> None:
    text = (
        TRANSFORMER.replace("n0 = LayerNormalization(h0, w_n)", "n0 = Identity(h0)")
        .replace("i0 = Add(h0, c0)", "e0 = Add(h0, c0)  i0 = LayerNormalization(e0, w_n)")
        .replace("j0 = LayerNormalization(i0, w_n)", "j0 = Identity(i0)")
        .replace("h1 = Add(i0, d0)", "f0 = Add(i0, d0)  h1 = LayerNormalization(f0, w_n)")
        .replace("n1 = LayerNormalization(h1, w_n)", "n1 = Identity(h1)")
        .replace("i1 = Add(h1, c1)", "e1 = Add(h1, c1)  i1 = LayerNormalization(e1, w_n)")
        .replace("j1 = LayerNormalization(i1, w_n)", "j1 = Identity(i1)")
        .replace("h2 = Add(i1, d1)", "f1 = Add(i1, d1)  h2 = LayerNormalization(f1, w_n)")
    )
    kinds = [(b.kind, b.exit) for b in found(text)]
    assert kinds[:4] == [("branch", "e0"), ("branch", "f0"), ("branch", "e1"), ("branch", "f1")]
    assert kinds[4:] == [("block", "f0"), ("block", "f1")]


NESTED = (
    HEAD
    + """net (float[N,4] x, float[4,4] w_0, float[4,4] w_1, float[4,4] w_2, float[4,2] w_3)
     => (float[N,2] y) {
  t = MatMul(x, w_0)
  a = MatMul(t, w_1)  b = MatMul(a, w_2)  c = Add(a, b)
  s = Add(t, c)  y = MatMul(s, w_3)
}"""
)


def test_nested_blocks_and_what_is_left_of_them_when_both_go() -> None:
    blocks = found(NESTED)
    assert [(b.exit, b.shortcut) for b in blocks] == [("c", "a"), ("s", "t")]
    assert [b.exit for b in without_nested(blocks)] == ["s"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # an inner value that another node reads, in front of or behind the block
        ("y = Conv(r, w_4)", "k = Conv(r, w_4)  j = Conv(e, w_5)  y = Add(k, j)"),
        # an inner value that is an output of the model
        ("=> (float[N,2,4,4] y)", "=> (float[N,2,4,4] y, float[N,2,4,4] e)"),
        # the sum is one, and so is what the branch adds
        ("=> (float[N,2,4,4] y)", "=> (float[N,2,4,4] y, float[N,8,4,4] r)"),
        ("=> (float[N,2,4,4] y)", "=> (float[N,2,4,4] y, float[N,8,4,4] f)"),
        # a branch without weights
        ("f = Conv(e, w_3)", "f = Abs(t)"),
        # no sum
        ("s = Add(t, f)", "s = Mul(t, f)"),
    ],
)
def test_what_is_no_block(old: str, new: str) -> None:
    text = BOTTLENECK.replace(old, new).replace("float[2,8,1,1] w_4", "float[2,8,1,1] w_4, W5")
    text = text.replace(", W5", ", float[2,2,1,1] w_5" if "w_5" in new else "")
    assert ends(BOTTLENECK)
    assert ends(text) == []


def test_unequal_shapes_are_no_block() -> None:
    # the branch is (N, 8, 4, 4), what goes past it (N, 8, 1, 1), spread over the sum
    text = BOTTLENECK.replace("t = Relu(a)", "k = Relu(a)  t = GlobalAveragePool(k)").replace(
        "s = Add(t, f)", "j = Expand(f, size)  s = Add(t, j)"
    )
    text = text.replace(
        "a = Conv(x, w_0)", "a = Conv(x, w_0)  size = Constant<value_ints=[1,8,4,4]>()"
    )
    assert ends(text) == []


def test_symbolic_extents_have_to_be_equal_at_all_sizes() -> None:
    text = NESTED.replace("float[N,4] x", "float[N,T,4] x").replace("[N,2] y", "[N,T,2] y")
    assert [b.exit for b in found(text)] == ["c", "s"]
    # what goes past the outer branch has one step, which is the sum's shape at T = 1 alone
    mean = "t = MatMul(x, w_0)  k = ReduceMean<axes=[1]>(t)"
    text = text.replace("t = MatMul(x, w_0)", mean).replace("s = Add(t, c)", "s = Add(k, c)")
    assert [b.exit for b in found(text)] == ["c"]


def test_two_paths_of_equal_weight_have_no_shortcut() -> None:
    text = BASIC.replace("g = Conv(f, w_4)", "g = Identity(f)")
    assert ends(text) == [("branch", "r", "t")]
