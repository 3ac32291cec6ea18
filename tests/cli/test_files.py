"""What a command writes: all of its files or none, and never over an input."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxslim_snacs import CompressConfig, DataConfig, apply_plan, compress
from onnxslim_snacs.cli.app import run
from onnxslim_snacs.commands.start import Compressed
from onnxslim_snacs.errors import FileSystemError
from tests.cli.conftest import Cli, contents, untouched
from tests.cli.test_process import shell
from tests.faults import faults
from tests.harness import model_from_text
from tests.model.test_together import in_child

QUICK = ("--criterion", "l1", "--ratio", "0.5")
#: As fast as a run can be, for there are many.
SMALL = """<ir_version: 8, opset_import: ["" : 17]>
net (float[2, 4] x, float[4, 8] w_a, float[8, 3] w_b) => (float[2, 3] y)
{ a = MatMul(x, w_a)  b = Relu(a)  y = MatMul(b, w_b) }
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(model_from_text(SMALL), path)
    return path


def test_every_failing_call_leaves_all_or_nothing(
    cli: Cli, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 6 and all old, or 0 and all new; and the next run tidies up."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    plan, report = small.with_name("p.json"), small.with_name("r.json")
    old, new = (("compress", small, *QUICK[:3], ratio) for ratio in ("0.25", "0.5"))
    places = ("--plan-out", plan, "--report", report, "--force")
    cli(*new, *places)
    wanted = seen(small.parent)
    wanted.pop("r.json")
    failures = 0
    for k in range(1, 200):
        cli(*old, *places)
        before = seen(small.parent)
        with faults(k, OSError(errno.ENOSPC, "No space left on device")) as made:
            code = run([str(a) for a in (*new, *places)])
        after = seen(small.parent)
        assert code in (0, 3, 6), made[-1]
        if code:
            assert after == before
        else:
            after.pop("r.json")  # it has times
            assert after == wanted
        failures += code == 6
        if len(made) < k:
            break
    assert failures > 20
    assert len(made) < k
    cli(*new, *places)
    assert set(contents(small.parent)) == {"net.onnx", "net.slim.onnx", "p.json", "r.json"}


def seen(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if not name.startswith(".")}


def test_model_comes_after_its_plan_and_report(
    cli: Cli, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the model finds the others there."""
    order: list[str] = []
    replace = os.replace

    def noting(source: Path, target: Path) -> None:
        order.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", noting)
    plan, report = small.with_name("p.json"), small.with_name("r.json")
    cli("compress", small, *QUICK, "--plan-out", plan, "--report", report)
    assert order == ["p.json", "r.json", "net.slim.onnx"]


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["table", "json"])
@pytest.mark.parametrize("command", ["compress", "apply"])
def test_who_cannot_be_told_finds_nothing_changed(
    cli: Cli, small: Path, command: str, options: tuple[str, ...]
) -> None:
    """A disk that is full for stdout may be the one with the model: exit 6, and the old files."""
    plan, out = small.with_name("p.json"), small.with_name("net.slim.onnx")
    cli("compress", small, *QUICK, "--plan-out", plan, "-o", small.with_name("o.onnx"))
    out.write_bytes(b"precious")
    rest = {"compress": " ".join(QUICK), "apply": "p.json"}[command]
    with untouched(small.parent):
        line = f"snacs {command} net.onnx {rest} {' '.join(options)} --force > /dev/full"
        done = shell(line, small.parent)
    assert done.returncode == 6
    assert done.stderr.splitlines()[-1] == (
        "error: the output cannot be written (No space left on device)"
    )


def test_told_before_anything_is_written(small: Path) -> None:
    config = CompressConfig(criterion="l1", ratio=0.5)
    out = small.with_name("o.onnx")
    told: list[Compressed] = []

    def listen(done: Compressed) -> None:
        assert list(contents(small.parent)) == ["net.onnx"]
        told.append(done)

    done = compress(small, config, out=out, told=listen)
    assert told == [done]
    assert out.exists()

    def refuse(done: Compressed) -> None:
        raise ValueError("no")

    with untouched(small.parent), pytest.raises(ValueError, match="no"):
        compress(small, config, out=out, overwrite=True, told=refuse)


def test_no_output_is_an_input(cli: Cli, model: Path, data: Path) -> None:
    """By whatever name: the model, its weights, the data, the plan that is replayed."""
    samples, plan = model.with_name("d.npz"), model.with_name("p.json")
    shutil.copy(data, samples)
    os.link(samples, model.with_name("hard.npz"))
    model.with_name("soft.npz").symlink_to(samples)
    cli("compress", model, *QUICK, "--plan-out", plan, "-o", model.with_name("o.onnx"))
    names = ("net.onnx", "d.npz", "hard.npz", "soft.npz")
    with untouched(model.parent):
        for name in names:
            given = model.with_name(name)
            for option in ("-o", "--plan-out", "--report"):
                line = (*QUICK, "--data", samples, "--force", option, given)
                assert "the input itself" in cli("compress", model, *line, code=6).err
        for option in ("-o", "--report"):
            ended = cli("apply", model, plan, "--force", option, plan, code=6)
            assert "the input itself" in ended.err


def test_a_folder_of_samples_is_an_input(small: Path) -> None:
    folder = small.with_name("samples")
    folder.mkdir()
    np.savez(folder / "a.npz", x=np.ones((2, 4), np.float32))
    config = CompressConfig(DataConfig(str(folder)), criterion="l1", ratio=0.5)
    with untouched(folder), pytest.raises(FileSystemError, match="the input itself"):
        compress(small, config, out=folder / "a.npz", overwrite=True)


def test_external_weights_are_inputs(cli: Cli, small: Path) -> None:
    proto, outside = onnx.load(small), small.with_name("outside.onnx")
    weights = small.with_name("weights.bin")
    onnx.save(proto, outside, save_as_external_data=True, location=weights.name, size_threshold=0)
    plan = small.with_name("p.json")
    cli("compress", outside, *QUICK, "--plan-out", plan)
    with untouched(small.parent):
        for option in ("-o", "--plan-out", "--report"):
            line = (*QUICK, "--force", option, weights)
            assert "the input itself" in cli("compress", outside, *line, code=6).err
        cli("apply", outside, plan, "--force", "-o", weights, code=6)


def test_configurations_and_functions_are_inputs(cli: Cli, small: Path) -> None:
    config, functions = small.with_name("run.yaml"), small.with_name("mine.py")
    config.write_text("criterion: l1\nratio: 0.5\nrecover: none\n")
    functions.write_text(
        "import numpy\n"
        "def samples():\n    yield from numpy.eye(4, dtype='float32')[:, None]\n"
        "def judge(answers, labels):\n    return 1.0\n"
    )
    plan = small.with_name("p.json")
    with untouched(small.parent):
        for given in ("-o", config), ("--report", config), ("--plan-out", config):
            ended = cli("compress", small, "--config", config, "--force", *given, code=6)
            assert "the input itself" in ended.err
        for name in (("--data", f"{functions}:samples"), ("--judge", f"{functions}:judge")):
            ended = cli("compress", small, *QUICK, *name, "--force", "-o", functions, code=6)
            assert "the input itself" in ended.err
    line = ("--config", config, "-o", small.with_name("o.onnx"), "--plan-out", plan)
    cli("compress", small, *line)


def test_a_plan_by_its_path(small: Path) -> None:
    plan, out = small.with_name("p.json"), small.with_name("o.onnx")
    done = compress(small, CompressConfig(criterion="l1", ratio=0.5), out=out, plan_out=plan)
    again = apply_plan(small, plan)
    assert again.plan == done.plan
    assert again.model.SerializeToString(deterministic=True) == out.read_bytes()
    with untouched(small.parent), pytest.raises(FileSystemError, match="the input itself"):
        apply_plan(small, str(plan), out=out, report_out=plan, overwrite=True)


def test_links_to_devices_are_no_outputs(cli: Cli, small: Path) -> None:
    before = os.lstat("/dev/stdout")
    with untouched(small.parent):
        for path in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/null"):
            assert "device" in cli("compress", small, *QUICK, "--force", "-o", path, code=6).err
    assert os.path.samestat(os.lstat("/dev/stdout"), before)


def test_modes_of_outputs(cli: Cli, small: Path) -> None:
    """New ones follow the umask; one that is replaced hands its own on."""
    out = small.with_name("net.slim.onnx")
    before = os.umask(0o027)
    try:
        cli("compress", small, *QUICK)
        assert stat.S_IMODE(out.stat().st_mode) == 0o640
        out.chmod(0o600)
        cli("compress", small, *QUICK, "--force")
    finally:
        os.umask(before)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_killed_in_the_middle(cli: Cli, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed between two renames is undone by the next one, which then goes on."""
    plan, out = small.with_name("p.json"), small.with_name("net.slim.onnx")
    line = [str(a) for a in ("compress", small, *QUICK[:3], "0.25", "--plan-out", plan)]
    cli(*line)
    first = contents(small.parent)
    replace = os.replace

    def once(*arguments: Path) -> None:
        replace(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", once)
        in_child(lambda: run(["compress", str(small), *QUICK, "--plan-out", str(plan), "--force"]))
    assert plan.read_bytes() != first["p.json"]
    assert out.read_bytes() == first["net.slim.onnx"]
    cli(*line, "--force")
    assert contents(small.parent) == first
