"""Every option arrives where it acts: seen in what is run, decided and written, not in a config.

Which options there are is asked of the command line itself, so that a new one needs a case here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import typer

from onnxslim_snacs.cli.app import app
from onnxslim_snacs.config import CompressConfig, DataConfig, Drop, Ratio, ReleasedConfig
from onnxslim_snacs.config.fields import in_files
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.judge.stopwatch import Latency, LatencyWatch
from onnxslim_snacs.plan.written import load_plan
from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from tests.cli.conftest import Cli
from tests.harness import model_from_text
from tests.passes.test_rotate import LAYER_NORM, transformer
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


# where the data come from


def data(kit: Kit, run: Callable[..., Any]) -> None:
    runtime = kit.runtime()
    run("--data", kit.data(value=7.5))
    assert any((values[:, 0] == 7.5).all() for values in fed(runtime))
    runtime = kit.runtime()
    run()
    assert not any((values[:, 0] == 7.5).all() for values in fed(runtime))


def samples(kit: Kit) -> None:
    """A quarter is held out."""
    line = (*QUICK, "--data", kit.data(80))
    assert kit.compress(*line)["drift"]["samples"] == 20
    assert kit.compress(*line, "--samples", 24)["drift"]["samples"] == 6


def pixels(kit: Kit, *line: object, text: str = IMAGE, axis: int = 1) -> tuple[Any, Any]:
    """(shape of a sample, its colour) as the model is given them."""
    runtime = kit.runtime()
    kit.compress(*QUICK, "--data", kit.images(), *line, text=text)
    (colours,) = {
        tuple(np.moveaxis(v, axis, -1)[0, 0, 0].round(5).tolist())
        for opened in answering(runtime)
        for v in [f["x"] for f in opened.feeds]
        if opened.level == 3 and "x" in opened.inputs
    }
    shapes = {v.shape[1:] for v in fed(runtime)}
    return shapes, colours


def mean(kit: Kit) -> None:
    plain = tuple(round(v / 255, 5) for v in COLOUR)
    assert pixels(kit)[1] == pytest.approx(plain)
    assert pixels(kit, "--mean", "0.1,0.2,0.3")[1] == pytest.approx((0.1, 0.2, 0.7))


def std(kit: Kit) -> None:
    assert pixels(kit, "--std", "0.5,0.25,2")[1] == pytest.approx((0.4, 1.6, 0.5))


def size(kit: Kit) -> None:
    kit.compress(*QUICK, "--data", kit.images(), text=ANY_SIZE, code=2)
    assert (3, 5, 7) in pixels(kit, "--size", "5,7", text=ANY_SIZE)[0]


def layout(kit: Kit) -> None:
    line = (*QUICK, "--data", kit.images())
    kit.compress(*line, text=CHANNELS_LAST, code=3)
    found = pixels(kit, "--layout", "NHWC", "--mean", "0,0,1", text=CHANNELS_LAST, axis=3)
    assert found[0] == {(6, 6, 3)}
    assert found[1] == pytest.approx((0.2, 0.4, 0.0))


def bgr(kit: Kit) -> None:
    plain = [round(v / 255, 5) for v in COLOUR]
    assert pixels(kit, "--bgr")[1] == pytest.approx(tuple(reversed(plain)))


def fit(kit: Kit) -> None:
    """Of a picture twice as wide as high, the first pixel, and that in the middle of the height."""
    found = {}
    for how in ("stretch", "crop", "letterbox"):
        runtime = kit.runtime()
        kit.compress(*QUICK, "--data", kit.images(12), "--fit", how, text=IMAGE)
        first = next(v for v in fed(runtime) if v.shape[2:] == (6, 6) and v.max() <= 1 and v.any())
        found[how] = first[0, 0, 0, 0], first[0, 0, 3, 0]
    colour = COLOUR[0] / 255
    assert found["stretch"] == pytest.approx((colour, colour))
    assert found["crop"] == pytest.approx((colour, colour))
    assert found["letterbox"] == pytest.approx((114 / 255, colour))


def preset(kit: Kit) -> None:
    wanted = [
        (v / 255 - mean) / std
        for v, mean, std in zip(COLOUR, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    ]
    assert pixels(kit, "--preset", "imagenet")[1] == pytest.approx(tuple(wanted), abs=1e-4)
    own = pixels(kit, "--preset", "imagenet", "--mean", "0", "--std", "1")[1]
    assert own == pytest.approx(tuple(v / 255 for v in COLOUR), abs=1e-4)
    assert pixels(kit, "--preset", "yolox")[1] == pytest.approx(tuple(reversed(COLOUR)), abs=1e-2)


def class_folders(kit: Kit, run: Callable[..., Any]) -> None:
    images = kit.images(classes=("cat", "dog", "owl"))
    assert run("--data", images, text=IMAGE)["drift"]["accuracy_before"] is None
    line = ("--data", images, "--class-folders")
    assert 0 <= run(*line, text=IMAGE)["drift"]["accuracy_before"] <= 1
    few = kit.images(classes=("cat", "dog"))
    run("--data", few, "--class-folders", text=IMAGE, code=3)
    run("--data", kit.images(), "--class-folders", text=IMAGE, code=3)


def input_shape(kit: Kit, run: Callable[..., Any]) -> None:
    runtime = kit.runtime()
    run()
    assert not any(values.shape[1] == 11 for values in fed(runtime))
    runtime = kit.runtime()
    run("--input-shape", "x=2,11,4")
    assert any(values.shape[1] == 11 for values in fed(runtime))


def sample_axis(kit: Kit, run: Callable[..., Any]) -> None:
    """Five steps of so many samples, instead of samples of five steps."""
    runtime = kit.runtime()
    run("--data", kit.steps())
    assert any(values.shape[1] == 5 for values in fed(runtime))
    runtime = kit.runtime()
    run("--data", kit.steps(), "--sample-axis", "x=1")
    on_data = [v.shape for v in fed(runtime) if v.shape[0] == 5 or v.shape[1] == 5]
    assert on_data
    assert all(shape[0] == 5 for shape in on_data)


# what is to be reached


def target(kit: Kit) -> None:
    for share in (0.4, 0.8):
        found = left(kit.compress(*QUICK[:2], "--target", f"params={share}", "--tries", 0))
        assert share - 0.15 < found <= share


def ratio(kit: Kit) -> None:
    line = (*QUICK[:2], *QUICK[4:])
    assert kept(kit.compress(*line, "--ratio", 0.25)) == [6, 6]
    assert kept(kit.compress(*line, "--ratio", 0.5)) == [4, 4]


def max_drop(kit: Kit) -> None:
    kit.drop_by_size()
    found = {}
    for most in (0.15, 0.45):
        line = (*QUICK[:2], "--recover", "none", "--data", kit.data(), "--max-drop", most)
        report = kit.compress(*line)
        assert report["notes"]["max_drop"] == most
        found[most] = report["drift"]["rel_error"]
        assert 0 < found[most] <= most
    assert found[0.45] > 0.15


#: How much of the network is left, in shares of its 120 weights.
SIZE_LEFT = """
import onnx
from math import prod

