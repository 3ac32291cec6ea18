"""Training on the bundled model: it comes nearer, it never gives back a worse one, it goes on."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxslim_snacs import CompressConfig, DataConfig, compress
from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.cli import app
from onnxslim_snacs.commands.finetune import finetune
from onnxslim_snacs.config import FinetuneConfig
from onnxslim_snacs.errors import InputRefused, UsageError
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.training.distil import batch_at
from onnxslim_snacs.training.pace import rate_at
from onnxslim_snacs.training.teacher import Standing

MODELS = Path(__file__).resolve().parents[2] / "models"
TEACHER, DATA = MODELS / "digits_resnet.onnx", MODELS / "digits_calibration.npz"
CONFIG = FinetuneConfig(
    data=DataConfig(str(DATA)), steps=60, augment=("shift", "mix"), rate=1e-3, batch=40
)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model, cut to a third of its work and re-fitted."""
    path = tmp_path_factory.mktemp("student") / "cut.onnx"
    config = CompressConfig(
        data=DataConfig(str(DATA), samples=128),
        target={"macs": 0.35},
        criterion="l1",
        tries=0,
    )
    compress(TEACHER, config, out=path)
    return path


def weights(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def test_it_comes_nearer_to_the_teacher_under_the_same_names(student: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "out.onnx", tmp_path / "report.json"
    _, report = finetune(student, TEACHER, CONFIG, out=out, report_out=told)
    assert report.improved
    assert report.samples == (300, 100)
    assert report.logit_error[1] < 0.95 * report.logit_error[0]
    assert report.after.rel_error < report.before.rel_error
    assert (report.after.top1_agreement or 0) >= (report.before.top1_agreement or 0)
    before, after = weights(student), weights(out)
    assert list(before) == list(after)
    assert all(before[name].shape == after[name].shape for name in before)
    assert sum((before[n] != after[n]).any() for n in before) > 10
    assert json.loads(told.read_text())["steps"] == 60
    assert not list(tmp_path.glob("*.checkpoint"))
    onnx.checker.check_model(onnx.load(out), full_check=True)


@pytest.mark.parametrize("rate", [1e-2, 3.0])  # the second one ends in numbers that are none
def test_weights_that_only_get_worse_are_not_given_back(
    rate: float, student: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.onnx"
    config = replace(CONFIG, steps=10, rate=rate, warmup=0.0, average=0.0)
    _, report = finetune(student, TEACHER, config, out=out)
    assert all(error > report.logit_error[0] for _, error, _ in report.curve)
    assert not report.improved
    assert "no weights did better" in report.why
    assert report.logit_error[0] == report.logit_error[1]
    assert onnx.load(out).SerializeToString() == onnx.load(student).SerializeToString()


def test_the_teacher_itself_cannot_be_improved(tmp_path: Path) -> None:
    _, report = finetune(TEACHER, TEACHER, replace(CONFIG, steps=10))
    assert report.logit_error[0] == pytest.approx(0.0, abs=1e-5)
    assert report.after.rel_error <= report.before.rel_error


def test_stopped_and_resumed_ends_as_one_that_was_not(student: Path, tmp_path: Path) -> None:
    whole, parts, note = tmp_path / "whole.onnx", tmp_path / "parts.onnx", tmp_path / "note"
    config = replace(CONFIG, steps=24, rate=5e-4)
    _, undisturbed = finetune(student, TEACHER, config, out=whole)
    assert undisturbed.improved
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 13  # between two examinations

    _, first = finetune(student, TEACHER, config, out=parts, checkpoint=note, stop=stop)
    assert (first.steps, first.stopped) == (13, "stopped by the user")
    assert first.logit_error[1] <= first.logit_error[0]
    assert note.exists()
    _, second = finetune(
        student, TEACHER, config, out=parts, checkpoint=note, resume=True, overwrite=True
    )
    assert (second.steps, second.stopped) == (24, "")
    assert second.curve == undisturbed.curve
    assert parts.read_bytes() == whole.read_bytes()
    assert not note.exists()


def test_a_checkpoint_of_another_training_is_refused(student: Path, tmp_path: Path) -> None:
    note = tmp_path / "note"
    finetune(student, TEACHER, replace(CONFIG, steps=24), checkpoint=note, stop=lambda: True)
    with pytest.raises(InputRefused, match="belongs to a training with other"):
        finetune(student, TEACHER, CONFIG, checkpoint=note, resume=True)
    note.write_bytes(b"no such thing")
    with pytest.raises(InputRefused, match="is no checkpoint"):
        finetune(student, TEACHER, CONFIG, checkpoint=note, resume=True)


@pytest.mark.parametrize("loss", ["labels", "both"])
def test_labels_may_teach(student: Path, loss: str) -> None:
    _, report = finetune(student, TEACHER, replace(CONFIG, steps=20, loss=loss))
    assert (report.after.accuracy_after or 0) >= (report.before.accuracy_after or 0)


def test_labels_have_to_be_there(student: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.npz"
    np.savez(bare, image=np.load(DATA)["image"])
    config = replace(CONFIG, data=DataConfig(str(bare)), loss="labels")
    with pytest.raises(UsageError, match="holds no labels"):
        finetune(student, TEACHER, config)


def test_a_teacher_with_other_outputs_is_refused(student: Path, tmp_path: Path) -> None:
    model = onnx.load(TEACHER)
    model.graph.output[0].name = "another"
    model.graph.node[-1].output[0] = "another"
    other = tmp_path / "other.onnx"
    onnx.save(model, other)
    with pytest.raises(InputRefused, match="cannot teach this model"):
        finetune(student, other, CONFIG)


def test_the_rate_rises_in_a_line_and_falls_by_a_cosine() -> None:
    assert rate_at(0.0, 0.1) == pytest.approx(0.001 / 0.101)
    assert rate_at(0.1, 0.1) == 1.0
    assert rate_at(0.55, 0.1) == pytest.approx(0.5)
    assert rate_at(1.0, 0.1) == pytest.approx(0.0)
    assert rate_at(0.325, 0.1) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


def test_an_epoch_shows_every_sample_once() -> None:
    source = open_source(CONFIG.data, ModelGraph(onnx.load(TEACHER)))
    epochs = [
        [batch_at(source, step, 50, seed=0).index for step in range(8 * k, 8 * k + 8)]
        for k in (0, 1)
    ]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == list(range(400))
    assert (epochs[0][0] != epochs[1][0]).any()


def test_nothing_may_get_worse() -> None:
    start = Standing(0.3, 0.95, 0.2)
    assert Standing(0.2, 0.95, 0.3).may_replace(start, "distil")
    assert not Standing(0.2, 0.94, 0.1).may_replace(start, "distil")
    assert not Standing(0.3, 0.99, 0.1).may_replace(start, "distil")
    assert Standing(0.4, 0.90, 0.1).may_replace(start, "labels")
    assert not Standing(0.2, 0.90, 0.1).may_replace(start, "both")


def test_ctrl_c_ends_with_the_best_so_far_and_resume_goes_on(student: Path, tmp_path: Path) -> None:
    """The command line in a process of its own; the second run ends by itself."""
    out = tmp_path / "out.onnx"
    line = [
        sys.executable, "-m", "onnxslim_snacs", "finetune", str(student), "--teacher",
        str(TEACHER), "--data", str(DATA), "--steps", "40", "--augment", "mix", "-o", str(out),
        "--json",
    ]  # fmt: skip
    started = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    note = out.with_name("out.onnx.checkpoint")
    patience = time.monotonic() + 120
    while not note.exists() and time.monotonic() < patience:
        time.sleep(0.02)
    os.kill(started.pid, signal.SIGINT)
    stdout, stderr = started.communicate(timeout=120)
    assert started.returncode == 0, stderr
    report = json.loads(stdout)
    assert report["stopped"] == "stopped by the user"
    assert 10 <= report["steps"] < 40
    assert out.exists()
    assert app.run([*line[3:], "--resume", "--force"]) == 0
    assert not note.exists()


def test_a_model_that_reads_pixels_of_0_to_255_is_trained_as_the_same_one_in_0_to_1(
    student: Path, tmp_path: Path
) -> None:
    """Only the unit of the first filters differs: the rate goes by their size.

    With one rate for all tensors the first steps would destroy them.
    """
    data = {key: value for key, value in np.load(DATA).items()}
    np.savez(tmp_path / "bytes.npz", image=data["image"] * 255, labels=data["labels"])
    paths = [tmp_path / "student.onnx", tmp_path / "teacher.onnx"]
    for before, after in zip((student, TEACHER), paths, strict=True):
        model = onnx.load(before)
        first = next(n for n in model.graph.node if n.op_type == "Conv").input[1]
        for tensor in model.graph.initializer:
            if tensor.name == first:
                value = numpy_helper.to_array(tensor) / np.float32(255)
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        onnx.save(model, after)
    config = replace(CONFIG, steps=30, decay=0.0)
    _, plain = finetune(student, TEACHER, config)
    config = replace(config, data=DataConfig(str(tmp_path / "bytes.npz")))
    _, scaled = finetune(paths[0], paths[1], config)
    assert plain.logit_error[1] < plain.logit_error[0]
    assert scaled.logit_error[1] == pytest.approx(plain.logit_error[1], rel=0.03)
