"""The process that watches: signals, limits and ends that nobody has asked for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.cli.conftest import untouched

COMMAND = [sys.executable, "-c", "from onnxslim_snacs.cli import main; main()"]
#: Without the files that installed packages have in `site-packages`.
IN_THE_TREE = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
QUICK = ("--criterion", "l1", "--ratio", "0.5")

#: Ends only where somebody ends it: the condition of the loop is always true.
ENDLESS = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,3,8,8] x, float[2,3,3,3] w) => (float[1,2,6,6] y)
  <bool go = {1}, float[1] zero = {0}> {
  turned = Loop("", go, zero) <body = turn (int64 i, bool c, float[1] s) => (bool d, float[1] t) {
    d = And(c, c)
    t = Identity(s)
  }>
  h = Conv(x, w)
  y = Add(h, turned)
}
"""


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model(ENDLESS)
    weight = numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), "w")
    model.graph.initializer.append(weight)
    path = tmp_path / "endless.onnx"
    onnx.save(model, path)
    return path


def command(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the worker is found, or ended, by Linux's means"
)


def worker(process: subprocess.Popen[str]) -> str:
    """The process that works, once it is there."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 30
    while not (found := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(found) == 1
    return found[0]


def farewell(name: str) -> str:
    """What is said of a run that a signal has ended."""
    return f"ended by {'Ctrl-C' if name == 'SIGINT' else name}; nothing was written\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_run_that_sees_none(endless: Path, name: str) -> None:
    with untouched(endless.parent):
        process = command("inspect", endless)
        time.sleep(2.0)
        process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=10)
    assert process.returncode == 128 + getattr(signal, name)
    assert said == farewell(name)


@LINUX
def test_signals_while_the_libraries_are_imported(model: Path) -> None:
    """From the moment in which the two processes are there; before it, Python itself begins."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        for seconds in (0.0, 0.1, 0.3):
            process = command("inspect", model)
            worker(process)
            time.sleep(seconds)
            process.send_signal(getattr(signal, name))
            _, said = process.communicate(timeout=10)
            assert process.returncode in (128 + getattr(signal, name), 0), said
            assert said == (farewell(name) if process.returncode else "")


def test_next_to_nothing_is_imported_before_signals_are_heeded() -> None:
    """Until then Python's own Ctrl-C would print a traceback."""
    program = """
import sys
before = set(sys.modules)
from onnxslim_snacs.cli import main
print(*sorted(set(sys.modules) - before))
import _signal
assert _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
sys.modules["onnxslim_snacs.cli.guard"] = type(sys)("guard")  # where the work would begin
sys.modules["onnxslim_snacs.cli.guard"].main = lambda: print(
    *sorted(set(sys.modules) & {"signal", "enum"}), _signal.getsignal(_signal.SIGINT) == 0
)
main()
"""
    line = [sys.executable, "-S", "-c", program]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=IN_THE_TREE)
    imported, heeded = done.stdout.splitlines()
    assert heeded == "True"
    assert set(imported.split()) <= {
        *("onnxslim_snacs", "onnxslim_snacs.cli", "__future__", "warnings"),
        *("importlib", "importlib._bootstrap", "importlib._bootstrap_external"),
    }


def test_time_is_limited(endless: Path) -> None:
    with untouched(endless.parent):
        process = command("inspect", endless, "--max-time", 2)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 7
    assert said == "error: --max-time is over; nothing was written\n"


#: Where nothing runs, so that all is left to onnx: a list of 1.6e9 numbers is read as a shape.
LISTED = """
<ir_version: 8, opset_import: ["" : 17, "zz" : 1]>
net (float[1,3,8,8] x) => (float[a,b,c,d] y) <int64[1] k = {40000}> {
  k2 = Mul(k, k)
  z = ConstantOfShape<value = int64[1] {0}>(k2)
  u = Slice(x, z, z, z)
  y = zz.Frob(u)
}
"""


@LINUX
def test_a_shape_that_is_a_list_of_a_billion_numbers(tmp_path: Path) -> None:
    path = tmp_path / "listed.onnx"
    onnx.save(onnx.parser.parse_model(LISTED), path)
    process = command("inspect", path)
    child = worker(process)
    peak = 0
    while process.poll() is None:
        with suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child}/status").read_text())
            peak = max(peak, int(found[1]) if found else 0)
        time.sleep(0.005)
    _, said = process.communicate()
    assert process.returncode == 7, said
    assert "shape inference runs out of memory" in said
    assert 1024 * peak < 1 << 30


#: A function of the user's, and what comes of what it does.
FUNCTION = """
import os, signal, sys
import numpy
def samples():
    {}
    yield {{"image": numpy.zeros((8, 1, 8, 8), dtype=numpy.float32)}}
"""


@pytest.mark.parametrize(
    ("does", "code", "says"),
    [
        ("numpy.ones(1 << 32)", 7, "not enough memory"),
        ("sys.exit(0)", 3, "sys.exit"),
        ("os._exit(0)", 3, "ended from inside"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 3, "SIGSEGV"),
        ("os.abort()", 7, "memory"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 7, "memory"),
        ("raise KeyError('x')", 3, "KeyError"),
    ],
)
def test_ends_from_inside(model: Path, tmp_path: Path, does: str, code: int, says: str) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own_samples.py").write_text(FUNCTION.format(does))
    with untouched(model.parent):
        process = command(
            *("compress", model, "--data", "own_samples:samples", *QUICK, "--max-memory", "4G"),
            PYTHONPATH=f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            PYTHONDONTWRITEBYTECODE="1",
        )
        _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert says in said
    assert "Traceback" not in said


#: Work that says that it writes, and then takes a while.
WRITER = """
import os, sys, time
from onnxslim_snacs.cli import guard

def work(wire):
    os.write(wire, guard.{} + b"\\n")
    print("begun", flush=True)
    time.sleep(1.0)
    print("whole", flush=True)
    os.write(wire, guard.DONE + b"\\n")
    sys.exit(0)

guard._work = work
guard.main()
"""


@pytest.mark.parametrize(
    ("stage", "code", "shown"), [("WRITING", 0, "whole\n"), ("SECONDS + b' 60'", 143, "")]
)
def test_writing_is_never_cut_off(stage: str, code: int, shown: str) -> None:
    line = [sys.executable, "-c", WRITER.format(stage)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (code, shown)


@LINUX
def test_the_work_ends_with_the_process_that_watches(endless: Path) -> None:
    process = command("inspect", endless)
    child = worker(process)
    time.sleep(1.5)
    process.kill()
    process.wait()
    stat = Path(f"/proc/{child}/stat")
    deadline = time.monotonic() + 5
    while stat.exists() and stat.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not stat.exists() or stat.read_text().split()[2] == "Z"
