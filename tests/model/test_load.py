"""Bad input: each file is refused with its reason, and nothing blocks, hangs or allocates."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from onnxslim_snacs.errors import FileSystemError, InputRefused, LimitExceeded
from onnxslim_snacs.model.bounds import Limits
from onnxslim_snacs.model.functions import inlined
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.shell import shell
from onnxslim_snacs.model.topology import in_order
from onnxslim_snacs.ops.analyse import analyse

GOOD = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2, 4, 4] x) => (float[N, 3, 4, 4] y)
<float[3, 2, 1, 1] w = {1, 2, 3, 4, 5, 6}, float[3] b = {0, 0, 0}>
{
  h = Conv (x, w, b)
  y = Relu (h)
}
"""

Edit = Callable[[ModelProto], object]


def good() -> ModelProto:
    return parser.parse_model(GOOD)


def write(folder: Path, model: ModelProto) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(InputRefused) as caught:
        load_model(path)
    message = str(caught.value)
    assert path.name in message
    assert [word for word in words if word not in message] == []
    assert message.isprintable()


def test_a_valid_model_is_read(tmp_path: Path) -> None:
    graph = load_model(write(tmp_path, good()))
    assert graph.outputs == ("y",)
    assert graph.base_dir == tmp_path


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (b"\n <!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"PK\x03\x04" + bytes(40), "zip"),
        (b"\x1f\x8b\x08" + bytes(40), "gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
        (b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite"),
        (b"just some text, and no model at all", "not an ONNX model"),
        (b"\x0a\x64" * 5000, "not an ONNX model"),  # messages within messages without end
    ],
)
def test_other_files(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    refused(path, word)


@pytest.mark.parametrize("keep", [0.5, -1])
def test_cut_off(tmp_path: Path, keep: float) -> None:
    data = good().SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data[: int(len(data) * keep) if keep > 0 else -1])
    refused(path)


def test_things_that_are_not_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "pipe")
    refused(tmp_path, "folder")
    refused(Path("/dev/zero"), "device")
    for name in ("missing.onnx", "nul\0.onnx"):
        with pytest.raises(FileSystemError):
            load_model(tmp_path / name)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, "")

    path = write(tmp_path, good())
    monkeypatch.setattr(os, "open", denied)  # mode bits mean nothing where root runs the tests
    with pytest.raises(FileSystemError, match="Permission denied"):
        load_model(path)


def _swap_nodes(model: ModelProto) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))


def _weight(model: ModelProto) -> TensorProto:
    tensor: TensorProto = model.graph.initializer[0]
    return tensor


def _typed_beside_nothing(weight: TensorProto) -> None:
    """The numbers in their own field, and raw data that are there and empty."""
    weight.float_data.extend(numpy_helper.to_array(weight).ravel().tolist())
    weight.raw_data = b""


