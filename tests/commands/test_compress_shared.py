"""A run whose work is shared out: the same bytes, whatever happens to a worker."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim_snacs.activations.in_common import Common
from onnxslim_snacs.cluster import spread
from onnxslim_snacs.cluster.spread import Spread
from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.config import CompressConfig, DataConfig
from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.progress import Progress, silent
from tests.harness import model_from_text

NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,8,8] x, float[12,3,3,3] w_a, float[16,12,3,3] w_b, float[20,16,3,3] w_c,
     float[16,20,3,3] w_d, float[24,16,3,3] w_e, float[24,5] w_f) => (float[N,5] y) {
  a = Conv<pads = [1, 1, 1, 1]>(x, w_a)  ra = Relu(a)
  b = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(ra, w_b)  rb = Relu(b)
  c = Conv<pads = [1, 1, 1, 1]>(rb, w_c)  rc = Relu(c)
  d = Conv<pads = [1, 1, 1, 1]>(rc, w_d)  s = Add(d, rb)  rs = Relu(s)
  e = Conv<pads = [1, 1, 1, 1]>(rs, w_e)  re = Relu(e)
  g = GlobalAveragePool(re)  f = Flatten(g)  y = MatMul(f, w_f)
}"""
FUNCTION = """
import numpy as np

def samples():
    for sample in np.load({path!r}):
        yield sample
"""
CONFIG: dict[str, Any] = {"target": {"macs": 0.5}, "threads": 1, "provider": "cpu"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and its samples."""
    folder = tmp_path_factory.mktemp("shared")
    onnx.save(model_from_text(NET, integers=False), folder / "net.onnx")
    drawn = np.random.default_rng(0).standard_normal((300, 3, 8, 8)).astype(np.float32)
    np.save(folder / "x.npy", drawn)
    return folder


def made(
    files: Path, place: Path, cluster: str | None, progress: Progress = silent, **more: Any
) -> tuple[bytes, bytes]:
    """The bytes of the model and of the plan."""
    place.mkdir(exist_ok=True)
    config = CompressConfig(**{"data": DataConfig(str(files / "x.npy")), **CONFIG, **more})
    out, plan = place / "o.onnx", place / "o.json"
    compress(files / "net.onnx", config, out=out, plan_out=plan, cluster=cluster, progress=progress)
    return out.read_bytes(), plan.read_bytes()


@pytest.fixture(scope="module")
def alone(files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """What one process makes."""
    return made(files, tmp_path_factory.mktemp("alone"), None)


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_workers_make_the_same_bytes(
    files: Path, alone: tuple[bytes, bytes], tmp_path: Path, workers: int
) -> None:
    assert made(files, tmp_path, f"local:{workers}") == alone


def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Let stages be shared with nobody but this process, and note what is opened for how many."""
    shared: list[tuple[str, int]] = []

    @contextmanager
    def here(address: str, begin: Callable[[], Common]) -> Iterator[Spread]:
        known = pickle.loads(pickle.dumps(begin))()

        def spread(opening: Any, given: Any, tasks: Iterable[Any]) -> Iterator[Any]:
            opening, given, several = pickle.loads(pickle.dumps((opening, given, list(tasks))))
            shared.append((opening.__name__, len(several)))
            work = opening(known, given)
            return (pickle.loads(pickle.dumps(work(task))) for task in several)

        yield spread

    monkeypatch.setattr("onnxslim_snacs.commands.shared.spread_over", here)
    return shared


def test_each_long_stage_is_shared(
    files: Path, alone: tuple[bytes, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = noted(monkeypatch)
    assert made(files, tmp_path, "anywhere") == alone
    # 225 samples in runs of 32, a curve for each of four groups
    assert shared[:2] == [("open_runs", 8), ("open_judge_of_few", 4)]
    # two steps, of whose three and two allocations one is another's cut
    assert shared[2:] == [("open_comparison", 2), ("open_comparison", 2)]


def test_second_moments_alone_are_shared(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = noted(monkeypatch)
    more: dict[str, Any] = {"criterion": "l1", "tries": 0}
    assert made(files, tmp_path / "a", "anywhere", **more) == made(
        files, tmp_path / "b", None, **more
    )
    assert shared == [("open_runs", 8), ("open_judge_of_few", 4)]


def test_samples_of_a_function_are_sent(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = noted(monkeypatch)
    (tmp_path / "few.py").write_text(FUNCTION.format(path=str(files / "x.npy")))
    monkeypatch.chdir(tmp_path)
    found = [
        made(files, tmp_path / str(cluster), cluster, data=DataConfig("few:samples"), tries=0)
        for cluster in ("anywhere", None)
    ]
    assert found[0] == found[1]
    assert shared[0] == ("open_runs", 8)


def is_at_work() -> bool:
    """Whether this process has opened a stage."""
    return spread._opened.cache_info().currsize > 0


def test_a_worker_that_is_killed_changes_no_byte(
    files: Path, alone: tuple[bytes, bytes], tmp_path: Path
) -> None:
    from distributed import default_client

    killed: list[int] = []

    def kill(stage: str, done: int, total: int) -> None:
        if stage == "activations" and done and not killed:
            client = default_client()
            at_work = next(where for where, busy in client.run(is_at_work).items() if busy)
            killed.append(client.run(os.getpid, workers=[at_work])[at_work])
            os.kill(killed[0], signal.SIGKILL)

    assert made(files, tmp_path, "local:2", kill) == alone
    assert killed


@pytest.mark.slow
def test_workers_that_others_have_started_elsewhere(
    files: Path, alone: tuple[bytes, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on two machines: folders of their own to work in, and one folder with the files."""
    address = tmp_path / "address.json"
    to_scheduler = ("--scheduler-file", str(address))
    with ExitStack() as until_then:
        until_then.enter_context(started("scheduler", tmp_path, *to_scheduler, "--port", "0"))
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            line = ("worker", tmp_path / name, *to_scheduler, "--nthreads", "2")
            until_then.enter_context(started(*line))
        monkeypatch.chdir(files)
        told = json.loads(wait_for(address))["address"]
        assert made(Path(), tmp_path / "made", told) == alone


@contextmanager
def started(what: str, folder: Path, *line: str) -> Iterator[None]:
    """A process of Dask that somebody else has started."""
    command = [sys.executable, "-m", "distributed.cli.dask_" + what, "--host", "127.0.0.1", *line]
    if what == "scheduler":
        command.append("--no-dashboard")
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def wait_for(path: Path) -> str:
    """What a file holds as soon as it is there."""
    end = monotonic() + 60
    while not path.exists():
        assert monotonic() < end
        sleep(0.1)
    return path.read_text()


def test_what_lies_in_memory_alone_is_refused(files: Path) -> None:
    samples = np.load(files / "x.npy")
    with pytest.raises(UsageError, match="--cluster: workers read the samples from files"):
        compress(
            files / "net.onnx",
            CompressConfig(data=DataConfig(samples), **CONFIG),
            cluster="local:1",
        )
    config = CompressConfig(data=DataConfig(str(files / "x.npy")), **CONFIG)
    with pytest.raises(UsageError, match="--cluster: workers read the model from a file"):
        compress(onnx.load(files / "net.onnx"), config, cluster="local:1")