def left(data):
    return sum(prod(t.dims) for t in onnx.ModelProto.FromString(data).graph.initializer) / 120
"""


def judge(kit: Kit) -> None:
    (kit.folder / "size_left.py").write_text(SIZE_LEFT)
    kit.patch.chdir(kit.folder)
    found = {}
    for most in (0.15, 0.45):
        line = (*QUICK[:2], "--recover", "none", "--data", kit.data(), "--max-drop", most)
        report = kit.compress(*line, "--judge", "size_left:left")
        drift = report["drift"]
        assert drift["metric_before"] == 1.0
        assert drift["metric_after"] == report["after"]["params"] / 120
        found[most] = 1.0 - drift["metric_after"]
        assert 0 < found[most] <= most
    assert found[0.45] > 0.15


def allow_slower(kit: Kit) -> None:
    kit.clock(0.9, 1.05)
    line = (*QUICK[:2], "--recover", "none", "--target", "latency=0.95")
    kit.compress(*line, code=4)
    assert kit.compress(*line, "--allow-slower")["latency"]["ratio"] == 1.05


def tries(kit: Kit) -> None:
    line = ("--criterion", "l1", "--target", "params=0.6", "--data", kit.data())
    for number in (2, 4):
        assert len(kit.compress(*line, "--tries", number)["notes"]["allocations"]) == number
    assert "allocations" not in kit.compress(*line, "--tries", 0)["notes"]


# which units


def ascending(context: ScoreContext, weight: float = 1.0) -> ScoreResult:
    """Later units count more; every unit of the last group counts more than the others'."""
    groups = enumerate(context.analysis.ir.groups)
    return ScoreResult(
        {g.id: weight * (100 * k + np.arange(g.units, dtype=float)) for k, g in groups}
    )


