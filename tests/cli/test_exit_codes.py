"""How runs end: the code, one line that says what to do, and nothing changed on disk."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper, parser

from onnxslim_snacs.cli.app import run
from onnxslim_snacs.model import load
from onnxslim_snacs.passes import prune as prune_module
from onnxslim_snacs.proof import prove as proving
from tests.cli.conftest import Cli, untouched

QUICK = ("--criterion", "l1", "--ratio", "0.5")


@pytest.fixture
def old(model: Path) -> Path:
    """A file at the default place of the output."""
    path = model.with_name("net.slim.onnx")
    path.write_bytes(b"precious")
    return path


# 1: our own fault


def test_a_bug_is_one_line(
    cli: Cli, model: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("\x1b[31mred")

    monkeypatch.setattr(proving, "prune", broken)
    with untouched(model.parent):
        ended = cli("compress", model, *QUICK, "--force", code=1)
    assert "internal error: KeyError" in ended.err
    assert "SNACS_ONNX_DEBUG" in ended.err
    assert "\x1b[31m" not in ended.err
    monkeypatch.setenv("SNACS_ONNX_DEBUG", "1")
    with pytest.raises(KeyError):
        run(["compress", str(model), *QUICK, "--force"])


# 2: usage

WRONG = [
    "--ratio nan",
    "--ratio 1",
    "--ratio -0.1",
    "--ratio half",
    "--criterion nonsense",
    "--target macs=0",
    "--target macs=1.5",
    "--target macs=nan",
    "--target macs",
    "--target flops=0.5",
    "--target macs=0.5 --target macs=0.6",
    "--target macs=0.5 --ratio 0.5",
    "--auto --ratio 0.5",
    "--auto --target macs=0.5",
    "--max-drop 0.1 --target macs=0.5",
    "--max-drop 1",
    "--max-drop nan",
    "--allow-slower",
    "--ratio 0.5 --allow-slower",
    "--multiple-of 0",
    "--threads 0",
    "--seed -1",
    "--samples 0",
    "--option groups=0",
    "--option groups=4 --criterion l1",
    "--option groups=many",
    "--option phi=1",
    "--option groups=2 --option groups=4",
    "--layout CHW",
    "--size 3,x",
    "--size nan",
    "--size 1,2,3",
    "--mean a",
    "--std 0",
    "--input-shape image=-1,1",
    "--input-shape image=inf",
    "--provider tpu",
    "--recover magic",
    "--protect nothing_like_this",
    "--no-such-option",
]


@pytest.mark.parametrize("options", WRONG)
def test_wrong_options(cli: Cli, model: Path, old: Path, options: str) -> None:
    with untouched(model.parent):
        ended = cli("compress", model, "--force", *options.split(), code=2)
    assert ended.out == ""
    assert len(ended.err) > 10


@pytest.mark.parametrize("line", ["", "nonsense", "compress", "verify", "apply a.onnx"])
def test_wrong_commands(cli: Cli, line: str) -> None:
    ended = cli(*line.split(), code=2)
    assert "Usage" in ended.err + ended.out


# 3: input refused


def no_model(folder: Path, content: bytes) -> Path:
    path = folder / "bad.onnx"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"\x08\x07garbage" * 9])
@pytest.mark.parametrize("command", ["compress", "inspect", "apply", "verify", "bench"])
def test_no_model(cli: Cli, model: Path, data: Path, content: bytes, command: str) -> None:
    bad, plan = no_model(model.parent, content), model.with_name("p.json")
    cli("compress", model, "--data", data, *QUICK, "--plan-out", plan)
    rest: dict[str, list[object]] = {
        "compress": list(QUICK),
        "inspect": [],
        "apply": [plan],
        "verify": [model, "--plan", plan],
        "bench": [model],
    }
    with untouched(model.parent):
        ended = cli(command, bad, *rest[command], code=3)
    assert "bad.onnx" in ended.err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "not a plan"),
        ("[" * 100_000, "not a plan"),
        ('{"format": 99}', "format 99"),
        ("\ud800", "not UTF-8"),
    ],
)
def test_no_plan(cli: Cli, model: Path, text: str, reason: str) -> None:
    plan = model.with_name("p.json")
    plan.write_bytes(text.encode("utf-8", "surrogatepass"))
    with untouched(model.parent):
        assert reason in cli("apply", model, plan, code=3).err


@pytest.mark.parametrize("kept", [[], [16], [-1], [0.5], [True], ["0"], None])
def test_a_plan_that_cannot_be(cli: Cli, model: Path, kept: object) -> None:
    plan = model.with_name("p.json")
    cli("compress", model, *QUICK, "--plan-out", plan)
    edited = json.loads(plan.read_text())
    edited["steps"][0]["groups"][0]["kept"] = kept
    plan.write_text(json.dumps(edited))
    with untouched(model.parent):
        cli("apply", model, plan, "--force", code=3)


def test_a_plan_for_another_model(cli: Cli, model: Path) -> None:
    plan = model.with_name("p.json")
    cli("compress", model, *QUICK, "--plan-out", plan)
    other = onnx.load(model)
    other.graph.node[0].output[0] += "_"
    for node in other.graph.node[1:]:
        for k, name in enumerate(node.input):
            node.input[k] = name + "_" if name + "_" == other.graph.node[0].output[0] else name
    onnx.save(other, model)
    with untouched(model.parent):
        assert "another model" in cli("apply", model, plan, "--force", code=3).err


def test_bad_data(cli: Cli, model: Path, old: Path) -> None:
    file = model.with_name("d.npz")
    bad = {
        "no such input": {"other": np.zeros((4, 1, 8, 8), np.float32)},
        "shape": {"image": np.zeros((4, 3, 8, 8), np.float32)},
        "no samples": {"image": np.zeros((0, 1, 8, 8), np.float32)},
        "not finite": {"image": np.full((4, 1, 8, 8), np.nan, np.float32)},
    }
    for arrays in bad.values():
        np.savez(file, **arrays)  # type: ignore[arg-type]
        with untouched(model.parent):
            ended = cli("compress", model, "--data", file, *QUICK, "--force", code=3)
        assert "error:" in ended.err


def test_channel_mismatch_shows_when_the_model_is_run(cli: Cli, model: Path, old: Path) -> None:
    broken = onnx.load(model)
    first = broken.graph.initializer[0]
    array = numpy_helper.to_array(first).repeat(3, axis=1)
    first.CopyFrom(numpy_helper.from_array(array, first.name))
    broken.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "c"
    del broken.graph.value_info[:]
    onnx.save(broken, model)
    with untouched(model.parent):
        ended = cli("compress", model, *QUICK, "--force", code=3)
    assert "cannot run this model" in ended.err or "Conv" in ended.err


def test_nan_weights(cli: Cli, model: Path, old: Path) -> None:
    broken = onnx.load(model)
    first = broken.graph.initializer[0]
    array = numpy_helper.to_array(first).copy()
    array.flat[0] = np.nan
    first.CopyFrom(numpy_helper.from_array(array, first.name))
    onnx.save(broken, model)
    with untouched(model.parent):
        ended = cli("compress", model, *QUICK, "--force", code=3)
    assert first.name in ended.err
    assert "--force" not in ended.err


# An operator that ONNX Runtime does not have: cut around it, or say what cannot be done.


def with_custom_operator(path: Path) -> Path:
    custom = parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17, "my.domain" : 1]>
        net (float[2, 4] x) => (float[2, 3] y)
        <float[4, 8] w1, float[8, 8] w2, float[8, 3] w3, float[2, 8] d>
        { a = MatMul(x, w1)  b = Relu(a)  c = MatMul(b, w2)  d = my.domain.Odd(c)
          y = MatMul(d, w3) }
        """
    )
    rng = np.random.default_rng(0)
    for info in list(custom.graph.value_info):
        if info.name.startswith("w"):
            shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
            values = rng.standard_normal(shape).astype(np.float32)
            custom.graph.initializer.append(numpy_helper.from_array(values, info.name))
    onnx.save(custom, path)
    return path


