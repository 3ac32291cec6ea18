"""The command on every file of `field/hostile`: code, a word of the message, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import MODELS, Cli, Ended, contents

pytestmark = pytest.mark.shared

CUT = ("--criterion", "l1", "--ratio", "0.5", "--recover", "none")
#: Models: `inspect` and `compress` end with the code and say the word.  0 and 4: the file is taken,
#: and the channels that the odd operator touches are kept.
MODEL_ENDS: dict[str, tuple[int, int, str]] = {
    "ansi_operator_name": (0, 4, r"\x1b]0;pwn\x07"),
    "cos_2^31": (7, 7, "more than 2,147,483,647 elements"),
    "dec_gather": (0, 4, "picked by indices that are computed"),
    "evil": (0, 0, ""),
    "fuzz_f1_100112_mnist_cntk_winml.onn": (0, 3, "be run"),
    "fuzz_f1_102855_tract_qlstm": (3, 3, "Invalid tensor data type 99"),
    "fuzz_f2_200048_rl_mlagents_hallway.": (3, 3, "cannot run this model"),
    "fuzz_f2_200081_mnist_cntk_winml.onn": (3, 3, "do not fit each other"),
    "fuzz_f2_200715_audio_gtcrn_stream.o": (3, 3, "expected a list of numbers"),
    "hand_cos_2d_shape": (3, 3, "expected a list of numbers"),
    "hand_noran_Gather_243": (3, 3, "is asked for entry 99, but has 8"),
    "loop_1e9": (7, 7, "turns 1,000,000,000 times"),
    "noran_check_shapes_index": (3, 3, "has input size 0"),
    "noran_extent_of_index": (3, 3, "do not fit each other"),
    "noran_same_length": (3, 3, "do not fit each other"),
    "noran_slots_8TiB": (7, 7, "1,099,511,627,776"),
    "noran_slots_too_big": (7, 7, "4,611,686,018,427,387,904"),
    "plan_model": (0, 0, ""),
    "refeval_cos_bomb": (7, 7, "out of memory"),
    "regex_redos": (0, 4, "sliced on unknown axes"),
    "tile_run_1e12": (7, 7, "more than 2,147,483,647 elements"),
}
#: Data for the bundled model, all refused; by what they say.
DATA: dict[str, str] = {
    "constant_data.npz": "expected the model's inputs image",
    "digits_200_copies.npz": "all of 200 samples are the same",
    "eps_folder": "are no images",
    "npy_descr_emptytuple.npy": "not a numpy array",
    "npy_hexshape_huge.npy": "no memory can hold",
    "npy_keys_mixed.npy": "not a numpy array",
    "npy_token_error.npy": "not a numpy array",
    "z_corrupt_lzma_0.npz": "not a numpy array",
    "z_eocd.npz": "cannot be unpacked",
}
PLANS = ("fmt_ansi.json", "evilplan.json")

#: It is a limit on memory that ends this one, which is kept in a process of its own alone.
ALONE = "refeval_cos_bomb"


@pytest.fixture
def hostile(shared: Path) -> Path:
    return shared / "field" / "hostile"


@pytest.fixture
def command(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run it in a folder in which nothing may be left unless the code is 0, and start nothing."""
    place, stubs, started = (tmp_path / name for name in ("place", "bin", "started"))
    for folder in (place, stubs):
        folder.mkdir()
    for name in ("gs", "gswin32c", "gswin64c", "sh"):
        (stubs / name).write_text(f"#!/bin/sh\n: > '{started}'\n")
        (stubs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{stubs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(place)

    def call(*arguments: object, code: int = 0) -> Ended:
        done = alone(*arguments) if ALONE in str(arguments) else cli(*arguments, code=code)
        assert done.code == code, done.err
        assert "Traceback" not in done.err
        assert not set(done.out + done.err) & set(map(chr, (*range(9), 27, 0x9B, 0x202E)))
        assert not started.exists()
        assert code == 0 or not contents(place)
        return done

    return call


def alone(*arguments: object) -> Ended:
    line = [sys.executable, "-c", "from onnxslim_snacs.cli import main; main()"]
    done = subprocess.run(
        [*line, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_every_file_is_looked_at(hostile: Path) -> None:
    models = {f"{name}.onnx" for name in MODEL_ENDS}
    assert {p.name for p in hostile.iterdir()} == models | set(DATA) | set(PLANS)


@pytest.mark.parametrize("name", MODEL_ENDS)
def test_models(command: Cli, hostile: Path, name: str) -> None:
    path = hostile / f"{name}.onnx"
    looked, cut, word = MODEL_ENDS[name]
    for code, line in ((looked, ("inspect", path)), (cut, ("compress", path, "-o", "o", *CUT))):
        done = command(*line, code=code)
        assert word in done.out + done.err
        if code:
            assert done.err.strip().splitlines()[-1].startswith(f"error: {path}: ")


@pytest.mark.parametrize("name", DATA)
def test_data(command: Cli, hostile: Path, name: str) -> None:
    line = ("compress", MODELS / "digits_resnet.onnx", "--data", hostile / name)
    for options in (CUT, ("--target", "macs=0.5")):
        said = command(*line, "-o", "o.onnx", *options, code=3).err
        assert f"error: {hostile / name}" in said
        assert DATA[name] in said


def test_data_that_say_nothing(command: Cli, hostile: Path, tmp_path: Path) -> None:
    """The same arrays under the name of the model's input."""
    path = tmp_path / "constant.npz"
    zeros = np.load(hostile / "constant_data.npz")["x"]
    np.savez(path, image=np.resize(zeros, (len(zeros), 1, 8, 8)))
    line = ("compress", MODELS / "digits_resnet.onnx", "--data", path, "--target", "macs=0.5")
    assert "all of 64 samples are the same" in command(*line, "-o", "o.onnx", code=3).err


def test_plans(command: Cli, hostile: Path) -> None:
    model = MODELS / "digits_resnet.onnx"
    said = command("apply", model, hostile / "fmt_ansi.json", "-o", "o.onnx", code=3).err
    assert r"plan format \x1b[31mEVIL\x1b[0m" in said
    said = command(
        *("verify", hostile / "plan_model.onnx", hostile / "evil.onnx"),
        *("--plan", hostile / "evilplan.json"),
        code=5,
    ).err
    assert "weight w1 is float32 (8, 3, 3, 3), expected float32 (4, 3, 3, 3)" in said
    assert "proved" not in said