def criterion(kit: Kit) -> None:
    kit.criterion(ascending)
    found = kit.plan("--criterion", "mine", "--ratio", 0.5, "--recover", "none")
    assert found == [[4, 5, 6, 7]] * 2
    assert kit.compress("--criterion", "mine", "--ratio", 0.5)["criterion"] == "mine"


def option(kit: Kit) -> None:
    kit.criterion(ascending, Option("weight", float, ""))
    line = ("--criterion", "mine", "--ratio", 0.5, "--recover", "none", "--option")
    assert kit.plan(*line, "weight=-1") == [[0, 1, 2, 3]] * 2
    kit.compress(*line, "height=1", code=2)


def allocation(kit: Kit) -> None:
    kit.criterion(ascending)
    line = ("--criterion", "mine", "--target", "params=0.7", "--recover", "none", "--allocation")
    first, second = kept(kit.compress(*line, "scores"))
    assert (first < 8, second) == (True, 8)  # all of the second group is worth more
    uniform = kept(kit.compress(*line, "uniform"))
    assert abs(uniform[0] - uniform[1]) <= 1
    assert max(uniform) < 8
    assert "allocate" in kit.compress(*line, "curves")["timings"]
    assert "allocate" not in kit.compress(*line, "uniform")["timings"]


def recover(kit: Kit) -> None:
    line = ("--criterion", "l1", "--ratio", 0.5, "--data", kit.data(), "--recover")
    for how in ("bias", "least-squares"):
        recovery = kit.compress(*line, how)["recovery"]
        assert recovery["asked"] == how
        assert recovery["used"] in (how, "none")
    assert {kit.compress(*line, how)["recovery"]["used"] for how in ("least-squares", "none")} == {
        "least-squares",
        "none",
    }


def allow_inexact(kit: Kit) -> None:
    kit.compress(*QUICK, text=NORM, code=4)
    assert kit.compress(*QUICK, "--allow-inexact", text=NORM)["inexact"]


def residual(kit: Kit) -> tuple[str | Path, ...]:
    """A net of three blocks of three weights each, and its samples."""
    onnx.save(model_from_text(RESIDUAL, integers=False), kit.folder / "net.onnx")
    return ("compress", kit.folder / "net.onnx", *QUICK[:2], "--data", kit.data(), "--json")


def blocks(kit: Kit) -> None:
    line = (*residual(kit), "--ratio", 0.5, "--recover", "none", "--force")
    assert kit.cli(*line).json()["dropped"] is None
    assert kit.cli(*line, "--blocks").json()["dropped"]["found"] == 3


def block_order(kit: Kit) -> None:
    line = (*residual(kit), "--drop", 2, "--ratio", 0, "--blocks", "--force", "--block-order")
    for order in ("error", "energy", "correlation"):
        found = kit.cli(*line, order).json()["dropped"]
        assert (found["order"], len(found["blocks"])) == (order, 2)


def drop(kit: Kit) -> None:
    line = (*residual(kit), "--ratio", 0, "--blocks", "--force", "--drop")
    for number in (0, 1, 3):
        assert len(kit.cli(*line, number).json()["dropped"]["blocks"]) == number


def finetune_minutes(kit: Kit) -> None:
    line = ("compress", kit.model(), *QUICK[:2], "--ratio", 0.5, "--data", kit.data(300), "--json")
    assert kit.cli(*line, "--force").json()["tuned"] is None
    told = kit.cli(*line, "--force", "--finetune", 0.02).json()["tuned"]
    assert told["minutes"] == 0.02
    assert 1.2 <= told["seconds"] < 10 * 1.2


