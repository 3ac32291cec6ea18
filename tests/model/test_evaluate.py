"""What is evaluated of constants: a list of operators, and only results of known size."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxslim_snacs.model import evaluate as module
from onnxslim_snacs.model.evaluate import EVALUATED, evaluate
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.reading import read_facts

OPSETS = {"": 20}


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def made(op: str, *operands: Any, **attributes: Any) -> Any:
    feeds = {f"i{k}": np.asarray(value) for k, value in enumerate(operands)}
    return evaluate(helper.make_node(op, list(feeds), ["o"], **attributes), feeds, OPSETS).get("o")


def test_no_operator_that_runs_reads_or_draws_is_evaluated() -> None:
    assert all(onnx.defs.has(op) for op in EVALUATED)
    for op in EVALUATED:
        kinds = {a.type for a in onnx.defs.get_schema(op).attributes.values()}
        assert onnx.defs.OpSchema.AttrType.GRAPH not in kinds, op
        assert not op.startswith(("Random", "String", "Regex", "Image")), op


def test_values() -> None:
    assert made("Add", ints(1, 2), ints(3)).tolist() == [4, 5]
    assert made("Tile", ints(1, 2), ints(2)).tolist() == [1, 2, 1, 2]
    assert made("NonZero", ints(0, 5, 6)).tolist() == [[1, 2]]
    split = helper.make_node("Split", ["x"], ["a", "b"], num_outputs=2)
    halves = evaluate(split, {"x": ints(1, 2, 3, 4)}, OPSETS)
    assert {name: value.tolist() for name, value in halves.items()} == {"a": [1, 2], "b": [3, 4]}


def test_operators_that_start_something_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object) -> None:
        raise AssertionError("the reference implementation was asked")

    monkeypatch.setattr("onnx.reference.ReferenceEvaluator.__init__", started)
    picture = np.frombuffer(b"%!PS-Adobe-3.0 EPSF-3.0\n", dtype=np.uint8)
    assert made("ImageDecoder", picture, pixel_format="RGB") is None
    text = np.array(["a" * 40 + "b"], dtype=object)
    assert made("RegexFullMatch", text, pattern="(a+)+$") is None
    node = helper.make_node("Add", ["x", "x"], ["o"], domain="com.example")
    assert evaluate(node, {"x": ints(1)}, {**OPSETS, "com.example": 1}) == {}


@pytest.mark.parametrize(
    ("op", "operands"),
    [
        ("ConstantOfShape", (ints(1 << 20, 1 << 20),)),
        ("Range", (np.int64(0), np.int64(10**12), np.int64(1))),
        ("Tile", (ints(1, 2), ints(10**12))),
        ("Expand", (ints(1), ints(1 << 16, 1 << 16))),
        ("Pad", (ints(1), ints(10**12, 0))),
        ("MatMul", (np.ones((1 << 15, 1)), np.ones((1, 1 << 15)))),
        ("Add", (np.ones((1 << 15, 1)), np.ones((1, 1 << 15)))),
        ("OneHot", (ints(0), np.int64(10**12), ints(0, 1))),
        ("Gather", (np.ones((1, 1 << 15)), np.zeros(1 << 15, dtype=np.int64))),
    ],
)
def test_results_that_are_too_large_are_not_made(op: str, operands: tuple[Any, ...]) -> None:
    assert made(op, *operands) is None


def test_a_large_result_is_made_of_large_operands_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 16)
    monkeypatch.setattr(module, "LARGEST", 64)
    assert made("ConstantOfShape", ints(16)).size == 16
    assert made("ConstantOfShape", ints(17)) is None  # made of one number
    row = np.ones(20, dtype=np.float32)
    assert made("Concat", row, row, row, axis=0).size == 60
    assert made("Concat", row, row, row, row, axis=0) is None


def test_what_a_model_computes_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(made("Div", np.ones(1, np.float32), np.zeros(1, np.float32))).all()
        infinite = np.full(1, np.inf, np.float32)
        assert np.isnan(made("Sub", infinite, infinite)).all()


def test_an_old_operator_set_that_onnx_infers_nothing_for() -> None:
    node = helper.make_node("Concat", ["a", "b"], ["o"], axis=-1)
    found = evaluate(node, {"a": np.ones((2, 3)), "b": np.ones((2, 1))}, {"": 9})
    assert found["o"].shape == (2, 4)


def test_a_chain_of_constants_as_long_as_a_file() -> None:
    links = 1500
    nodes = "\n".join(f"t{k + 1} = Add(t{k}, w)" for k in range(links))
    text = f"""
    <ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    net (float[1] x) => (float[1] y) <float[1] t0 = {{1.0}}, float[1] w = {{2.0}}> {{
      {nodes}
      y = own.Unknown(x, t{links})
    }}
    """
    facts = read_facts(ModelGraph(onnx.parser.parse_model(text)))
    assert not facts.ran
    value = facts.value(f"t{links}")
    assert value is not None
    assert value.tolist() == [1.0 + 2.0 * links]
