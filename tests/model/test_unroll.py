"""Loops written out: which ones, and that they answer as before."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.reading import read_facts
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.unroll import unrolled

# Turn k keeps columns 0 ... k of its state, which doubles with every turn, and adds 10 k.
CUTS = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 4] x) => (float[N, M] y, float[N, 4] z)
    <int64 turns = {TURNS}, bool on = {1}, int64[1] zero = {0}, int64[1] axis = {1},
     int64 two = {2}> {
  e = SequenceEmpty()
  s, z = Loop <body = turn (int64 k, bool go, seq(float[]) held, float[N, 4] now)
      => (bool more, seq(float[]) more_held, float[N, 4] twice) <int64[1] one = {1}> {
    MORE
    ten = Constant <value = float {10.0}> ()
    k1 = Unsqueeze (k, zero)
    end = Add (k1, one)
    count = Cast <to = 1> (k)
    tens = Mul (count, ten)
    part = Slice (now, zero, end, axis)
    higher = Add (part, tens)
    more_held = SequenceInsert (held, higher)
    twice = Add (now, now)
  }> (turns, on, e, x)
  y = ConcatFromSequence <axis = 1> (s)
}
"""


def _model(turns: int, more: str = "more = Identity (go)") -> ModelGraph:
    text = CUTS.replace("TURNS", str(turns)).replace("MORE", more)
    return ModelGraph(onnx.parser.parse_model(text))


def _run(model: ModelProto, x: np.ndarray) -> list[np.ndarray]:
    return create_session(model, SessionConfig(level=0)).run(None, {"x": x})


@pytest.mark.parametrize("more", ["more = Identity (go)", "more = Constant <value = bool {1}> ()"])
def test_turns_stand_one_after_the_other_and_answer_as_before(more: str) -> None:
    graph = _model(3, more)
    flat = unrolled(graph, read_facts(graph))
    assert not any(node.op_type == "Loop" for node in flat.nodes)
    assert [t.name for t in flat.graph.initializer].count("one") == 1
    x = np.array([[1, 2, 3, 4]], dtype=np.float32)
    columns, state = _run(flat.proto, x)
    np.testing.assert_array_equal(columns, [[1, 2 + 10, 4 + 10, 4 + 20, 8 + 20, 12 + 20]])
    np.testing.assert_array_equal(state, 8 * x)
    for ours, theirs in zip((columns, state), _run(graph.proto, x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("turns", "more"),
    [
        (3, "more = Less (k, two)"),
        (3, "more = Constant <value = bool {0}> ()"),
        (33, "more = Identity (go)"),
    ],
    ids=["ends by what it computes", "ends after one", "too many turns"],
)
def test_loops_that_stay(turns: int, more: str) -> None:
    graph = _model(turns, more)
    assert unrolled(graph, read_facts(graph)) is graph