def width(kit: Kit) -> None:
    """Of a stream of eight channels behind normalisations, beside a branch of twelve."""
    model, path = kit.folder / "net.onnx", kit.folder / "x.npz"
    onnx.save(transformer(LAYER_NORM), model)
    drawn = np.random.default_rng(0).standard_normal((80, 5, 6)).astype(np.float32)
    np.savez(path, x=drawn)
    line = ("compress", model, *QUICK, "--data", path, "--force", "--json", "--width")
    found = {how: kit.cli(*line, how).json() for how in ("exact", "refit", "rotate")}
    assert [group["units"] for group in found["exact"]["groups"]] == [12]
    assert found["refit"]["inexact"]
    assert not found["rotate"]["inexact"]
    assert sum(group["units"] for group in found["rotate"]["groups"]) > 12


def protect(kit: Kit) -> None:
    assert kept(kit.compress(*QUICK, "--protect", "w_a")) == [8, 6]
    assert kept(kit.compress(*QUICK)) == [6, 6]


def multiple_of(kit: Kit) -> None:
    line = (*QUICK[:2], "--ratio", 0.5, "--recover", "none")
    assert kept(kit.compress(*line)) == [4, 4]
    assert kept(kit.compress(*line, "--multiple-of", 3)) == [6, 6]


def seed(kit: Kit) -> None:
    plans = [kit.plan("--criterion", "random", "--ratio", 0.5, "--seed", s) for s in (0, 0, 5)]
    assert plans[0] == plans[1] != plans[2]
    assert kit.compress(*QUICK, "--seed", 5)["seed"] == 5


def threads(kit: Kit) -> None:
    line = ("--data", kit.data(), "--target", "params=0.6", "--tries", 2, "--criterion", "snacs")
    threads_arrive(kit, "compress", kit.model(), *line, "--force")


def provider(kit: Kit) -> None:
    def run(*wanted: object, code: int = 0) -> Any:
        return kit.compress(*QUICK, "--data", kit.data(), *wanted, code=code)

    provider_arrives(kit, run, lambda report: str(report["provider"]))


# the released formulas


def released_target(kit: Kit) -> None:
    for share in (0.3, 0.8):
        report = kit.released("--target", f"params={share}")
        assert report["notes"]["as_released"]["retained"] == pytest.approx(share, abs=0.1)


def released_max_drop(kit: Kit) -> None:
    def drift(judge: Judge, cut: onnx.ModelProto) -> Drift:
        arrays = [onnx.numpy_helper.to_array(tensor) for tensor in cut.graph.initializer]
        gone = sum(int((a == 0).sum()) for a in arrays) / sum(a.size for a in arrays)
        return Drift(10_000, float(gone))

    kit.patch.setattr(Judge, "drift", drift)
    kit.patch.setattr(Judge, "with_blend", lambda judge, cut, moved: moved)
    found = [
        kit.released("--max-drop", most)["notes"]["as_released"]["retained"] for most in (0.1, 0.4)
    ]
    assert found[0] > found[1]


def released_groups(kit: Kit) -> None:
    lines = (("--target", "params=0.6"), ("--target", "params=0.6", "--groups", 2))
    notes = [kit.released(*line)["notes"]["as_released"] for line in lines]
    assert [note["groups"] for note in notes] == [None, 2]
    assert notes[0]["layers"] != notes[1]["layers"]


def released_phi(kit: Kit) -> None:
    lines = (("--target", "params=0.6"), ("--target", "params=0.6", "--phi", "one"))
    notes = [kit.released(*line)["notes"]["as_released"]["layers"] for line in lines]
    assert notes[0] != notes[1]
    kit.released("--phi", "two", code=2)


def released_save(kit: Kit) -> None:
    """Of the filters of `w_a`, half are protected: no connection that makes them goes."""
    shares = [kit.released("--target", "params=0.8", "--save", s) for s in (0.0, 0.5)]
    notes = [report["notes"]["as_released"]["layers"] for report in shares]
    assert notes[0] != notes[1]


def released_seed(kit: Kit) -> None:
    lines = [("--target", "params=0.6", "--seed", s) for s in (0, 0, 5)]
    layers = [kit.released(*line)["notes"]["as_released"]["layers"] for line in lines]
    assert layers[0] == layers[1] != layers[2]


def released_threads(kit: Kit) -> None:
    line = ("--data", kit.data(), "--target", "params=0.6", "--force")
    threads_arrive(kit, "released", kit.model(), *line)


def released_samples(kit: Kit) -> None:
    line = ("--target", "params=0.6")
    assert kit.released(*line)["drift"]["samples"] == 20
    assert kit.released(*line, "--samples", 24)["drift"]["samples"] == 6


