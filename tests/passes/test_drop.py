"""Dropping blocks: what is left is the original with zeros in their place, node for node."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxslim_snacs.blocks.left import blocks_of, left_without
from onnxslim_snacs.layers.branches import without_nested
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.drop import drop
from onnxslim_snacs.proof.dropped import prove_drop
from tests.harness import model_from_text
from tests.layers.test_branches import BASIC, BOTTLENECK, NESTED, TRANSFORMER


def answer(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = create_session(model, SessionConfig(level=0))
    return np.asarray(session.run(None, {"x": x})[0])


def without_weights(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """The model with zeros for the weights that end its blocks: they then add nothing."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    for tensor in other.graph.initializer:
        if tensor.name in names:
            value = np.zeros_like(onnx.numpy_helper.to_array(tensor))
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    return other


@pytest.mark.parametrize(
    ("text", "exits", "last", "shape"),
    [
        (BASIC, ("r",), ("w_2",), (2, 3, 4, 4)),
        (BASIC, ("u",), ("w_4",), (2, 3, 4, 4)),
        (BASIC, ("r", "u"), ("w_2", "w_4"), (2, 3, 4, 4)),
        (BOTTLENECK, ("r",), ("w_3",), (2, 8, 4, 4)),
        (NESTED, ("c",), ("w_2",), (2, 4)),
        (NESTED, ("s", "c"), ("w_1",), (2, 4)),
        (TRANSFORMER, ("i0", "i1"), ("w_o",), (2, 5, 3)),
        (TRANSFORMER, ("h1", "h2"), ("w_d",), (2, 5, 3)),
        (TRANSFORMER, ("i0", "h1", "i1", "h2"), ("w_o", "w_d"), (2, 5, 3)),
    ],
)
def test_a_model_without_blocks_is_the_one_whose_blocks_add_nothing(
    text: str, exits: tuple[str, ...], last: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    model = model_from_text(text, integers=False)
    graph = ModelGraph(model)
    analysis = analyse(graph)
    gone = [b for b in blocks_of(graph, analysis) if b.exit in exits and not b.parts]
    assert len(gone) == len(exits)
    left = drop(model, gone)
    onnx.checker.check_model(left)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    wanted = answer(without_weights(model, *last), x)
    assert np.array_equal(answer(left, x), wanted)
    assert not np.allclose(answer(model, x), wanted)
    assert not {"w_2"} & set(last) or "w_2" not in {t.name for t in left.graph.initializer}
    proof = prove_drop(graph, analysis, without_nested(gone), ModelGraph(left))
    assert (proof.passed, proof.max_rel_diff) == (True, 0.0)


def test_a_whole_block_is_both_of_its_sub_layers() -> None:
    model = model_from_text(TRANSFORMER)
    graph = ModelGraph(model)
    blocks = blocks_of(graph, analyse(graph))
    whole = [b for b in blocks if b.parts][:1]
    left = drop(model, whole)
    assert {n.output[0] for n in left.graph.node if n.op_type == "Add"} == {"i1", "h2"}
    assert [n.input[0] for n in left.graph.node if n.output[0] == "n1"] == ["h0"]


def test_names_doc_strings_and_metadata_survive() -> None:
    model = model_from_text(BASIC)
    model.graph.node[2].doc_string = "kept"
    model.metadata_props.add(key="by", value="somebody")
    graph = ModelGraph(model)
    gone = [b for b in blocks_of(graph, analyse(graph)) if b.exit == "u"]
    left = drop(model, gone)
    assert [n.output[0] for n in left.graph.node] == [
        "a", "t", "b", "c", "d", "s", "r", "p", "v", "y"
    ]  # fmt: skip
    assert left.graph.node[2].doc_string == "kept"
    assert [p.value for p in left.metadata_props] == ["somebody"]
    assert [t.name for t in left.graph.initializer] == ["w_0", "w_1", "w_2", "w_5", "w_6"]


@pytest.mark.parametrize("fault", ["node", "weight", "wire", "missing"])
def test_the_proof_sees_what_was_done_wrong(fault: str) -> None:
    model = model_from_text(BASIC, integers=False)
    graph = ModelGraph(model)
    analysis = analyse(graph)
    gone = [b for b in blocks_of(graph, analysis) if b.exit == "r"]
    left = drop(model, gone)
    nodes = {n.output[0]: n for n in left.graph.node}
    if fault == "node":
        nodes["v"].op_type = "Abs"
    elif fault == "weight":
        value = onnx.numpy_helper.to_array(left.graph.initializer[0]) * np.float32(1.0001)
        left.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(value, "w_0"))
    elif fault == "wire":
        nodes["e"].input[0] = "a"
    else:  # nothing was dropped at all
        left = model
    proof = prove_drop(graph, analysis, gone, ModelGraph(left))
    assert not proof.passed
    assert proof.failure


def test_aims_name_the_tensor_for_which_another_one_stands() -> None:
    model = model_from_text(BASIC, integers=False)
    graph = ModelGraph(model)
    analysis = analyse(graph)
    gone = [b for b in blocks_of(graph, analysis) if b.exit == "r"]
    left = left_without(graph, analysis, gone, allow_inexact=False)
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 4)).astype(np.float32)
    before = create_session(model, SessionConfig(level=0), None, ["r", "s", "t"])
    after = create_session(left.aims.model, SessionConfig(level=0), None, ["t", "a"])
    r, s, t = before.run(["r", "s", "t"], {"x": x})
    assert np.array_equal(after.run(["t"], {"x": x})[0], r)
    assert np.array_equal(after.run(["a"], {"x": x})[0], s)
    assert not np.array_equal(r, t)
    assert {"a", "t"} <= left.aims.answering
    assert {"e", "g", "p", "y"} <= left.aims.changed
