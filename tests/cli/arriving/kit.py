"""The models and data of the cases, and the command line to run them with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.judge.stopwatch import Latency, LatencyWatch
from onnxslim_snacs.plan.written import load_plan
from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreResult
from tests.cli.conftest import Cli
from tests.harness import model_from_text
from tests.runtime import Opened, Runtime, stand_in

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
#: Two groups of eight units, three classes.
NET = (
    HEAD
    + """net (float[N,4] x, float[4,8] w_a, float[8,8] w_b, float[8,3] w_c) => (float[N,3] y) {
  a = MatMul(x, w_a)  r = Relu(a)  b = MatMul(r, w_b)  s = Relu(b)  y = MatMul(s, w_c)
}"""
)
RESIDUAL = (
    HEAD
    + """net (float[N,4] x, float[4,8] w_0, float[8,8] w_1, float[8,8] w_2, float[8,8] w_3,
     float[8,8] w_4, float[8,8] w_5, float[8,8] w_6, float[8,3] w_7) => (float[N,3] y) {
  t = MatMul(x, w_0)
  a = MatMul(t, w_1)  b = Relu(a)  c = MatMul(b, w_2)  d = Add(t, c)
  e = MatMul(d, w_3)  f = Relu(e)  g = MatMul(f, w_4)  h = Add(d, g)
  i = MatMul(h, w_5)  j = Relu(i)  k = MatMul(j, w_6)  l = Add(h, k)
  y = MatMul(l, w_7)
}"""
)
STEPS = (
    HEAD
    + """net (float[N,T,4] x, float[4,8] w_a, float[8,3] w_b) => (float[N,T,3] y) {
  a = MatMul(x, w_a)  r = Relu(a)  y = MatMul(r, w_b)
}"""
)
NORM = (
    HEAD
    + """net (float[N,4] x, float[4,8] w_a, float[8] w_s, float[8,3] w_b) => (float[N,3] y) {
  a = MatMul(x, w_a)  n = LayerNormalization(a, w_s)  y = MatMul(n, w_b)
}"""
)
IMAGE = (
    HEAD
    + """net (float[N,3,6,6] x, float[8,3,1,1] w_a, float[8,3] w_b) => (float[N,3] y) {
  a = Conv(x, w_a)  r = Relu(a)  p = GlobalAveragePool(r)  f = Flatten(p)  y = MatMul(f, w_b)
}"""
)
ANY_SIZE = IMAGE.replace("6,6", "H,W")
CHANNELS_LAST = (
    HEAD
    + """net (float[N,6,6,3] x, float[3,8] w_a, float[8,2] w_b) => (float[N,6,6,2] y) {
  a = MatMul(x, w_a)  r = Relu(a)  y = MatMul(r, w_b)
}"""
)
QUICK = ("--criterion", "l1", "--ratio", "0.25", "--recover", "none")
#: A picture of one colour, and what is left of it with one mean and spread.
COLOUR = (51, 102, 255)


@dataclass
class Kit:
    """A folder with models and data, and the command line."""

    cli: Cli
    folder: Path
    patch: pytest.MonkeyPatch

    def model(self, text: str = NET) -> Path:
        path = self.folder / "net.onnx"
        onnx.save(model_from_text(text, integers=False), path)
        return path

    def data(self, rows: int = 80, value: float | None = None) -> Path:
        path = self.folder / "x.npz"
        drawn = np.random.default_rng(0).standard_normal((rows, 4)).astype(np.float32)
        if value is not None:
            drawn[:, 0] = value
        np.savez(path, x=drawn)
        return path

    def steps(self) -> Path:
        """Forty samples of five steps."""
        path = self.folder / "x.npz"
        drawn = np.random.default_rng(0).standard_normal((40, 5, 4)).astype(np.float32)
        np.savez(path, x=drawn)
        return path

    def images(self, width: int = 6, classes: tuple[str, ...] = ("",)) -> Path:
        from PIL import Image

        folder = self.folder / f"images{width}{''.join(classes)}"
        for number in range(16):
            image = Image.new("RGB", (width, 6), COLOUR)
            image.putpixel((width // 2 + 1, 4), (16 * number, 0, 0))
            place = folder / classes[number % len(classes)]
            place.mkdir(exist_ok=True, parents=True)
            image.save(place / f"{number}.png")
        return folder

    def run(self, command: str, *line: object, code: int = 0, **options: Any) -> Any:
        """The report; None if the run ended with another code than 0."""
        text = options.get("text", NET)
        model = self.model(text)
        ended = self.cli(command, model, *line, "--force", "--json", code=code)
        return ended.json() if code == 0 else None

    def compress(self, *line: object, **options: Any) -> Any:
        return self.run("compress", *line, **options)

    def released(self, *line: object, **options: Any) -> Any:
        return self.run("released", "--data", self.data(), *line, **options)

    def cut(self) -> tuple[Path, Path, Path]:
        """A model, its cut, and the plan."""
        out, plan = self.folder / "net.slim.onnx", self.folder / "p.json"
        self.compress(*QUICK, "--plan-out", plan)
        return self.folder / "net.onnx", out, plan

    def plan(self, *line: object) -> list[list[int]]:
        """The units that are kept."""
        path = self.folder / "p.json"
        self.compress(*line, "--plan-out", path)
        return [np.flatnonzero(stays).tolist() for stays in load_plan(path).kept().values()]

    def runtime(self, *, cuda: bool = False) -> Runtime:
        return stand_in(self.patch, cuda=cuda)

    def criterion(self, score: Callable[..., ScoreResult], *options: Option) -> None:
        made = Criterion("mine", "", score, needs_data=False, options=options)
        self.patch.setitem(CRITERIA, "mine", made)

    def clock(self, short: float, long: float) -> None:
        """Every cut model takes this share of the original's time, by short and long looks."""

        def measure(watch: LatencyWatch, model: onnx.ModelProto, seconds: float) -> Latency:
            share = short if seconds < 1 else long
            return Latency(1.0, share, share, 1)

        self.patch.setattr(LatencyWatch, "measure", measure)

    def drop_by_size(self) -> None:
        """What is lost is the share of the bytes that goes."""
        whole = self.model().stat().st_size

        def drift(judge: Judge, cut: onnx.ModelProto) -> Drift:
            return Drift(10_000, 1.0 - cut.ByteSize() / whole)

        self.patch.setattr(Judge, "drift", drift)
        self.patch.setattr(Judge, "with_blend", lambda judge, cut, moved: moved)