def _set_weight(values: list[float], dims: tuple[int, ...] = (3, 2, 1, 1)) -> Edit:
    array = np.array(values, dtype=np.float32).reshape(dims)
    return lambda m: _weight(m).CopyFrom(numpy_helper.from_array(array, "w"))


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (lambda m: m.graph.ClearField("node"), "no nodes"),
        (lambda m: m.graph.ClearField("output"), "no outputs"),
        (lambda m: m.ClearField("opset_import"), "no operator set"),
        (lambda m: setattr(m.opset_import[0], "version", 9999), "9999"),
        (lambda m: setattr(m.opset_import[0], "version", 0), "operator set is 0"),
        (lambda m: setattr(m.opset_import[0], "version", -5), "-5"),
        (lambda m: m.opset_import.add(domain="ai.onnx", version=3), "two versions"),
        (lambda m: setattr(m, "ir_version", 999), "999"),
        (lambda m: m.ClearField("ir_version"), "IR version"),
        (lambda m: m.graph.node[0].input.__setitem__(0, "y"), "cycle"),
        (lambda m: m.graph.node[1].output.__setitem__(0, "h"), "written already"),
        (lambda m: m.graph.node[1].output.__setitem__(0, "w"), "written already"),
        (lambda m: m.graph.initializer.append(_weight(m)), "two initializers"),
        (lambda m: m.graph.initializer.__delitem__(0), "no node writes"),
        (lambda m: setattr(m.graph.output[0], "name", "z"), "written by no node"),
        (lambda m: m.graph.node[1].attribute.add(name="alpha", type=1, f=1.0), "checker"),
        (lambda m: m.graph.node[0].ClearField("input"), "checker"),
        (lambda m: _weight(m).dims.__setitem__(0, -3), "negative"),
        (lambda m: _weight(m).dims.__setitem__(0, 4), "stored"),
        (lambda m: _weight(m).dims.extend([2**31, 2**31]), "no memory"),
        (lambda m: _weight(m).dims.extend([2**32, 2**32]), "no memory"),  # wraps around to 0
        (lambda m: setattr(_weight(m), "data_type", 99), "99"),
        (lambda m: setattr(_weight(m), "data_type", 0), "element type"),
        (lambda m: _weight(m).int64_data.append(1), "more than one place"),
        (lambda m: _typed_beside_nothing(_weight(m)), "more than one place"),
        (lambda m: _weight(m).segment.SetInParent(), "segment"),
        (_set_weight([], (0, 2, 1, 1)), "none of them 0"),
        (_set_weight([1.0] * 4, (2, 2, 1, 1)), "bias"),
        (lambda m: m.graph.node[0].attribute.add(name="group", type=2, i=2), "group = 2"),
        (_set_weight([1, 2, np.nan, 4, 5, 6]), "NaN"),
    ],
)
def test_broken_graphs(tmp_path: Path, edit: Edit, word: str) -> None:
    model = good()
    edit(model)
    refused(write(tmp_path, model), word)


def test_nodes_are_put_behind_what_they_read(tmp_path: Path) -> None:
    """Converters to half precision append their casts at the end."""
    model = good()
    wanted = [node.output[0] for node in model.graph.node]
    _swap_nodes(model)
    assert [node.output[0] for node in model.graph.node] != wanted
    found = load_model(write(tmp_path, model)).nodes
    assert [node.output[0] for node in found] == wanted


