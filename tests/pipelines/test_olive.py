"""The pass for Olive: its parameters, and a real workflow where Olive is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim_snacs import CompressConfig, DataConfig, SnacsError, compress
from onnxslim_snacs.config.memory import InMemory
from onnxslim_snacs.pipelines import olive_pass

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
WITHOUT = "Olive is not installed: pip install '.[cpu,olive]'"
needs_olive = pytest.mark.skipif(find_spec("olive") is None, reason=WITHOUT)

WORKFLOW: dict[str, Any] = {
    "input_model": {"type": "OnnxModel", "model_path": "model.onnx"},
    "systems": {
        "local": {
            "type": "LocalSystem",
            "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
        }
    },
    "passes": {"prune": {"type": "OnnxChannelPruning", "data": "calibration.npz", "macs": 0.5}},
    "host": "local",
    "target": "local",
    "output_dir": "out",
    "cache_dir": "cache",
}


def test_parameters_are_those_of_a_configuration() -> None:
    everything = dict.fromkeys((*olive_pass.BUDGETS, *olive_pass.FIELDS, *olive_pass.DATA_FIELDS))
    assert olive_pass.compress_config(everything) == CompressConfig()
    made = olive_pass.compress_config(
        {**everything, "data": "d.npz", "macs": 0.5, "latency": 0.8, "mean": [0.5], "seed": 3}
    )
    data = DataConfig("d.npz", mean=(0.5,))
    assert made == CompressConfig(data=data, target={"macs": 0.5, "latency": 0.8}, seed=3)


def test_samples_of_olive_are_taken_as_they_come() -> None:
    batches = [({"x": np.zeros((2, 4), np.float32)}, np.zeros(2, np.int64))]
    made = olive_pass.compress_config({"data": None}, batches)
    assert isinstance(made.data.path, InMemory)
    assert made.data.path.value is batches
    with pytest.raises(SnacsError, match="data and data_config exclude each other"):
        olive_pass.compress_config({"data": "d.npz"}, batches)


def test_wrong_parameters_are_named() -> None:
    with pytest.raises(SnacsError, match=r"--target macs=1\.5"):
        olive_pass.compress_config({"macs": 1.5})
    with pytest.raises(SnacsError, match=r"CompressConfig\.seed"):
        olive_pass.compress_config({"seed": "x"})


def test_the_module_has_nothing_else() -> None:
    with pytest.raises(AttributeError):
        _ = olive_pass.NoSuchPass


def olive(folder: Path, workflow: dict[str, Any]) -> None:
    """`olive run`, as from a shell."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OLIVE_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
    }

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (folder / "run.json").write_text(json.dumps(workflow))
    (folder / "package.json").write_text(run("onnxslim_snacs.pipelines.olive_pass"))
    run("olive", "run", "--config", "run.json", "--package-config", "package.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(MODELS / "digits_resnet.onnx", tmp_path / "model.onnx")
    shutil.copy(MODELS / "digits_calibration.npz", tmp_path / "calibration.npz")
    return tmp_path


@needs_olive
@pytest.mark.slow
def test_a_workflow_gives_the_bytes_that_compress_gives(folder: Path) -> None:
    olive(folder, WORKFLOW)
    config = CompressConfig(data=DataConfig(str(folder / "calibration.npz")), target={"macs": 0.5})
    compress(folder / "model.onnx", config, out=folder / "same.onnx")
    assert (folder / "out" / "model.onnx").read_bytes() == (folder / "same.onnx").read_bytes()
    assert list((folder / "cache").rglob("model.plan.json"))
    assert list((folder / "cache").rglob("model.report.json"))


@needs_olive
@pytest.mark.slow
def test_olive_searches_over_budgets(folder: Path) -> None:
    latency = {
        "name": "latency",
        "type": "latency",
        "data_config": "random",
        "sub_types": [{"name": "avg", "priority": 1}],
    }
    searched = {
        **WORKFLOW,
        "data_configs": [
            {
                "name": "random",
                "type": "DummyDataContainer",
                "load_dataset_config": {
                    "input_shapes": [[8, 1, 8, 8]],
                    "input_names": ["image"],
                    "max_samples": 2,
                },
            }
        ],
        "evaluators": {"time": {"type": "OnnxEvaluator", "metrics": [latency]}},
        "evaluator": "time",
        "search_strategy": {"execution_order": "joint", "sampler": "sequential"},
        "passes": {
            "prune": {
                **WORKFLOW["passes"]["prune"],
                "criterion": "l1",
                "multiple_of": 1,
                "macs": [0.8, 0.5],
            }
        },
    }
    olive(folder, searched)
    reports = [json.loads(p.read_text()) for p in (folder / "cache").rglob("model.report.json")]
    assert sorted(report["config"]["target"]["macs"] for report in reports) == [0.5, 0.8]