def released_provider(kit: Kit) -> None:
    def run(*wanted: object, code: int = 0) -> Any:
        return kit.released("--target", "params=0.6", *wanted, code=code)

    provider_arrives(kit, run, lambda report: str(report["provider"]))


def released_images(*line: str) -> Callable[[Kit], None]:
    """Images are prepared by the same function; that an option reaches it is enough."""

    def case(kit: Kit) -> None:
        found = []
        for options in ((), line):
            runtime = kit.runtime()
            model = kit.model({"--layout": CHANNELS_LAST, "--size": ANY_SIZE}.get(line[0], IMAGE))
            folder = kit.images(12 if line[0] == "--fit" else 6)
            images = ("--data", folder, "--target", "params=0.6", "--force")
            code = 0 if options else {"--layout": 3, "--size": 2}.get(line[0], 0)
            kit.cli("released", model, *images, *options, code=code)
            found.append([(v.shape[1:], v.ravel()[:1].tolist()) for v in fed(runtime)][-1:])
        assert found[0] != found[1]

    return case


# the other commands


def apply_threads(kit: Kit) -> None:
    model, out, plan = kit.cut()
    threads_arrive(kit, "apply", model, plan, "-o", out, "--force")


def apply_input_shape(kit: Kit) -> None:
    plan, out = kit.folder / "p.json", kit.folder / "o.onnx"
    kit.compress(*QUICK, "--plan-out", plan, text=STEPS)
    model = kit.folder / "net.onnx"
    input_shape(kit, lambda *line: kit.cli("apply", model, plan, "-o", out, "--force", *line))


def verify_threads(kit: Kit) -> None:
    model, out, plan = kit.cut()
    threads_arrive(kit, "verify", model, out, "--plan", plan)


def verify_input_shape(kit: Kit) -> None:
    plan = kit.folder / "p.json"
    kit.compress(*QUICK, "--plan-out", plan, text=STEPS)
    model, out = kit.folder / "net.onnx", kit.folder / "net.slim.onnx"
    input_shape(kit, lambda *line: kit.cli("verify", model, out, "--plan", plan, *line))


def verify_plan(kit: Kit) -> None:
    model, out, plan = kit.cut()
    kit.cli("verify", model, out, "--plan", plan)
    other = kit.folder / "other.json"
    line = ("--criterion", "l1", "--ratio", 0.5, "--recover", "none", "--plan-out", other)
    kit.compress(*line, "-o", kit.folder / "other.onnx")
    kit.cli("verify", model, out, "--plan", other, code=5)


def bench(kit: Kit, *line: object, code: int = 0) -> Any:
    model, out, _ = kit.cut()
    ended = kit.cli("bench", model, out, *line, "--json", code=code)
    return ended.json() if code == 0 else None


def bench_batch(kit: Kit) -> None:
    for number in (1, 5):
        runtime = kit.runtime()
        bench(kit, "--batch", number)
        timed = [opened for opened in runtime.opened if len(opened.feeds) > 10]
        assert len(timed) == 2
        assert {f["x"].shape for opened in timed for f in opened.feeds} == {(number, 4)}


def bench_threads(kit: Kit) -> None:
    model, out, _ = kit.cut()
    threads_arrive(kit, "bench", model, out)
    assert kit.cli("bench", model, out, "--threads", 3, "--json").json()["threads"] == 3


def bench_provider(kit: Kit) -> None:
    model, out, _ = kit.cut()

    def run(*wanted: object, code: int = 0) -> Any:
        ended = kit.cli("bench", model, out, *wanted, "--json", code=code)
        return ended.json() if code == 0 else None

    provider_arrives(kit, run, lambda result: str(result["provider"]))


def bench_data(kit: Kit) -> None:
    model, out, _ = kit.cut()
    data(kit, lambda *line: kit.cli("bench", model, out, *line))


def bench_input_shape(kit: Kit) -> None:
    kit.compress(*QUICK, text=STEPS)
    model, out = kit.folder / "net.onnx", kit.folder / "net.slim.onnx"
    input_shape(kit, lambda *line: kit.cli("bench", model, out, *line))