def kept(report: Any) -> list[int]:
    return [group["kept"] for group in report["groups"]]


def left(report: Any, key: str = "params") -> float:
    return float(report["after"][key] / report["before"][key])


def fed(runtime: Runtime) -> list[np.ndarray]:
    return [feeds["x"] for opened in runtime.opened for feeds in opened.feeds if "x" in feeds]


def answering(runtime: Runtime) -> list[Opened]:
    """Sessions that are asked for values; one asks for nothing but shapes, as fast as it can."""
    return [
        opened
        for opened in runtime.opened
        if not any(output.name.endswith("\0shape") for output in opened.get_outputs())
    ]


def threads_arrive(kit: Kit, command: str, *line: object) -> None:
    """Every session has them, in every stage."""
    found = {}
    for number in (1, 3):
        runtime = kit.runtime()
        kit.cli(command, *line, "--threads", number)
        found[number] = [(opened.threads, opened.level) for opened in answering(runtime)]
        assert {threads for threads, _ in found[number]} == {number}
    assert [level for _, level in found[1]] == [level for _, level in found[3]]


def provider_arrives(kit: Kit, run: Callable[..., Any], reported: Callable[[Any], str]) -> None:
    for wanted, cuda, expected in (
        ((), True, "cuda"),
        (("--provider", "auto"), False, "cpu"),
        (("--provider", "cpu"), True, "cpu"),
        (("--provider", "cuda"), True, "cuda"),
    ):
        runtime = kit.runtime(cuda=cuda)
        assert reported(run(*wanted)) == expected
        assert bool(runtime.on_samples) == (expected == "cuda")
    kit.runtime()
    run("--provider", "cuda", code=2)
