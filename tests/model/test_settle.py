"""Which extents of inputs are free, and which are what they have met."""

from __future__ import annotations

import pytest

from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.model import settle
from onnxslim_snacs.model.extents import parse
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.reading import read_facts
from onnxslim_snacs.model.starts import Hint
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.proof.prove import prove
from tests.harness import model_from_text, random_keep

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'

SCALER = """net (float[N,F] x, float[12] w_s, float[12,6] w_a, float[6,3] w_b) => (float[N,3] y) {
  s = Mul(x, w_s)
  a = MatMul(s, w_a)
  y = MatMul(a, w_b)
}"""

PAST = """net (float[B,S,4] x, float[B,P,4] past, float[B,T] mask, float[4,6] w_a, float[6,3] w_b)
  => (float[B,T,3] y) <int64[1] last = {2}> {
  whole = Concat<axis = 1>(past, x)
  m = Unsqueeze(mask, last)
  z = Mul(whole, m)
  a = MatMul(z, w_a)
  y = MatMul(a, w_b)
}"""

FLAT = """net (float[N,2,H,W] x, float[5,2,1,1] w_c, float[80,3] w_d) => (float[N,3] y) {
  c = Conv(x, w_c)
  f = Flatten(c)
  y = MatMul(f, w_d)
}"""

TABLE = """net (float[B,S,4] x, float[30,4] w_p, float[4,6] w_a, float[6,3] w_b) => (float[B,S,3] y)
  <int64[1] zero = {0}, int64[1] one = {1}> {
  shape = Shape(x)
  s = Gather(shape, one)
  p = Slice(w_p, zero, s, zero)
  t = Add(x, p)
  a = MatMul(t, w_a)
  y = MatMul(a, w_b)
}"""

WINDOW = """net (float[B,C,T] x, float[5,2,99] w_c, float[3,5,1] w_d) => (float[B,3,U] y) {
  c = Conv(x, w_c)
  y = Conv(c, w_d)
}"""

HEADLESS = """net (float[N,S,4] x, float[N,H,S,S2] mask, float[4,8] w_a, float[8,3] w_b)
  => (float[N,S,3] y) <int64[4] split = {0, 0, 2, 4}, int64[3] merge = {0, 0, 8}> {
  a = MatMul(x, w_a)
  r = Reshape(a, split)
  t = Transpose<perm = [0, 2, 1, 3]>(r)
  u = Transpose<perm = [0, 2, 3, 1]>(r)
  s = MatMul(t, u)
  g = Mul(s, mask)
  o = MatMul(g, t)
  b = Transpose<perm = [0, 2, 1, 3]>(o)
  m = Reshape(b, merge)
  y = MatMul(m, w_b)
}"""

#: Exporters that trace bake the length into one view and leave the batch free.
TRACED = """
net (float[N,T,32] x) => (float[A,B,8] y)
<int64 one = {0}, int64[1] first = {0}, int64 heads = {4}, int64[1] seven = {7},
 int64[1] eight = {8}> {
  t = Transpose<perm = [1, 0, 2]>(x)
  s = Shape(x)
  n = Gather(s, one)
  m = Mul(n, heads)
  u = Unsqueeze(m, first)
  shape = Concat<axis = 0>(seven, u, eight)
  turned = Reshape(t, shape)
  y = Relu(turned)
}"""

#: A mask whose axes have names of their own, and which is told to have as many rows.
OTHER_NAMES = """
net (float[a,b,4] x, float[c,d] mask, float[4,6] w_a, float[6,2] w_b) => (float[a,b,2] y)
<int64[1] zero = {0}, int64[1] one = {1}, int64[2] open = {-1, 1}> {
  s = Shape(x)
  n = Slice(s, zero, one)
  shape = Concat<axis = 0>(n, open)
  m = Reshape(mask, shape)
  h = MatMul(x, w_a)
  g = Mul(h, m)
  y = MatMul(g, w_b)
}"""


def read(text: str, given: Hint | None = None, examples: tuple[Hint, ...] = ()) -> ModelFacts:
    shapes = {name: tuple(e for e in s if e is not None) for name, s in (given or {}).items()}
    return read_facts(ModelGraph(model_from_text(HEAD + text)), shapes, examples=examples)


def rows(facts: ModelFacts) -> dict[str, list[str]]:
    assert facts.settled is not None
    return {n: [str(e) for e in row] for n, row in facts.settled.layout.axes.items()}


def units(text: str) -> list[int]:
    return sorted(g.units for g in analyse(ModelGraph(model_from_text(HEAD + text))).ir.groups)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("P+S", "P + S"),
        ("past + 1", "past + 1"),
        ("2*H", "2*H"),
        ("(a - b) * 3", "3*a + -3*b"),
        ("floor(H/2)", None),
        ("a*b", None),
        ("a" * 90, None),
        ("__import__('os')", None),
        ("7", None),
    ],
)
def test_sums_of_names_are_read(text: str, wanted: str | None) -> None:
    found = parse(text)
    assert (None if found is None else str(found)) == wanted


def test_an_extent_is_the_constant_that_it_meets() -> None:
    facts = read(SCALER)
    assert rows(facts) == {"x": ["N", "12"]}
    assert facts.samples("x") == ((2, 12), (5, 12))
    assert units(SCALER) == [6]  # the twelve are pinned by the input


def test_an_extent_is_the_constant_that_numbers_of_elements_have_in_common() -> None:
    """7 * (4 * N) * 8 elements are T * N * 32 where T is 7, whatever N is."""
    facts = read(TRACED)
    assert rows(facts) == {"x": ["N", "7", "32"]}
    assert facts.settled is not None
    assert facts.settled.stuck == frozenset()
    assert facts.shape("turned") == (7, None, 8)


