"""Models of several nodes: control flow and sequences."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from tests.harness import model_from_text


@dataclass(frozen=True)
class Whole:
    """A model in ONNX text; all float inputs are drawn."""

    title: str
    text: str

    def model(self) -> ModelProto:
        return model_from_text(self.text, integers=False)


_BRANCHES = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[2,3] x, bool flag, float[3,4] w_a) => (float y) {
  a = MatMul(x, w_a)
  s = If (flag) <
    then_branch = left () => (float[2,4] l) { l = Tanh(a) },
    else_branch = right () => (float[2,4] r)
      <float[4] scale = {1.0, 2.0, -1.0, 0.5}> { r = Mul(a, scale) }
  >
  y = ReduceSum<keepdims = 0>(s)
}
"""

WHOLE = [
    Whole("the branch that is taken", _BRANCHES),
    Whole(
        "a loop that carries a state and collects",
        """
<ir_version: 8, opset_import: ["" : 17]>
net (float[2,3] x, float[3,3] w_a) => (float[2,3] y, float[3,2,3] all) {
  most = Constant<value = int64 {3}>()
  go = Constant<value = bool {1}>()
  y, all = Loop (most, go, x) <
    body = turn (int64 i, bool c, float[2,3] h) => (bool d, float[2,3] g, float[2,3] o) {
      m = MatMul(h, w_a)
      g = Tanh(m)
      o = Neg(g)
      d = Identity(c)
    }
  >
}
""",
    ),
    Whole(
        "a loop that ends itself",
        """
<ir_version: 8, opset_import: ["" : 17]>
net (float[2,3] x) => (float[2,3] y) {
  most = Constant<value = int64 {9}>()
  go = Constant<value = bool {1}>()
  y = Loop (most, go, x) <
    body = turn (int64 i, bool c, float[2,3] h) => (bool d, float[2,3] g) {
      g = Sin(h)
      two = Constant<value = int64 {2}>()
      d = Less(i, two)
    }
  >
}
""",
    ),
    Whole(
        "a scan backwards along the second axis",
        """
<ir_version: 8, opset_import: ["" : 17]>
net (float[2,4,3] x, float[2,3] h0, float[3,3] w_a) => (float[2,3] h, float[2,4,3] all) {
  h, all = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [1],
                 scan_output_axes = [1], scan_output_directions = [1],
    body = turn (float[2,3] a, float[2,3] b) => (float[2,3] c, float[2,3] d) {
      m = MatMul(a, w_a)
      s = Add(m, b)
      c = Tanh(s)
      d = Mul(c, b)
    }
  > (h0, x)
}
""",
    ),
    Whole(
        "sequences",
        """
<ir_version: 8, opset_import: ["" : 17]>
net (float[4,3] x, float[2,3] z) => (float[5,3] y, float[2,2,3] t, int64 n) {
  zero = Constant<value = int64 {0}>()
  one = Constant<value = int64 {1}>()
  two = Constant<value = int64[2] {1, 3}>()
  parts = SplitToSequence<axis = 0>(x, two)
  more = SequenceInsert(parts, z)
  less = SequenceErase(more, zero)
  n = SequenceLength(less)
  y = ConcatFromSequence<axis = 0>(less)
  pair = SequenceConstruct(z, z)
  first = SequenceAt(pair, one)
  none = SequenceEmpty()
  some = SequenceInsert(none, first)
  both = SequenceInsert(some, z, zero)
  t = ConcatFromSequence<axis = 0, new_axis = 1>(both)
}
""",
    ),
    Whole(
        "one row at a time",
        """
<ir_version: 8, opset_import: ["" : 17]>
net (float[3,2] x) => (float[2] y) {
  rows = SplitToSequence<axis = 0, keepdims = 0>(x)
  last = Constant<value = int64 {-1}>()
  y = SequenceAt(rows, last)
}
""",
    ),
]