def bench_sample_axis(kit: Kit) -> None:
    kit.compress(*QUICK, text=STEPS)
    model, out = kit.folder / "net.onnx", kit.folder / "net.slim.onnx"
    sample_axis(kit, lambda *line: kit.cli("bench", model, out, *line))


def inspect_input_shape(kit: Kit) -> None:
    model = kit.model(STEPS)
    input_shape(kit, lambda *line: kit.cli("inspect", model, *line))


def inspect_allow_inexact(kit: Kit) -> None:
    model = kit.model(NORM)
    found = [
        kit.cli("inspect", model, "--json", *line).json()["groups"]
        for line in ((), ("--allow-inexact",))
    ]
    assert [len(groups) for groups in found] == [0, 1]


def inspect_why(kit: Kit) -> None:
    assert "graph output" in kit.cli("inspect", kit.model(), "--why", "y").out


Case = Callable[[Kit], None]
CASES: dict[str, Case] = {
    "compress --data": lambda kit: data(kit, lambda *line: kit.compress(*QUICK, *line)),
    "compress --samples": samples,
    "compress --mean": mean,
    "compress --std": std,
    "compress --size": size,
    "compress --layout": layout,
    "compress --fit": fit,
    "compress --bgr": bgr,
    "compress --preset": preset,
    "compress --class-folders": lambda kit: class_folders(
        kit, lambda *line, **more: kit.compress(*QUICK, *line, **more)
    ),
    "compress --input-shape": lambda kit: input_shape(
        kit, lambda *line: kit.compress(*QUICK, *line, text=STEPS)
    ),
    "compress --target": target,
    "compress --ratio": ratio,
    "compress --max-drop": max_drop,
    "compress --judge": judge,
    "compress --allow-slower": allow_slower,
    "compress --criterion": criterion,
    "compress --allocation": allocation,
    "compress --blocks": blocks,
    "compress --block-order": block_order,
    "compress --drop": drop,
    "compress --finetune": finetune_minutes,
    "compress --tries": tries,
    "compress --option": option,
    "compress --recover": recover,
    "compress --allow-inexact": allow_inexact,
    "compress --protect": protect,
    "compress --width": width,
    "compress --sample-axis": lambda kit: sample_axis(
        kit, lambda *line: kit.compress(*QUICK, *line, text=STEPS)
    ),
    "released --sample-axis": lambda kit: sample_axis(
        kit, lambda *line: kit.run("released", "--target", "params=0.6", *line, text=STEPS)
    ),
    "bench --sample-axis": bench_sample_axis,
    "compress --multiple-of": multiple_of,
    "compress --seed": seed,
    "compress --threads": threads,
    "compress --provider": provider,
    "released --data": lambda kit: data(
        kit, lambda *line: kit.run("released", "--target", "params=0.6", *line)
    ),
    "released --samples": released_samples,
    "released --mean": released_images("--mean", "0.1,0.2,0.3"),
    "released --std": released_images("--std", "0.1,0.2,0.3"),
    "released --size": released_images("--size", "5,7"),
    "released --layout": released_images("--layout", "NHWC"),
    "released --fit": released_images("--fit", "letterbox"),
    "released --bgr": released_images("--bgr"),
    "released --preset": released_images("--preset", "imagenet"),
    "released --class-folders": lambda kit: class_folders(
        kit, lambda *line, **more: kit.run("released", "--target", "params=0.6", *line, **more)
    ),
    "released --input-shape": lambda kit: input_shape(
        kit, lambda *line: kit.run("released", "--target", "params=0.6", *line, text=STEPS)
    ),
    "released --target": released_target,
    "released --max-drop": released_max_drop,
    "released --groups": released_groups,
    "released --phi": released_phi,
    "released --save": released_save,
    "released --seed": released_seed,
    "released --threads": released_threads,
    "released --provider": released_provider,
    "inspect --input-shape": inspect_input_shape,
    "inspect --allow-inexact": inspect_allow_inexact,
    "inspect --why": inspect_why,
    "apply --input-shape": apply_input_shape,
    "apply --threads": apply_threads,
    "verify --plan": verify_plan,
    "verify --input-shape": verify_input_shape,
    "verify --threads": verify_threads,
    "bench --data": bench_data,
    "bench --input-shape": bench_input_shape,
    "bench --batch": bench_batch,
    "bench --threads": bench_threads,
    "bench --provider": bench_provider,
}
#: Options that other tests are about, and where.
ELSEWHERE = {
    "--out": "test_files",
    "--plan-out": "test_files",
    "--report": "test_files",
    "--html": "test_page_files",
    "--progress": "test_progress",
    "--quiet": "test_progress",
    "--verbose": "test_progress",
    "--require": "test_gate",
    "--simplify": "test_simplify",
    "--metadata": "test_gate",
    "--force": "test_exit_codes",
    "--json": "test_commands",
    "--auto": "test_budgets",
    "--config": "test_config_file",
    "--print-config": "test_config_file",
    "--max-memory": "test_watch",
    "--max-time": "test_watch",
}
#: Fields that are typed by another name.
NAMES = {
    "path": "--data",
    "input_shapes": "--input-shape",
    "options": "--option",
    "sample_axes": "--sample-axis",
    "metric": "--judge",
}
#: Commands of which it is shown that their functions are given the option; what these make of it is
#: shown beside those: tests/training/test_finetune.py, tests/passes/test_rotate.py.
HANDED: dict[str, dict[str, tuple[str, Callable[[Any], object], object]]] = {
    command: {
        "--data": ("D", lambda given: given.data.path, "D"),
        "--samples": ("24", lambda given: given.data.samples, 24),
        "--mean": ("0.1,0.2", lambda given: given.data.mean, (0.1, 0.2)),
        "--std": ("0.1,0.2", lambda given: given.data.std, (0.1, 0.2)),
        "--size": ("5,7", lambda given: given.data.size, (5, 7)),
        "--layout": ("NHWC", lambda given: given.data.layout, "NHWC"),
        "--fit": ("crop", lambda given: given.data.fit, "crop"),
        "--bgr": ("", lambda given: given.data.bgr, True),
        "--class-folders": ("", lambda given: given.data.class_folders, True),
        "--preset": ("yolo", lambda given: given.data.fit, "letterbox"),
        "--input-shape": ("x=2,5", lambda given: given.data.input_shapes, {"x": (2, 5)}),
        "--sample-axis": ("x=1", lambda given: given.data.sample_axes, {"x": 1}),
        "--seed": ("5", lambda given: given.seed, 5),
        "--threads": ("3", lambda given: given.threads, 3),
        "--provider": ("cpu", lambda given: given.provider, "cpu"),
    }
    for command in ("finetune", "rotate", "apply", "sweep", "compare")
}
HANDED["finetune"] |= {
    "--teacher": ("T.onnx", lambda given: str(given.teacher), "T.onnx"),
    "--minutes": ("0.5", lambda given: given.minutes, 0.5),
    "--steps": ("7", lambda given: given.steps, 7),
    "--loss": ("both", lambda given: given.loss, "both"),
    "--features": ("0.5", lambda given: given.features, 0.5),
    "--batch": ("9", lambda given: given.batch, 9),
    "--rate": ("0.25", lambda given: given.rate, 0.25),
    "--augment": ("flip,mix", lambda given: given.augment, ("flip", "mix")),
    "--sparse": ("0.5", lambda given: given.sparse, 0.5),
    "--resume": ("", lambda given: given.resume, True),
}