def test_custom_operator(cli: Cli, tmp_path: Path) -> None:
    custom = with_custom_operator(tmp_path / "custom.onnx")
    ended = cli("compress", custom, *QUICK, "--json")
    report = ended.json()
    assert [(g["units"], g["kept"]) for g in report["groups"]] == [(8, 4)]
    assert report["proof"]["passed"] is True
    assert report["drift"] is None
    assert "Odd" in ended.err
    with untouched(tmp_path):
        for options in ("--criterion snacs --ratio 0.5", "--criterion l1", "--target macs=0.5"):
            ended = cli("compress", custom, *options.split(), "--force", code=3)
            assert "has to run the model" in ended.err


# 4: nothing to prune


def text_model(path: Path, text: str) -> Path:
    proto: ModelProto = parser.parse_model(text)
    onnx.save(proto, path)
    return path


def test_nothing_to_prune(cli: Cli, tmp_path: Path) -> None:
    plain = text_model(
        tmp_path / "m.onnx",
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2, 3] x) => (float[2, 3] y) '
        "{ y = Relu(x) }",
    )
    with untouched(tmp_path):
        ended = cli("compress", plain, *QUICK, code=4)
    said = f"error: {plain}: no channel of this model can go: x[0] (graph): graph input"
    assert said in ended.err


