from __future__ import annotations

import numpy as np
from onnx import ModelProto

from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.share import separate
from onnxslim_snacs.passes.prune import prune
from tests.harness import assert_exact, model_from_text, random_keep, read

# One bias serves a layer whose width is free and one that makes the output.
SHARED_BIAS = """
<ir_version: 8, opset_import: ["" : 17]>
shared (float[N, 3] x, float[3, 4] w_1, float[4] w_bias, float[4, 4] w_2, float[4, 4] w_3)
    => (float[N, 4] y) {
    a = MatMul(x, w_1)
    b = Add(a, w_bias)
    c = MatMul(b, w_2)
    d = Add(c, w_bias)
    e = MatMul(d, w_3)
    y = Add(e, w_bias)
}
"""


def shared() -> ModelProto:
    return model_from_text(SHARED_BIAS)


def test_each_reader_gets_its_own() -> None:
    graph = ModelGraph(shared())
    apart, copies = separate(graph)
    assert set(copies.values()) == {"w_bias"}
    assert len({apart.nodes[k].input[1] for k in (1, 3, 5)}) == 3


def test_nothing_shared_is_nothing_copied() -> None:
    graph = ModelGraph(
        model_from_text(
            SHARED_BIAS.replace("d = Add(c, w_bias)", "d = Relu(c)").replace(
                "y = Add(e, w_bias)", "y = Relu(e)"
            )
        )
    )
    assert separate(graph)[0] is graph


def test_layers_are_free_of_each_other() -> None:
    analysis = read(shared())
    assert [group.units for group in analysis.ir.groups] == [4, 4]
    for seed in range(3):
        assert_exact(analysis, random_keep(analysis, 0.5, seed), seed)


def test_equal_copies_are_stored_once() -> None:
    analysis = read(shared())
    mask = np.array([True, False, True, True])
    pruned = prune(analysis, keep_map(analysis.ir, {g.id: mask for g in analysis.ir.groups}))
    sizes = sorted(len(t.dims) and t.dims[0] for t in pruned.graph.initializer if len(t.dims) == 1)
    assert sizes == [3, 4]
    names = {t.name for t in pruned.graph.initializer}
    assert "w_bias" in names


def test_nothing_cut_is_nothing_changed() -> None:
    model = shared()
    analysis = read(model)
    pruned = prune(analysis, keep_map(analysis.ir, {}))
    assert pruned.SerializeToString() == model.SerializeToString()


# The same behind nodes that only hand the vector on, one behind the other.
HANDED_ON = """
<ir_version: 8, opset_import: ["" : 17]>
shared (float[N, 3] x, float[3, 4] w_1, float[4, 4] w_2, float[4, 4] w_3) => (float[N, 4] y)
<int8[4] q = {1, -2, 3, -4}, float scale = {0.5}, int64[2] row = {1, -1}> {
    b = DequantizeLinear(q, scale)
    c = Reshape(b, row)
    d = MatMul(x, w_1)
    e = Add(d, c)
    f = MatMul(e, w_2)
    g = Add(f, c)
    h = MatMul(g, w_3)
    y = Add(h, b)
}
"""


def test_nodes_that_hand_a_vector_on_tie_nothing() -> None:
    analysis = read(model_from_text(HANDED_ON))
    assert [group.units for group in analysis.ir.groups] == [4, 4]
    for seed in range(3):
        assert_exact(analysis, random_keep(analysis, 0.5, seed), seed)


def test_nodes_of_their_own_have_names_of_their_own() -> None:
    """ONNX Runtime loads no model in which two nodes have one name."""
    model = model_from_text(HANDED_ON)
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
    names = [node.name for node in separate(ModelGraph(model))[0].nodes]
    assert len(set(names)) == len(names) == len(model.graph.node) + 3
    analysis = read(model)
    assert_exact(analysis, random_keep(analysis, 0.5, 1), 1)


def test_nodes_that_do_the_same_stand_once() -> None:
    model = model_from_text(HANDED_ON)
    analysis = read(model)
    assert prune(analysis, keep_map(analysis.ir, {})).SerializeToString() == (
        model.SerializeToString()
    )
    mask = np.array([True, False, True, True])
    pruned = prune(analysis, keep_map(analysis.ir, {g.id: mask for g in analysis.ir.groups}))
    kinds = [node.op_type for node in pruned.graph.node]
    # one vector of three numbers for both layers that were cut, one of four for the output
    assert kinds.count("DequantizeLinear") == 2
    assert kinds.count("Reshape") == 1
    assert sorted(t.dims[0] for t in pruned.graph.initializer if t.data_type == 3) == [3, 4]


# Two layers multiply a table of their own, which an exporter has stored once: both are all ones.
FILLED = """
<ir_version: 8, opset_import: ["" : 17]>
shared (float[N, 2, 3] x, float[3, 4] w_1, float[4, 4] w_2, float[4, 4] w_3) => (float[N, 2, 4] y)
<float[2, 4] t = {VALUES}> {
    a = MatMul(x, w_1)
    b = Mul(a, t)
    c = MatMul(b, w_2)
    d = Mul(c, t)
    y = MatMul(d, w_3)
}
"""


def test_a_table_of_one_number_ties_nothing() -> None:
    units = {}
    for values in ("1, 1, 1, 1, 1, 1, 1, 1", "1, 1, 1, 1, 1, 1, 1, 2"):
        analysis = read(model_from_text(FILLED.replace("VALUES", values)))
        assert_exact(analysis, random_keep(analysis, 0.5, 1), 1)
        units[values[-1]] = [group.units for group in analysis.ir.groups]
    assert units == {"1": [4, 4], "2": [4]}
