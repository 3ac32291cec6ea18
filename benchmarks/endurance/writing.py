"""Runs that are killed while they write, and two that write at once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx

from benchmarks.endurance.setting import ENVIRONMENT, MODEL, files

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