def test_as_few_samples_as_are_asked_for(cli: Cli, model: Path, data: Path, old: Path) -> None:
    line = ("compress", model, "--data", data, "--target", "macs=0.5", "--force", "--samples")
    with untouched(model.parent):
        ended = cli(*line, 8, code=3)
    assert f"error: {model}: " in ended.err  # perhaps behind how long it would have taken
    assert "give at least 9" in ended.err
    cli(*line, 9)


@pytest.mark.parametrize("command", ["compress", "inspect", "apply", "verify", "bench"])
def test_what_is_said_of_a_model_names_its_file(cli: Cli, model: Path, command: str) -> None:
    """Found out late, when the file has been read: extents that disagree with what runs show."""
    plan = model.with_name("p.json")
    cli("compress", model, *QUICK, "--plan-out", plan)
    broken = model.with_name("broken.onnx")
    proto = onnx.load(model)
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 4  # of (N, 1, 8, 8)
    del proto.graph.value_info[:]
    first = proto.graph.initializer[0]
    array = numpy_helper.to_array(first).repeat(3, axis=1)
    first.CopyFrom(numpy_helper.from_array(array, first.name))
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "c"
    onnx.save(proto, broken)
    rest: dict[str, tuple[object, ...]] = {
        "compress": QUICK,
        "inspect": (),
        "apply": (plan,),
        "verify": (model, "--plan", plan),
        "bench": (model,),
    }
    with untouched(model.parent):
        ended = cli(command, broken, *rest[command], code=3)
    assert ended.err.splitlines()[-1].startswith(f"error: {broken}: ")


@pytest.mark.parametrize("key", ["params", "macs", "bytes"])
def test_an_impossible_target_says_what_is_possible(
    cli: Cli, model: Path, data: Path, old: Path, key: str
) -> None:
    line = ("compress", model, "--data", data, "--criterion", "l1", "--force", "--target")
    with untouched(model.parent):
        ended = cli(*line, f"{key}=0.0001", code=4)
    can = ended.err.split(f"{key}=")[2].split()[0]
    report = cli(*line, f"{key}={can}", "--json").json()
    left = report["after"][key] / report["before"][key]
    assert left <= float(can) < left + 1e-3


def test_protecting_everything(cli: Cli, model: Path, old: Path) -> None:
    with untouched(model.parent):
        ended = cli("compress", model, *QUICK, "--protect", "*", "--force", code=4)
        assert "--protect" in ended.err
        ended = cli("compress", model, *QUICK, "--multiple-of", "64", "--force", code=4)
        assert "--multiple-of" in ended.err


# 5: the proof


def test_a_wrong_cut_is_never_written(
    cli: Cli, model: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = prune_module.prune

    def wrong(*arguments: object) -> ModelProto:
        cut = right(*arguments)  # type: ignore[arg-type]
        tensor = cut.graph.initializer[4]
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(np.roll(array, 1, axis=0), tensor.name))
        return cut

    monkeypatch.setattr(proving, "prune", wrong)
    plan, report = model.with_name("p.json"), model.with_name("r.json")
    with untouched(model.parent):
        ended = cli(
            "compress", model, *QUICK, "--force", "--plan-out", plan, "--report", report, code=5
        )
    assert "not equal" in ended.err


# 6: files


def test_outputs_that_exist(cli: Cli, model: Path, old: Path) -> None:
    plan = model.with_name("p.json")
    plan.write_text("precious")
    with untouched(model.parent):
        assert "--force" in cli("compress", model, *QUICK, code=6).err
        cli("compress", model, *QUICK, "-o", model.with_name("o.onnx"), "--plan-out", plan, code=6)
        cli("compress", model, *QUICK, "-o", model.with_name("o.onnx"), "--report", plan, code=6)