HANDED["compare"] |= {
    "--test": ("T.npz", lambda given: given.tests, ("T.npz",)),
    "--target": (
        "macs=0.4,params=0.5",
        lambda given: given.targets,
        ({"macs": 0.4, "params": 0.5},),
    ),
    "--criteria": ("l1,snacs:units=flow", lambda given: given.criteria, ("l1", "snacs:units=flow")),
    "--recover": ("bias,none", lambda given: given.recover, ("bias", "none")),
    "--seeds": ("7", lambda given: given.seeds, 7),
    "--repeats": ("2", lambda given: given.repeats, 2),
    "--damage": ("", lambda given: given.damage, True),
    "--tries": ("1", lambda given: given.tries, 1),
}
HANDED["export-plan"] = {
    "--model": ("M.onnx", lambda given: str(given.model), "M.onnx"),
    "--state-dict": ("S.pt", lambda given: str(given.state_dict), "S.pt"),
    "--format": ("torch", lambda given: given.format, "torch"),
}
HANDED["apply"] |= {"--recover": ("bias", lambda given: given.recover, "bias")}
HANDED["sweep"] |= {
    "--target": (
        "macs=0.5,bytes=0.4",
        lambda given: given.goals[0].shares,
        {"macs": 0.5, "bytes": 0.4},
    ),
    "--ratio": ("0.3", lambda given: given.goals, [Ratio(0.3)]),
    "--max-drop": ("0.02", lambda given: given.goals, [Drop(0.02)]),
    "--criterion": ("l2", lambda given: given.criteria, ["l2"]),
    "--allocation": ("scores", lambda given: given.allocation, "scores"),
    "--tries": ("2", lambda given: given.tries, 2),
    "--recover": ("bias", lambda given: given.recover, "bias"),
    "--allow-inexact": ("", lambda given: given.allow_inexact, True),
    "--jobs": ("3", lambda given: given.jobs, 3),
    "--cluster": ("local:2", lambda given: given.cluster, "local:2"),
}