def test_sizes_are_not_looked_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "_SECONDS", 0.0)
    with pytest.raises(InputRefused, match="give it with --input-shape"):
        read(FLAT)
    assert read(FLAT, {"x": (2, 2, 4, 4)}).ran


def test_latents_are_tried_small() -> None:
    """Attention over all pixels of a picture's size would take gigabytes."""
    net = "net (float[N,{},H,W] x) => (float[N,{},H,W] y) {{ y = Relu(x) }}"
    for channels, largest in ((4, 48), (3, 96)):
        facts = read(net.format(channels, channels))
        assert facts.settled is not None
        assert max(facts.settled.trials[0].sizes["x"][2:]) == largest


def test_inputs_that_have_one_size_are_tried_at_one_size() -> None:
    """Otherwise a = 1 and b = 3 * d do as well, and no sample has such sizes."""
    facts = read(OTHER_NAMES)
    assert facts.settled is not None
    assert facts.settled.trials[0].sizes == {"x": (2, 8, 4), "mask": (2, 8)}
    assert facts.settled.stuck == frozenset()
    assert facts.shape("x") == (None, None, 4)
    assert all(len({shape[k] for shape in facts.samples("mask")}) > 1 for k in (0, 1))
    assert units(OTHER_NAMES) == [6]


def test_an_extent_is_the_sum_that_it_meets() -> None:
    facts = read(PAST)
    assert rows(facts)["mask"] == ["B", "P + S"]
    for batch, steps, past in (
        (b, s, p)
        for (b, s, _), (_, p, _) in zip(facts.samples("x"), facts.samples("past"), strict=True)
    ):
        assert (batch, steps + past) in facts.samples("mask")


def test_every_free_extent_differs_between_two_runs() -> None:
    facts = read(PAST)
    assert facts.settled is not None
    first, second, *_ = facts.settled.trials
    assert {"B", "P", "S"} == set(first.numbers)
    assert all(first.numbers[s] != second.numbers[s] for s in first.numbers)
    for sizes in facts.settled.fresh():
        assert sizes not in [trial.sizes for trial in facts.settled.trials]


def test_extents_with_one_product_are_varied_against_each_other() -> None:
    """H * W = 16: neither is fixed by that, and both have been seen at two numbers."""
    facts = read(FLAT)
    assert facts.settled is not None
    assert facts.settled.stuck == frozenset()
    assert facts.shape("x") == (None, 2, None, None)
    assert facts.shape("f") == (None, 80)
    assert {h * w for _, _, h, w in facts.samples("x")} == {16}
    assert units(FLAT) == [5]


def test_a_table_that_is_read_up_to_the_last_step_keeps_its_rows() -> None:
    assert units(TABLE) == [6]
    given = read(TABLE, {"x": (1, 8, 4)})
    assert given.samples("x")[0] == (1, 8, 4)
    assert given.shape("p") == (None, 4)
    assert given.value("s") is None


def test_a_window_that_is_longer_than_what_is_tried_makes_it_longer() -> None:
    facts = read(WINDOW)
    assert rows(facts) == {"x": ["B", "2", "T"]}
    assert min(t for _, _, t in facts.samples("x")) >= 99


def test_a_mask_that_may_have_one_row_for_each_head_pins_the_heads() -> None:
    batch, heads, left, right = rows(read(HEADLESS))["mask"]
    assert (batch, heads) == ("N", "2")
    assert left == right == rows(read(HEADLESS))["x"][1]
    assert 2 not in units(HEADLESS)


def test_samples_say_how_large_inputs_are() -> None:
    facts = read(WINDOW, examples=({"x": (None, 2, 400)},))
    assert facts.samples("x")[0] == (2, 2, 400)
    assert facts.shape("x") == (None, 2, None)


def test_an_extent_of_zero_is_proved_and_not_believed() -> None:
    model = model_from_text(HEAD + PAST)
    mask = next(v for v in model.graph.input if v.name == "mask")
    mask.type.tensor_type.shape.dim[1].dim_param = "P + S"
    analysis = analyse(ModelGraph(model), input_shapes={"x": (1, 5, 4), "past": (1, 0, 4)})
    keep = random_keep(analysis, 0.5, 1)
    proof = prove(analysis, keep, prune(analysis, keep))
    assert proof.passed, proof.failure
    assert {"x": (1, 5, 4), "past": (1, 0, 4), "mask": (1, 5)} in proof.sizes
    assert all(0 not in shape for shape in analysis.facts.samples("past"))


def test_the_proof_looks_at_sizes_that_the_analysis_has_not_seen() -> None:
    analysis = analyse(ModelGraph(model_from_text(HEAD + TABLE)))
    keep = random_keep(analysis, 0.5, 1)
    proof = prove(analysis, keep, prune(analysis, keep))
    first, second = (sizes["x"] for sizes in proof.sizes)
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert second not in analysis.facts.samples("x")
    assert proof.unvaried == ()


@pytest.mark.parametrize("given", [{"x": (1, 8)}, {"x": (1, 8, 5)}, {"z": (1,)}])
def test_sizes_that_the_model_does_not_declare_are_refused(given: Hint) -> None:
    with pytest.raises(InputRefused, match="input shape given for"):
        read(TABLE, given)


def test_a_model_that_never_runs_is_not_given_a_film_of_five_dimensions() -> None:
    """3 x 160 x 192 x 224 x 256 numbers take 39 GiB."""
    never = """
net (float[A,B,C,D,E] x, float[7,2] w_a, float[11,2] w_b) => (float[2] y)
 <int64[1] flat = {-1}> {
  f = Reshape(x, flat)
  a = MatMul(f, w_a)
  b = MatMul(f, w_b)
  y = Add(a, b)
}"""
    with pytest.raises(InputRefused, match="give it with --input-shape"):
        read(never)