def test_outputs_that_cannot_be(cli: Cli, model: Path) -> None:
    folder, link = model.with_name("d"), model.with_name("link.onnx")
    folder.mkdir()
    link.symlink_to(model)
    missing = model.with_name("missing") / "o.onnx"
    with untouched(model.parent):
        for out in (model, link, folder, missing, Path("/dev/full")):
            cli("compress", model, *QUICK, "--force", "-o", out, code=6)
        for option in ("--plan-out", "--report"):
            for out in (model, folder, missing, model.with_name("net.slim.onnx")):
                cli("compress", model, *QUICK, "--force", option, out, code=6)
        cli("compress", model.with_name("none.onnx"), *QUICK, code=6)
        cli("apply", model, model.with_name("none.json"), code=6)
        cli("compress", model, *QUICK, "--data", model.with_name("none.npz"), code=6)


# 7: limits


def test_limits(
    cli: Cli, model: Path, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = tmp_path / "huge.onnx"
    shape = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1 << 20, 1 << 20])
    out = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [shape], [out])
    onnx.save(helper.make_model(graph, ir_version=8), huge)
    with untouched(tmp_path):
        assert "error:" in cli("compress", huge, *QUICK, code=7).err

    def hungry(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(proving, "prune", hungry)
    with untouched(tmp_path):
        assert "not enough memory" in cli("compress", model, *QUICK, "--force", code=7).err
    monkeypatch.setattr(load, "_MAX_FILE", 10)
    with untouched(tmp_path):
        cli("inspect", model, code=7)


def test_a_file_that_another_plan_has_made(cli: Cli, model: Path, data: Path) -> None:
    """The same cut by another plan: proved, but not what this plan has made."""
    plan, out = model.with_name("p.json"), model.with_name("net.slim.onnx")
    line = ("compress", model, "--data", data, *QUICK, "--recover", "none", "--plan-out", plan)
    cli(*line)
    said = cli("verify", model, out, "--plan", plan)
    assert "another plan" not in said.out + said.err
    edited = json.loads(plan.read_text())
    edited["steps"][0]["groups"][0]["kept"] = edited["steps"][0]["groups"][0]["kept"][:-1]
    plan.write_text(json.dumps(edited))
    assert "another plan has made the file" in cli("verify", model, out, "--plan", plan, code=5).err


def test_a_plan_for_other_weights_is_replayed_and_told_of(cli: Cli, model: Path) -> None:
    """As after more training: the structure is the same, and the plan is no longer this model's."""
    plan, out = model.with_name("p.json"), model.with_name("o.onnx")
    report = model.with_name("r.json")
    line = (*QUICK, "--recover", "none", "--plan-out", plan, "-o", out, "--report", report)
    cli("compress", model, *line)
    noted = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert json.loads(report.read_text())["notes"]["plan"] == noted["snacs-onnx.plan"]
    told = "other weights or attributes"
    assert told not in cli("apply", model, plan, "-o", model.with_name("a.onnx")).out
    assert told not in cli("verify", model, out, "--plan", plan).out
    trained = onnx.load(model)
    tensor = trained.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 1.5, tensor.name))
    onnx.save(trained, model)
    said = cli("apply", model, plan, "-o", model.with_name("b.onnx"))
    assert told in said.out + said.err
    said = cli("verify", model, model.with_name("b.onnx"), "--plan", plan)
    assert "proved" in said.out
    assert told in said.out
    assert told in cli("verify", model, out, "--plan", plan, code=5).err


def test_another_cut_is_told_by_its_shapes(cli: Cli, model: Path) -> None:
    """Not by what ONNX Runtime says of them."""
    plan, out = model.with_name("p.json"), model.with_name("o.onnx")
    cli("compress", model, *QUICK, "--recover", "none", "--plan-out", plan, "-o", out)
    said = cli("verify", model, model, "--plan", plan, code=5).err
    assert re.search(r"is not what the plan says: weight \S+ has the shape \(\d+.*, where", said)


def test_a_small_model_is_cut_within_half_a_gigabyte(tmp_path: Path) -> None:
    """Reading the file asked for 2 GiB at once, which a bound below that refused."""
    model = Path(__file__).parents[2] / "models" / "digits_resnet.onnx"
    out = tmp_path / "small.onnx"
    command = [sys.executable, "-m", "onnxslim_snacs", "compress", str(model), "-o", str(out)]
    asked = ["--ratio", "0.5", "--criterion", "l1", "--threads", "1", "--max-memory", "512M"]
    done = subprocess.run([*command, *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert out.exists()