class Handed(Exception):
    """What a command's function was given, one name for each value."""

    def __init__(self, names: tuple[str, ...], values: tuple[Any, ...], more: Any) -> None:
        self.given = SimpleNamespace(**dict(zip(names, values, strict=False)), **more)
        config = getattr(self.given, "config", None)
        if config is not None:
            self.given.__dict__.update({f.name: getattr(config, f.name) for f in fields(config)})


def handed(kit: Kit, command: str, option: str) -> None:
    names, home = {
        "finetune": (("model", "teacher", "config"), "onnxslim_snacs.commands.finetune.finetune"),
        "rotate": (("model", "data"), "onnxslim_snacs.commands.turned.rotate_file"),
        "apply": (("model", "plan"), "onnxslim_snacs.commands.apply.apply_plan"),
        "sweep": (("models", "config"), "onnxslim_snacs.commands.sweep.sweep"),
        "compare": (("model", "config"), "onnxslim_snacs.commands.compare.compare"),
        "export-plan": (("plan", "model"), "onnxslim_snacs.commands.export_plan.export_plan"),
    }[command]

    def note(*values: Any, **more: Any) -> None:
        raise Handed(names, values, more)

    value, read, wanted = HANDED[command][option]
    kit.patch.setattr(home, note)
    line = [command, str(kit.model()), option, *([value] if value else [])]
    line += [] if option == "--data" or command == "export-plan" else ["--data", "D"]
    line += ["--model", "M"] if command == "export-plan" and option != "--model" else []
    line += ["P"] if command == "apply" else []
    line += ["--out", "O"] if command == "sweep" else []
    line += ["--teacher", "T"] if command == "finetune" and option != "--teacher" else []
    with pytest.raises(Handed) as caught:
        raising(line)
    assert read(caught.value.given) == wanted


def raising(line: list[str]) -> int:
    """The command line without what turns errors into exit codes."""
    commands: Any = typer.main.get_command(app)
    return int(commands.main(line, standalone_mode=False) or 0)


def typed_options() -> list[str]:
    """Every option of every command, as the command line itself lists them."""
    commands: Any = typer.main.get_command(app)
    return [
        f"{name} {max(parameter.opts, key=len)}"
        for name, command in commands.commands.items()
        for parameter in command.params
        if parameter.opts[0].startswith("-") and max(parameter.opts, key=len) not in ELSEWHERE
    ]


@pytest.fixture
def kit(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    return Kit(cli, tmp_path, monkeypatch)


@pytest.mark.parametrize("option", typed_options())
def test_option_arrives(option: str, kit: Kit) -> None:
    command, name = option.split()
    if option not in CASES and name in HANDED.get(command, {}):
        handed(kit, command, name)
        return
    assert option in CASES, f"{option}: nothing shows that it arrives"
    CASES[option](kit)


@pytest.mark.parametrize(
    "field",
    [
        f"{command} {field.name}"
        for command, config in (("compress", CompressConfig), ("released", ReleasedConfig))
        for field in (*fields(DataConfig), *fields(config))
        if field.name != "data" and in_files(field)
    ],
)
def test_every_field_of_the_configuration_is_an_option(field: str) -> None:
    command, name = field.split()
    typed = NAMES.get(name, f"--{name.replace('_', '-')}")
    if (command, name) == ("released", "params"):
        typed = "--target"
    assert typed in ELSEWHERE or f"{command} {typed}" in typed_options()
