"""What the tests do a few times, done until chance has had its turn.

    python benchmarks/endurance/run.py signals [--count 200] [--model FILE]
    python benchmarks/endurance/run.py kills   [--count 200]
    python benchmarks/endurance/run.py writers [--count 100]
    python benchmarks/endurance/run.py scaling [--sizes 10000 20000 40000 80000] [--of nodes inputs]
    python benchmarks/endurance/run.py soak    [--count 500] [--samples 256]
    python benchmarks/endurance/run.py threads MODEL DATA [MODEL DATA ...] [--samples 256]

Each prints lines of what it has seen, and last a line that counts; what is wrong is said as WRONG.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
MODEL, DATA = ROOT / "models/digits_resnet.onnx", ROOT / "models/digits_calibration.npz"
COMMAND = [sys.executable, "-m", "onnxslim_snacs"]
CUT = ["--criterion", "l1", "--ratio", "0.5", "--recover", "none"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def signals(count: int, model: Path | None, folder: Path) -> Iterator[str]:
    """SIGINT, SIGTERM and SIGHUP at moments from the first instruction on."""
    rng = random.Random(0)
    # with -v Python says on stderr what it imports: whether it had come to us
    line = [sys.executable, "-v", "-m", "onnxslim_snacs", "compress", str(model or MODEL)]
    line += ["-o", str(folder / "o.onnx"), *CUT]
    line += [] if model else ["--data", str(DATA), "--target", "macs=0.5"][:2]
    began = time.monotonic()
    with suppress(subprocess.TimeoutExpired):  # a model may have no end
        subprocess.run(line, env=ENVIRONMENT, capture_output=True, check=False, timeout=5)
    whole = min(2.5, time.monotonic() - began)
    early = torn = 0
    for number in range(count):
        (folder / "o.onnx").unlink(missing_ok=True)
        kind = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[number % 3]
        # a third within the first 30 ms, in which Python itself begins
        moment = rng.uniform(0, 0.03) if number % 10 < 3 else rng.uniform(0, whole)
        process = subprocess.Popen(
            line, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        time.sleep(moment)
        sent = time.monotonic()
        process.send_signal(kind)
        _, said = process.communicate(timeout=60)
        late = time.monotonic() - sent
        code, left = process.returncode, files(folder)
        # a shell shows both the same
        itself, right = code == -kind and not left, code == 128 + kind
        right |= code == 0 and set(left) == {"o.onnx"}
        fell = "Traceback" in said
        python = fell and code in (1, -kind) and "onnxslim_snacs/" not in said  # not come to us
        early, torn = early + (itself and not fell), torn + python
        text = f"{kind.name} at {moment:.3f} s: {code} after {late:.3f} s"
        if not (right or itself or python) or (fell and not python) or (code and left):
            yield f"WRONG {text}: {said.partition('Traceback')[2][:900]!r} {sorted(left)}"
        yield f"{code} {late:.3f}" if number % 20 == 0 else f"~{code}"
        if late > 1:
            yield f"SLOW {text}"
    yield f"{early} ended by the signal itself; {torn} by a traceback of Python's own beginning"


WRITER = """
import sys, onnx
from pathlib import Path
from onnxslim_snacs.model.save import save_model
model, folder = onnx.load(sys.argv[1]), Path(sys.argv[2])
model.doc_string = sys.argv[3]
texts = {folder / "p.json": sys.argv[3], folder / "r.json": sys.argv[3]}
print("ready", flush=True)
sys.stdin.readline()
save_model(model, folder / "m.onnx", beside=texts, overwrite=True, max_inline=int(sys.argv[4]))
"""


def writer(folder: Path, value: str, inline: int = 1 << 30) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", WRITER, str(MODEL), str(folder), value, str(inline)]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True)


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def made(folder: Path) -> set[str]:
    """By which runs the three files were made."""
    found = {(folder / name).read_text() for name in ("p.json", "r.json")}
    return found | {onnx.load(folder / "m.onnx").doc_string}


def kills(count: int, folder: Path) -> Iterator[str]:
    """SIGKILL while model, plan and report are written, then the next run."""
    rng = random.Random(0)
    process = writer(folder, "old")
    ready(process)
    start = time.monotonic()
    go(process)
    process.wait()
    window = time.monotonic() - start
    stranger = folder / ".m.onnx.notes.tmp"
    stranger.write_text("mine")
    ends: Counter[str] = Counter()
    for number in range(count):
        process = writer(folder, f"run {number}", (1 << 30, 0)[number % 2])
        ready(process)
        go(process)
        time.sleep(rng.uniform(0, window))
        process.kill()
        process.wait()
        try:
            ends["killed, mixed" if len(made(folder)) > 1 else "killed, whole"] += 1
        except (OSError, ValueError):
            ends["killed, torn"] += 1
        process = writer(folder, "next")
        ready(process)
        go(process)
        code = process.wait()
        hidden = {n for n in files(folder) if Path(n).name.startswith(".")}
        if code or made(folder) != {"next"} or hidden != {stranger.name}:
            yield f"WRONG after kill {number}: {code} {made(folder)} {sorted(hidden)}"
    yield f"window {window:.3f} s, {dict(ends)}"


def writers(count: int, folder: Path) -> Iterator[str]:
    """Two runs at once for the same three files."""
    won: Counter[str] = Counter()
    for number in range(count):
        both = [writer(folder, value, (1 << 30, 0)[number % 2]) for value in ("one", "two")]
        for process in both:
            ready(process)
        for process in both:
            go(process)
        codes = [process.wait() for process in both]
        result, left = made(folder), set(files(folder)) - {"m.onnx", "p.json", "r.json"}
        data = {name for name in left if name.endswith(".data")}
        if codes != [0, 0] or len(result) != 1 or left - data or len(data) > number % 2:
            yield f"WRONG pair {number}: {codes} {result} {sorted(left)}"
        won[next(iter(result))] += 1
    yield str(dict(won))


def value(name: str, dims: list[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def many(kind: str, size: int) -> ModelProto:
    """A small network beside `size` nodes, inputs, outputs or initializers."""
    rng = np.random.default_rng(0)
    shapes = {"w_a": (4, 8), "w_b": (8, 3)}
    weights = [
        numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n)
        for n, s in shapes.items()
    ]
    inputs, outputs, nodes = [value("x", [1, 4])], [value("y", [1, 3])], list[NodeProto]()
    nodes.append(helper.make_node("MatMul", ["x", "w_a"], ["h"]))
    last = "h"
    if kind == "nodes":
        for k in range(size):
            nodes.append(helper.make_node("Relu", [last], [f"r{k}"]))
            last = f"r{k}"
    nodes.append(helper.make_node("MatMul", [last, "w_b"], ["y"]))
    names = [f"{kind}{k}" for k in range(size)]
    if kind == "inputs":
        inputs += [value(name, [1, 1]) for name in names]
        nodes.append(helper.make_node("Concat", names, ["z"], axis=1))
        outputs.append(value("z", [1, size]))
    if kind == "initializers":
        one = np.ones((1, 1), np.float32)
        weights += [numpy_helper.from_array(one, name) for name in names]
        nodes.append(helper.make_node("Concat", names, ["z"], axis=1))
        outputs.append(value("z", [1, size]))
    if kind == "outputs":
        nodes += [helper.make_node("Relu", ["x"], [name]) for name in names]
        outputs += [value(name, [1, 4]) for name in names]
    graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


THINGS = ("nodes", "inputs", "outputs", "initializers")


def scaling(sizes: list[int], things: list[str], folder: Path) -> Iterator[str]:
    """Seconds of work (not of waiting) of `compress` over the number of things in a file."""
    for kind in things:
        row = []
        for size in sizes:
            path = folder / "m.onnx"
            onnx.save(many(kind, size), path)
            before = os.times()
            line = [*COMMAND, "compress", str(path), "-o", str(folder / "o.onnx"), "--force", *CUT]
            done = subprocess.run(
                line, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=900
            )
            after = os.times()
            used = after.children_user - before.children_user
            used += after.children_system - before.children_system
            row.append(used)
            tail = done.stderr.strip().splitlines()[-1:] if done.returncode else []
            yield f"{kind} {size}: exit {done.returncode}, {used:.1f} s {' '.join(tail)[:200]}"
        steps = [f"{b / a:.2f}" for a, b in pairwise(row)]
        yield f"{kind}: each doubling takes {', '.join(steps)} times as long"


SOAK = """
import sys, re
from pathlib import Path
from onnxslim_snacs import CompressConfig, DataConfig, compress
data = DataConfig(sys.argv[2], samples=int(sys.argv[5]))
config = CompressConfig(data, target={"macs": 0.5}, tries=1)
for k in range(int(sys.argv[3])):
    compress(sys.argv[1], config, out=sys.argv[4], overwrite=True)
    if k in (4, 9) or k % 50 == 49:
        status = Path("/proc/self/status").read_text()
        resident = re.search("VmRSS: +(.*) kB", status.replace(chr(9), " "))
        handles = len(list(Path("/proc/self/fd").iterdir()))
        print(k + 1, int(resident[1]) // 1024, "MB,", handles, "files", flush=True)
"""


def soak(count: int, samples: int, folder: Path) -> Iterator[str]:
    """Compressions with data in one process: memory and open files."""
    line = [sys.executable, "-c", SOAK, str(MODEL), str(DATA), str(count), str(folder / "o.onnx")]
    line.append(str(samples))
    process = subprocess.Popen(line, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield from (text.strip() for text in process.stdout)
    if process.wait():
        yield f"WRONG: exit {process.returncode}"


#: What should not matter.
PLACES: list[tuple[str, dict[str, str], list[str]]] = [
    ("first", {}, []),
    ("hash, locale, zone, folder", {"PYTHONHASHSEED": "4", "LC_ALL": "C", "TZ": "Asia/Tokyo"}, []),
    ("2 threads", {"OMP_NUM_THREADS": "2"}, ["--threads", "2"]),
    ("4 threads", {"OMP_NUM_THREADS": "4"}, ["--threads", "4"]),
    ("a kernel without AVX", {"OPENBLAS_CORETYPE": "Nehalem"}, []),
    ("a kernel with AVX2", {"OPENBLAS_CORETYPE": "Haswell"}, []),
]


def threads(pairs: list[Path], samples: int, folder: Path) -> Iterator[str]:
    """The units that a plan keeps, in surroundings that should not matter."""
    same: Counter[str] = Counter()
    for model, data in zip(pairs[::2], pairs[1::2], strict=True):
        kept, weights = {}, {}
        for number, (name, environment, options) in enumerate(PLACES):
            place = folder / str(number)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            line = [*COMMAND, "compress", str(model), "--data", str(data), "--target", "macs=0.5"]
            line += ["-o", "o.onnx", "--plan-out", "p.json", "--samples", str(samples), *options]
            done = subprocess.run(
                line,
                cwd=place,
                env={**ENVIRONMENT, **environment},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                yield f"{model.name} {name}: exit {done.returncode} {done.stderr.strip()[-200:]}"
                break
            plan = json.loads((place / "p.json").read_text())
            groups = [(g["id"], g["kept"]) for g in plan["steps"][0]["groups"]]
            kept[name] = hashlib.sha256(json.dumps(groups).encode()).hexdigest()[:8]
            weights[name] = stored(place / "o.onnx")
            away = distance(weights["first"], weights[name])
            equal = kept[name] == kept["first"]
            same[name] += equal
            yield f"{model.name} {name}: plan {kept[name]} {'same' if equal else 'OTHER'}, {away}"
    yield str(dict(same))


def stored(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def distance(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> str:
    """The largest difference of weights, as a share of the largest of its tensor."""
    if {n: a.shape for n, a in one.items()} != {n: a.shape for n, a in two.items()}:
        return "other shapes"
    away = [
        np.abs(a - two[n]).max() / max(np.abs(a).max(), 1e-30)
        for n, a in one.items()
        if a.dtype.kind == "f" and a.size
    ]
    return f"weights within {max(away, default=0.0):.1e}"


def main() -> int:
    parser = argparse.ArgumentParser()
    kinds = ("signals", "kills", "writers", "scaling", "soak", "threads")
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("pairs", nargs="*", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--sizes", nargs="*", type=int, default=[10_000, 20_000, 40_000, 80_000])
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--of", nargs="*", choices=THINGS, default=list(THINGS))
    given = parser.parse_args()
    for kind in (signal.SIGHUP, signal.SIGINT):  # whoever runs this may have them ignored
        signal.signal(kind, signal.SIG_DFL)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = {
            "signals": lambda: signals(given.count or 200, given.model, folder),
            "kills": lambda: kills(given.count or 200, folder),
            "writers": lambda: writers(given.count or 100, folder),
            "scaling": lambda: scaling(given.sizes, given.of, folder),
            "soak": lambda: soak(given.count or 500, given.samples, folder),
            "threads": lambda: threads([p.resolve() for p in given.pairs], given.samples, folder),
        }
        codes: Counter[str] = Counter()
        for text in runs[given.kind]():
            wrong += text.startswith("WRONG")
            if text.startswith("~"):
                codes[text[1:]] += 1
                continue
            print(text, flush=True)
    more = f", ends {dict(codes)}" if codes else ""
    print(f"{given.kind}: {wrong} wrong{more}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
