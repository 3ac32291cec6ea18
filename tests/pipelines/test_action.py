"""The action and the container, as far as they can be looked at without their runners."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION: Any = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_action_is_one_that_runs_shell_steps() -> None:
    assert ACTION["runs"]["using"] == "composite"
    assert {"name", "description", "inputs", "outputs", "runs"} <= set(ACTION)
    assert all(step["shell"] == "bash" for step in STEPS)
    assert all("description" in each for each in ACTION["inputs"].values())
    told = {
        re.fullmatch(r"\$\{\{ steps\.(\w+)\.outputs\.(\w+) \}\}", each["value"])
        for each in ACTION["outputs"].values()
    }
    assert None not in told
    identities = {step.get("id") for step in STEPS}
    assert all(found is not None and found[1] in identities for found in told)


def test_no_input_is_pasted_into_a_script() -> None:
    """Whoever may name a branch or a file must not be able to write commands."""
    for step in STEPS:
        assert "${{" not in step["run"]
    used = {key for step in STEPS for key in re.findall(r"inputs\.(\w+)", str(step["env"]))}
    assert used == set(ACTION["inputs"])


@pytest.mark.parametrize("data", ["calibration.npz", ""])
def test_the_step_that_compresses_does(data: str, tmp_path: Path) -> None:
    """Its script, with the command line of this checkout at the place of the installed one."""
    tools = tmp_path / "temp" / "snacs-onnx" / "bin"
    tools.mkdir(parents=True)
    tool = tools / "snacs-onnx"
    tool.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m onnxslim_snacs "$@"\n')
    tool.chmod(0o755)
    for name, there in (
        ("digits_resnet.onnx", "model.onnx"),
        ("digits_calibration.npz", "calibration.npz"),
    ):
        (tmp_path / there).write_bytes((ROOT / "models" / name).read_bytes())
    (step,) = (step for step in STEPS if step.get("id") == "compress")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "MODEL": "model.onnx",
        "DATA": data,
        "OPTIONS": "--ratio 0.25\n--criterion l1 --recover none; touch never",
        "OUT": "",
    }
    call = ["bash", "-c", step["run"]]
    done = subprocess.run(
        call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2  # "none;" is no way to recover, and nothing else is run
    assert not (tmp_path / "never").exists()
    environment["OPTIONS"] = "--ratio 0.25\n--criterion l1 --recover none"
    subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, check=True)
    told = dict(line.split("=") for line in (tmp_path / "output").read_text().splitlines())
    assert told == {
        "model": "model.slim.onnx",
        "plan": "model.slim.plan.json",
        "report": "model.slim.report.json",
    }
    assert all((tmp_path / name).exists() for name in told.values())


def test_the_container_is_small_and_without_rights() -> None:
    lines = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert all(re.fullmatch(r"python:3\.\d+-slim", image) for image in images)
    assert "USER 10001" in lines
    assert lines.index("USER 10001") < next(
        k for k, line in enumerate(lines) if line.startswith("ENTRYPOINT")
    )
    assert not re.search(r"^(ADD|MAINTAINER)|apt-get|sudo|curl|:latest", DOCKERFILE, re.MULTILINE)
    assert "--no-cache-dir" in DOCKERFILE
    (entry,) = (line for line in lines if line.startswith("ENTRYPOINT"))
    assert entry == 'ENTRYPOINT ["/opt/snacs/bin/snacs-onnx"]'


def test_what_the_container_is_built_from_is_sent_to_it() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    needed = {
        "onnxslim_snacs",
        "passes",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "constraints.txt",
    }
    assert not needed & set(ignored)
    assert {".git", ".venv", "tests"} <= set(ignored)
