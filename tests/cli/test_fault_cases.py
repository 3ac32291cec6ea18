"""Files that nobody should be given: code, words, and nothing written.

The numbers are those of the list of forty cases; `test_forty` says which test holds which.
"""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from tests.cli.conftest import MODELS, Cli, contents, untouched
from tests.harness import model_from_text

CUT = ("--criterion", "l1", "--ratio", "0.5", "--recover", "none")
BUNDLED = (MODELS / "digits_resnet.onnx").read_bytes()
PLAIN = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,4] x, float[4,8] w_a, float[8,3] w_b) => (float[N,3] y)
{ a = MatMul(x, w_a)  b = Relu(a)  y = MatMul(b, w_b) }"""


def plain() -> ModelProto:
    return model_from_text(PLAIN)


def flipped() -> bytes:
    """Twenty bytes of the structure changed: tags and lengths at the beginning."""
    data = bytearray(BUNDLED)
    for place in np.random.default_rng(0).choice(400, 20, replace=False):
        data[place] ^= 0xFF
    return bytes(data)


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("net.onnx", BUNDLED)
    return out.getvalue()


#: A: case -> (content, a word of the message).
NO_MODELS: dict[str, tuple[bytes, str]] = {
    "1 empty": (b"", "empty"),
    "2 text": (b"not found\n" * 9, "not an ONNX model"),
    "2 page": (b"<html><body>404</body></html>", "web page"),
    "2 pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "3 half": (BUNDLED[: len(BUNDLED) // 2], "cut off"),
    "3 a byte less": (BUNDLED[:-1], "cut off"),
    "4 flipped": (flipped(), ""),
    "5 zip": (zipped(), "zip"),
    "5 gzip": (gzip.compress(BUNDLED), "gzip"),
}


@pytest.mark.parametrize("case", NO_MODELS)
def test_no_models(cli: Cli, tmp_path: Path, case: str) -> None:
    content, word = NO_MODELS[case]
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with untouched(tmp_path):
        for line in (("inspect", path), ("compress", path, *CUT)):
            assert_refused(cli(*line, code=3).err, path, word)


def assert_refused(said: str, path: Path, word: str = "") -> None:
    last = said.strip().splitlines()[-1]
    assert last.startswith(f"error: {path}")
    assert word in last


def test_what_is_no_file(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """6 and 7: never waits."""
    pipe, folder, closed = (tmp_path / name for name in ("pipe", "folder", "closed.onnx"))
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (pipe, folder, Path("/dev/zero")):
        assert_refused(cli("compress", path, "-o", tmp_path / "o.onnx", *CUT, code=3).err, path)
    assert_refused(cli("inspect", tmp_path / "none.onnx", code=6).err, tmp_path / "none.onnx")
    closed.write_bytes(BUNDLED)
    opened = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    assert_refused(cli("inspect", closed, code=6).err, closed, "Permission denied")


Edit = Callable[[ModelProto], None]


def edited(**changes: Any) -> Edit:
    """The first node with other inputs or outputs."""

    def edit(model: ModelProto) -> None:
        node = model.graph.node[changes.get("node", 0)]
        for side in ("input", "output"):
            if side in changes:
                getattr(node, side)[:] = changes[side]

    return edit


def again(model: ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def nothing(field: str) -> Edit:
    return lambda model: model.graph.ClearField(field)


def opset(version: int) -> Edit:
    def edit(model: ModelProto) -> None:
        model.opset_import[0].version = version

    return edit


def ir(model: ModelProto) -> None:
    model.ir_version = 999


def unversioned(model: ModelProto) -> None:
    del model.opset_import[:]


def stored(**changes: Any) -> Edit:
    """The first weight with other dimensions, another type, other values or another name."""

    def edit(model: ModelProto) -> None:
        tensor = model.graph.initializer[0]
        if "dims" in changes:
            tensor.dims[:] = changes["dims"]
        if "data_type" in changes:
            tensor.data_type = changes["data_type"]
        if "value" in changes:
            array = np.full(tuple(tensor.dims), changes["value"], np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return edit


def input_dims(*dims: int) -> Edit:
    def edit(model: ModelProto) -> None:
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
        model.graph.input[0].CopyFrom(value)

    return edit


def huge(model: ModelProto) -> None:
    """ConstantOfShape of a terabyte."""
    shape = numpy_helper.from_array(np.array([1 << 19, 1 << 19], np.int64), "many")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["many"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))


def cycle(model: ModelProto) -> None:
    model.graph.node[0].input[0] = "b"


def self_calling(model: ModelProto) -> None:
    """16: a function whose calls go round in a circle."""
    for name, calls in (("F", "G"), ("G", "F")):
        body = [helper.make_node(calls, ["p"], ["q"], domain="f")]
        imports = [helper.make_opsetid("f", 1)]
        model.functions.append(helper.make_function("f", name, ["p"], ["q"], body, imports))
    model.opset_import.append(helper.make_opsetid("f", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "F", "f"


def doubling(model: ModelProto) -> None:
    """17: forty functions, each calls the next twice."""
    imports = [helper.make_opsetid("f", 1), helper.make_opsetid("", 17)]
    for k in range(40):
        last = k == 39
        body = [
            helper.make_node("Relu" if last else f"F{k + 1}", [a], [b], domain="" if last else "f")
            for a, b in (("p", "m"), ("m", "q"))
        ]
        model.functions.append(helper.make_function("f", f"F{k}", ["p"], ["q"], body, imports))
    model.opset_import.append(helper.make_opsetid("f", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain = "F0", "f"


#: B and C: case -> (edit, code).
BROKEN: dict[str, tuple[Edit, int]] = {
    "8 cycle": (cycle, 3),
    "9 written twice": (edited(node=1, output=["a"]), 3),
    "10 stored twice": (again, 3),
    "11 never written": (edited(node=1, input=["nobody"]), 3),
    "11 no weight": (nothing("initializer"), 3),
    "12 no outputs": (nothing("output"), 3),
    "12 no nodes": (nothing("node"), 3),
    "14 opset 9999": (opset(9999), 3),
    "14 opset 0": (opset(0), 3),
    "14 opset -5": (opset(-5), 3),
    "14 no opset": (unversioned, 3),
    "14 IR 999": (ir, 3),
    "16 functions in a circle": (self_calling, 3),
    "17 functions that double": (doubling, 7),
    "19 2^62 elements": (stored(dims=[1 << 31, 1 << 31]), 3),
    "19 wraps around": (stored(dims=[1 << 33, 1 << 33]), 3),
    "20 negative": (stored(dims=[-4, 8]), 3),
    "20 too many": (stored(dims=[4, 9]), 3),
    "20 type 99": (stored(data_type=99), 3),
    "21 no channels": (stored(dims=[4, 0]), 3),
    "22 NaN": (stored(value=np.nan), 3),
    "22 infinite": (stored(value=np.inf), 3),
    "23 a terabyte": (huge, 7),
    "23 2^40 of an input": (input_dims(1 << 40, 4), 7),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_models(cli: Cli, tmp_path: Path, case: str) -> None:
    edit, code = BROKEN[case]
    model, path = plain(), tmp_path / "net.onnx"
    edit(model)
    path.write_bytes(model.SerializeToString())
    with untouched(tmp_path):
        for line in (("inspect", path), ("compress", path, *CUT)):
            assert_refused(cli(*line, code=code).err, path)


def test_nested_bodies_are_left_alone(cli: Cli, tmp_path: Path) -> None:
    """15: twenty choices within each other, beside a network that can be cut."""
    model = plain()
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "go"))
    value = helper.make_tensor_value_info("v", TensorProto.FLOAT, None)
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["v"])], "g", [], [value])
    for k in range(20):
        inner = level(inner, k)
    model.graph.node.extend(inner.node)
    model.graph.output.append(helper.make_tensor_value_info("v19", TensorProto.FLOAT, ["N", 4]))
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    cli("compress", path, *CUT)
    made = onnx.load(tmp_path / "net.slim.onnx")
    assert [tensor.dims for tensor in made.graph.initializer[:2]] == [[4, 4], [4, 3]]
    (choice,) = [node for node in made.graph.node if node.op_type == "If"]
    assert choice == inner.node[0]


def level(inner: GraphProto, number: int) -> GraphProto:
    name = f"v{number}"
    out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    other = helper.make_graph([helper.make_node("Identity", ["x"], [name])], "h", [], [out])
    inner.name = f"g{number}"
    node = helper.make_node("If", ["go"], [name], then_branch=inner, else_branch=other)
    return helper.make_graph([node], "g", [], [out])


@pytest.mark.parametrize(
    "name", ["層", "\x1b[31m\r\n", "../../etc/passwd", "n" * (1 << 20), "/dev/null", "%s{0}"]
)
def test_names_are_no_paths(cli: Cli, tmp_path: Path, name: str) -> None:
    """24: taken as names, and nothing is opened, made or shown by them."""
    model, path = plain(), tmp_path / "net.onnx"
    for node in model.graph.node:
        node.name = name + node.op_type + node.output[0]
        for side in (node.input, node.output):
            side[:] = [name if n == "a" else n for n in side]
    onnx.save(model, path)
    said = cli("compress", path, *CUT)
    assert set(contents(tmp_path)) == {"net.onnx", "net.slim.onnx"}
    assert len(said.out + said.err) < 6000
    assert "\x1b[31m" not in said.out + said.err


#: D: case -> what is said of where the weights lie.
OUTSIDE: dict[str, dict[str, str]] = {
    "25 above": {"location": "../w.bin"},
    "26 above, through a folder": {"location": "sub/../../w.bin"},
    "27 absolute": {"location": "/etc/hostname"},
    "27 endless": {"location": "/dev/zero"},
    "28 a link": {"location": "soft.bin"},
    "28 a folder that is a link": {"location": "linked/w.bin"},
    "28 a second name": {"location": "hard.bin"},
    "29 missing": {"location": "none.bin"},
    "29 short": {"location": "short.bin"},
    "29 before the beginning": {"location": "w.bin", "offset": "-8"},
    "29 nine petabytes": {"location": "w.bin", "length": str(9 * 10**15)},
    "30 an attribute of Python's": {"location": "w.bin", "__class__": "x"},
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_weights_outside(cli: Cli, tmp_path: Path, case: str) -> None:
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    for place in (tmp_path / "w.bin", home / "w.bin", tmp_path / "far" / "w.bin"):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(bytes(128))
    (home / "short.bin").write_bytes(bytes(8))
    (home / "soft.bin").symlink_to(home / "w.bin")
    (home / "linked").symlink_to(tmp_path / "far")
    os.link(tmp_path / "far" / "w.bin", home / "hard.bin")
    model, path = plain(), home / "net.onnx"
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in OUTSIDE[case].items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    with untouched(tmp_path):
        for line in (("inspect", path), ("compress", path, *CUT)):
            assert_refused(cli(*line, code=3).err, path, tensor.name)


#: E, 33: case -> arrays for the model's input, (N, 4) of float32.
SAMPLES: dict[str, dict[str, Any]] = {
    "name": {"other": np.zeros((9, 4), np.float32)},
    "shape": {"x": np.zeros((9, 5), np.float32)},
    "type": {"x": np.array([["a"] * 4] * 9)},
    "no samples": {"x": np.zeros((0, 4), np.float32)},
    "NaN": {"x": np.full((9, 4), np.nan, np.float32)},
    "labels out of range": {
        "x": np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32),
        "labels": np.full(9, 7),
    },
    "other numbers of samples": {"x": np.eye(4, dtype=np.float32), "labels": np.zeros(3, int)},
}


@pytest.mark.parametrize("case", SAMPLES)
def test_samples(cli: Cli, tmp_path: Path, case: str) -> None:
    onnx.save(plain(), tmp_path / "net.onnx")
    data = tmp_path / "d.npz"
    np.savez(data, **SAMPLES[case])
    with untouched(tmp_path):
        line = ("compress", tmp_path / "net.onnx", "--data", data, "--target", "params=0.5")
        assert "d.npz" in cli(*line, code=3).err


def test_a_checkpoint_of_torch_is_no_model_and_no_data(cli: Cli, tmp_path: Path) -> None:
    """34: it is not even opened as what it is; nothing here unpickles."""
    mark, path = tmp_path / "mark", tmp_path / "w.pt"
    gadget = f"cos\nsystem\n(S'touch {mark}'\ntR.".encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", gadget)
    onnx.save(plain(), tmp_path / "net.onnx")
    with untouched(tmp_path):
        cli("compress", path, *CUT, code=3)
        cli("compress", tmp_path / "net.onnx", "--data", path, *CUT, code=3)
    assert not mark.exists()