def test_nodes_of_bodies_are_put_in_order_and_others_stay_where_they_are() -> None:
    body = helper.make_graph(
        [helper.make_node("Neg", ["h"], ["out"]), helper.make_node("Abs", ["late"], ["h"])],
        "body",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("If", ["c"], ["b"], then_branch=body, else_branch=body),
        helper.make_node("Tanh", ["a"], ["z"]),
        helper.make_node("Exp", ["a"], ["late"]),
        helper.make_node("Add", ["b", "z"], ["y"]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    found = in_order(model)
    assert [n.op_type for n in found.graph.node] == ["Relu", "Tanh", "Exp", "If", "Add"]
    assert [n.op_type for n in found.graph.node[3].attribute[0].g.node] == ["Abs", "Neg"]
    assert [n.op_type for n in model.graph.node][1] == "If"
    assert in_order(found) is found


def test_not_finite_is_taken_if_asked(tmp_path: Path) -> None:
    model = good()
    _set_weight([1, 2, np.nan, 4, np.inf, 6])(model)
    graph = load_model(write(tmp_path, model), allow_nonfinite=True)
    assert np.isnan(graph.array("w")).sum() == 1


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
@pytest.mark.parametrize("raw", [True, False])
def test_not_finite_in_every_float_type(tmp_path: Path, kind: int, raw: bool) -> None:
    for bad in (np.nan, np.inf, 1.0):
        model = good()
        values = np.array([1, -2, bad, 4, 5, 6], dtype=helper.tensor_dtype_to_np_dtype(kind))
        content = values.tobytes() if raw else values
        tensor = helper.make_tensor("w", kind, (3, 2, 1, 1), content, raw=raw)
        _weight(model).CopyFrom(tensor)
        path = write(tmp_path, model)
        if np.isnan(bad):
            refused(path, "NaN")
        else:
            assert load_model(path).infinite == ({"w"} if np.isinf(bad) else frozenset())


def test_infinite_weights_are_refused_where_they_are_trained_numbers(tmp_path: Path) -> None:
    model = good()
    _set_weight([1, 2, -np.inf, 4, 5, 6])(model)
    path = write(tmp_path, model)
    with pytest.raises(InputRefused, match="tensor w holds infinite values"):
        analyse(load_model(path))
    analyse(load_model(path, allow_nonfinite=True))


def test_an_infinite_mask_is_no_fault(tmp_path: Path) -> None:
    model = good()
    model.graph.initializer.append(
        numpy_helper.from_array(np.array([-np.inf], dtype=np.float32), "mask")
    )
    model.graph.node[1].CopyFrom(helper.make_node("Add", ["h", "mask"], ["y"]))
    analyse(load_model(write(tmp_path, model)))


def test_packed_types_are_measured_in_bits(tmp_path: Path) -> None:
    model = good()
    model.opset_import[0].version, model.ir_version = 21, 10
    tensor = helper.make_tensor("q", TensorProto.INT4, (3,), b"\x21\x03", raw=True)
    model.graph.initializer.append(tensor)
    load_model(write(tmp_path, model))
    model.graph.initializer[-1].raw_data = b"\x21\x03\x00"
    refused(write(tmp_path, model), "2 bytes, 3 are stored")


def test_unknown_operators_are_no_fault(tmp_path: Path) -> None:
    for domain, imported in (("com.acme", True), ("com.acme", False), ("", True)):
        model = good()
        model.graph.node[1].op_type, model.graph.node[1].domain = "Frobnicate", domain
        if domain and imported:
            model.opset_import.add(domain=domain, version=1)
        path = write(tmp_path, model)
        assert load_model(path).proto.SerializeToString() == path.read_bytes()


def test_names_are_shown_without_control_characters(tmp_path: Path) -> None:
    model = good()
    model.graph.node[1].input[0] = "\x1b[31m../../etc/passwd\r\n" + "x" * 10**6
    path = write(tmp_path, model)
    refused(path, "\\x1b[31m")
    with pytest.raises(InputRefused) as caught:
        load_model(path)
    assert len(str(caught.value)) < 1000 + len(str(path))


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = write(tmp_path, good())
    path.write_bytes(path.read_bytes().replace(b"Relu", b"R\xff\xfeu"))
    refused(path, "UTF-8")


def _function(name: str, *callees: str) -> onnx.FunctionProto:
    nodes, last = [], "a"
    for k, callee in enumerate(callees):
        domain = "" if callee == "Relu" else "f"
        nodes.append(helper.make_node(callee, [last], [f"t{k}"], domain=domain))
        last = f"t{k}"
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    return helper.make_function("f", name, ["a"], [last], nodes, imports)


def _with_functions(*functions: onnx.FunctionProto) -> ModelProto:
    model = good()
    model.opset_import.add(domain="f", version=1)
    model.functions.extend(functions)
    model.graph.node[1].CopyFrom(helper.make_node("F0", ["h"], ["y"], domain="f"))
    return model


def test_function_bomb(tmp_path: Path) -> None:
    bomb = [_function(f"F{k}", f"F{k + 1}", f"F{k + 1}") for k in range(5000)]
    path = write(tmp_path, _with_functions(*bomb, _function("F5000", "Relu")))
    with pytest.raises(LimitExceeded, match="expand to about 2"):
        load_model(path)


def test_functions(tmp_path: Path) -> None:
    path = write(tmp_path, _with_functions(_function("F0", "F1", "F1"), _function("F1", "Relu")))
    load_model(path)
    again = _with_functions(_function("F0", "Relu"), _function("F0", "Relu"))
    refused(write(tmp_path, again), "twice")
    circle = _with_functions(_function("F0", "F1"), _function("F1", "F0"))
    refused(write(tmp_path, circle), "itself")
    wide = _with_functions(_function("F0", *["F1"] * 4), _function("F1", *["Relu"] * 4))
    with pytest.raises(LimitExceeded, match="expand to 17 nodes"):
        load_model(write(tmp_path, wide), limits=Limits(function_nodes=16))


def test_inlined_keeps_the_names_of_the_graph(tmp_path: Path) -> None:
    plain = load_model(write(tmp_path, good()))
    assert inlined(plain) is plain
    path = write(tmp_path, _with_functions(_function("F0", "F1", "F1"), _function("F1", "Relu")))
    graph = inlined(load_model(path))
    assert not graph.proto.functions
    assert [n.op_type for n in graph.nodes] == ["Conv", "Relu", "Relu"]
    assert graph.nodes[0].output[0] == graph.nodes[1].input[0] == "h"
    assert graph.outputs == ("y",)


def _nested_if(depth: int) -> ModelProto:
    """`depth` If nodes, each in the branch of the one around it; the innermost reads `x`."""
    out = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r0"])], "b0", [], [out("r0", 1, None)]
    )
    for k in range(1, depth + 1):
        node = helper.make_node("If", ["c"], [f"r{k}"], then_branch=body, else_branch=body)
        body = helper.make_graph([node], f"b{k}", [], [out(f"r{k}", 1, None)])
    inputs = [out("x", 1, [2]), out("c", TensorProto.BOOL, [])]
    graph = helper.make_graph(body.node, "net", inputs, [out(f"r{depth}", 1, [2])])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def test_nested_bodies(tmp_path: Path) -> None:
    load_model(write(tmp_path, _nested_if(8)))
    inner = _nested_if(2)
    inner.graph.node[0].attribute[0].g.node[0].attribute[0].g.node[0].input[0] = "nowhere"
    refused(write(tmp_path, inner), "nowhere")


def test_a_long_chain(tmp_path: Path) -> None:
    model = good()
    chain = [helper.make_node("Relu", [f"t{k}"], [f"t{k + 1}"]) for k in range(20_000)]
    chain[0].input[0], chain[-1].output[0] = "h", "y"
    model.graph.node[1].CopyFrom(chain[0])
    model.graph.node.extend(chain[1:])
    load_model(write(tmp_path, model))
    with pytest.raises(LimitExceeded, match="20,001 nodes"):
        load_model(tmp_path / "m.onnx", limits=Limits(nodes=20_000))


@pytest.mark.parametrize("dims", [[2**40], [2**20, 2**20]])
def test_sizes_that_no_memory_can_hold(tmp_path: Path, dims: list[int]) -> None:
    model = good()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2**40
    with pytest.raises(LimitExceeded, match="input x"):
        load_model(write(tmp_path, model))
    model = good()
    model.graph.initializer.append(numpy_helper.from_array(np.array(dims), "shape"))
    model.graph.node.add().CopyFrom(helper.make_node("ConstantOfShape", ["shape"], ["big"]))
    with pytest.raises(LimitExceeded, match="ConstantOfShape"):
        load_model(write(tmp_path, model))


@pytest.mark.shared
def test_every_real_model_is_taken(shared: Path) -> None:
    files = sorted((shared / "models").rglob("*.onnx"))
    assert len(files) > 40
    for path in files:
        assert load_model(path).nodes


def test_texts_that_are_not_utf8_travel_with_the_model(tmp_path: Path) -> None:
    """Not names that anything refers to, but what people write in the encoding of their country."""
    model = parser.parse_model(GOOD)
    model.graph.name, model.graph.doc_string, model.doc_string = "g#", "d#" * 200, "m#"
    content = model.SerializeToString().replace(b"#", b"\xe7")
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    found = load_model(path)
    light = shell(found.proto, "opset_import")
    texts: list[object] = [light.doc_string, light.graph.name]
    assert texts == [b"m\xe7", b"g\xe7"]
    texts = [shell(found.graph, "node").doc_string]
    assert texts == [b"d\xe7" * 200]
