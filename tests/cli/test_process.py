"""The command as a process of its own: streams, signals, and the same bytes wherever it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import contents, untouched

COMMAND = [sys.executable, "-c", "from onnxslim_snacs.cli import main; main()"]
QUICK = ("--criterion", "l1", "--ratio", "0.5")
SCORED = ("--criterion", "snacs", "--target", "macs=0.6")


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line in bash; `snacs` stands for the command."""
    quoted = " ".join(f"'{part}'" for part in COMMAND)
    return subprocess.run(
        ["bash", "-c", f'snacs() {{ {quoted} "$@"; }}; {line}'],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_json_alone_goes_to_stdout(model: Path, data: Path) -> None:
    done = shell(f"snacs compress net.onnx --data {data} {' '.join(QUICK)} --json -q", model.parent)
    assert done.returncode == 0
    assert json.loads(done.stdout)["proof"]["passed"]
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["inspect net.onnx", "inspect net.onnx --json", "criteria"])
def test_a_reader_who_leaves(model: Path, command: str) -> None:
    done = shell(f"set -o pipefail; snacs {command} | true", model.parent)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_closed_streams(model: Path) -> None:
    line = f"snacs compress net.onnx {' '.join(QUICK)} --force"
    whole = shell(line, model.parent)
    assert whole.returncode == 0
    kept = contents(model.parent)
    for closed in (">&- 2>&- <&-", "2>&1 | head -n 1", "--json | head -c 1"):
        done = shell(f"set -o pipefail; {line} {closed}", model.parent)
        assert done.returncode == 0, closed + done.stderr
        assert "Traceback" not in done.stderr
        assert contents(model.parent) == kept
    assert shell("snacs criteria > /dev/full", model.parent).returncode == 6
    assert shell("snacs criteria --json > /dev/full", model.parent).returncode == 6
    assert shell("snacs inspect no.onnx 2> /dev/full", model.parent).returncode == 6


def test_plain_terminals(model: Path) -> None:
    line = f"snacs compress net.onnx {' '.join(QUICK)} --force"
    for environment in ({"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}):
        done = shell(line, model.parent, **environment)
        assert done.returncode == 0, done.stderr
        assert "passed" in done.stdout


#: Yields the samples, but says first that the run is under way.
SOURCE = """
import os, pathlib, numpy
def samples():
    pathlib.Path(os.environ["MARK"]).touch()
    stored = numpy.load(os.environ["SAMPLES"])
    yield {"image": stored["image"]}
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals(
    model: Path, data: Path, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whenever it comes, the old output stays and nothing is left behind."""
    number = getattr(signal, name)
    aside = tmp_path_factory.mktemp("aside")
    (aside / "marked_samples.py").write_text(SOURCE)
    mark = aside / "begun"
    environment = {"PYTHONPATH": str(aside), "MARK": str(mark), "SAMPLES": str(data)}
    out = model.with_name("net.slim.onnx")
    out.write_bytes(b"precious")
    line = [
        *COMMAND,
        "compress",
        str(model),
        "--data",
        "marked_samples:samples",
        *SCORED,
        "--force",
    ]
    codes = []
    with untouched(model.parent):
        for seconds in (0.0, 0.3, 0.6, 0.9, 1.2):
            mark.unlink(missing_ok=True)
            process = subprocess.Popen(
                line, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
            )
            waiting = time.monotonic()
            while not mark.exists() and time.monotonic() - waiting < 60:
                time.sleep(0.005)
            time.sleep(seconds)
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
            assert "Traceback" not in said
            codes.append(process.returncode)
            if process.returncode == 0:  # too late: it was being written
                assert out.read_bytes() != b"precious"
                out.write_bytes(b"precious")
    assert codes[0] == 128 + number
    assert set(codes) <= {0, 128 + number}


def test_same_command_same_bytes(model: Path, data: Path, tmp_path: Path) -> None:
    """Not the hash seed, nor the folder, nor the locale, nor the threads of libraries show."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    runs = [
        (model.parent, {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}),
        (other, {"PYTHONHASHSEED": "4", "OMP_NUM_THREADS": "2", "LC_ALL": "C", "TZ": "Asia/Tokyo"}),
    ]
    found = []
    for folder, environment in runs:
        line = (
            f"snacs compress {model} --data {data} {' '.join(SCORED)} -o o.onnx --plan-out p.json "
            "--report r.json --force"
        )
        done = shell(line, folder, **environment)
        assert done.returncode == 0, done.stderr
        report = json.loads((folder / "r.json").read_text())
        for layer in report["recovery"]["layers"]:
            del layer["seconds"]
        found.append(
            [
                (folder / "o.onnx").read_bytes(),
                (folder / "p.json").read_bytes(),
                {**report, "timings": 0},
            ]
        )
    assert found[0] == found[1]


@pytest.mark.parametrize("slow", [0.0, 0.05])
def test_a_signal_during_a_finaliser_is_not_lost(slow: float) -> None:
    """Python ignores what is raised there; the run has to end all the same, without a traceback.

    On a busy machine starting a thread takes longer than it is to wait.
    """
    code = (
        f"slow = {slow}"
        + """
import signal, sys, time
from onnxslim_snacs.cli import app, signals

class Timer(signals.Timer):
    def start(self):
        super().start()
        time.sleep(slow)

signals.Timer = Timer

class Dying:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0)

def run(arguments):
    Dying()
    time.sleep(5)
    return 0

app.run = run
app.main()
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 143
    assert done.stderr == ""
