"""Run the command on broken files, each in a process of its own, and tell of what is not right.

    python -m tests.fuzz.run KIND --seed 0 --count 1000 [--keep FOLDER] [--models MODEL ...]
                             [--log FILE]

KIND is `models`, `data` or `plans`.  A line of JSON for each finding; the last one counts the ends.
With a log every file leaves a line there, and what stands there is not done again: a run that was
ended goes on, and runs of other seeds beside it have logs of their own.
A finding is an internal error, a proof that asks to be reported, a run that takes too long, a
traceback, a file that is left behind, or an output that ONNX's checker or ONNX Runtime rejects.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, suppress
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx

from onnxslim_snacs.cli.app import run
from onnxslim_snacs.model.session import SessionConfig, create_session, import_onnxruntime
from tests.fuzz.mutators import mutated_bytes, mutated_json, mutated_model
from tests.harness import FIXTURES, read_fixtures

MODELS = Path(__file__).resolve().parents[2] / "models"
#: Of work, and of waiting, which is no fault of the file on a machine that is busy.
SECONDS, WAITING, MEMORY = 30, 300, 4 << 30
CUT = ("--criterion", "l1", "--ratio", "0.5", "--recover", "none")
#: Ends that are right for a file that is wrong: done, refused, nothing to cut, too much.
FINE = {0, 3, 4, 7}


def seeds(kind: str, given: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
    """(model, file to break) pairs."""
    own = MODELS / "digits_resnet.onnx"
    if kind == "models":
        return [(path, path) for path in (*given, *_small_models(folder))]
    if kind == "data":
        return [(own, path) for path in _data_files(folder)]
    plan = folder / "plan.json"
    run([*("compress", str(own), "-o", str(folder / "cut.onnx"), "--plan-out", str(plan)), *CUT])
    return [(own, plan)]


def _small_models(folder: Path) -> Iterator[Path]:
    """The models of the fixtures of the rules, one of each family."""
    for number, path in enumerate(sorted(FIXTURES.glob("*.txt"))):
        place = folder / f"seed_{number}_{path.stem}.onnx"
        onnx.save(read_fixtures(path)[0].model, place)
        yield place


def _data_files(folder: Path) -> Iterator[Path]:
    images = np.load(MODELS / "digits_calibration.npz")["image"][:64]
    np.savez(folder / "seed_plain.npz", image=images)
    np.savez_compressed(folder / "seed_packed.npz", image=images)
    np.save(folder / "seed_array.npy", images)
    yield from (folder / f"seed_{name}" for name in ("plain.npz", "packed.npz", "array.npy"))


def attempt(kind: str, model: Path, broken: Path, rng: random.Random, folder: Path) -> str:
    """What is wrong with how the run ends; "" if nothing is.  Runs in a process of its own."""
    out = folder / "out.onnx"
    command = rng.choice(("inspect", "compress"))
    lines = {
        "models": {
            "inspect": ["inspect", str(broken)],
            "compress": ["compress", str(broken), "-o", str(out), *CUT],
        }[command],
        "data": ["compress", str(model), "--data", str(broken), "-o", str(out), *CUT],
        "plans": ["apply", str(model), str(broken), "-o", str(out)],
    }
    before = set(os.listdir(folder))
    code = run(lines[kind])
    if code not in FINE:
        return f"exit {code}"
    left = set(os.listdir(folder)) - before - ({"out.onnx"} if code == 0 else set())
    if left:
        return f"left behind {sorted(left)}"
    return _rejected(broken if kind == "models" else model, out) if out.exists() else ""


def _rejected(original: Path, out: Path) -> str:
    """What the checker or ONNX Runtime has against the output and not against the original."""
    for judge in (_checked, _loaded):
        before, after = (judge(path) for path in (original, out))
        if after and not before:
            return f"{judge.__name__}: {after}"
    return ""


def _checked(path: Path) -> str:
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:
        return str(error)[:300]
    return ""


def _loaded(path: Path) -> str:
    try:
        create_session(onnx.load(path), SessionConfig(level=0))
    except Exception as error:
        return str(error)[:300]
    return ""


def once(kind: str, seed: int, pairs: Sequence[tuple[Path, Path]], folder: Path) -> dict[str, str]:
    """Break one file and run; what came of it."""
    rng = random.Random(seed)
    model, whole = rng.choice(list(pairs))
    broken = folder / f"broken{whole.suffix}"
    if kind == "models":
        broken.write_bytes(mutated_model(whole.read_bytes(), rng))
    elif kind == "data":
        broken.write_bytes(mutated_bytes(whole.read_bytes(), rng))
    else:
        broken.write_text(mutated_json(whole.read_text(), rng))
    said = folder / "said"
    worker = os.fork()
    if not worker:
        _work(kind, model, broken, rng, folder, said)
    _, status = os.waitpid(worker, 0)
    code, text = os.waitstatus_to_exitcode(status), said.read_text(errors="replace")
    (folder / "out.onnx").unlink(missing_ok=True)
    end = {0: "fine", 1: "finding"}.get(code) or (
        signal.Signals(-code).name if code < 0 else str(code)
    )
    if "Traceback" in text:
        end = "finding"
    return {"seed": str(seed), "file": whole.name, "end": end, "said": text[-1500:]}


def _work(
    kind: str, model: Path, broken: Path, rng: random.Random, folder: Path, said: Path
) -> None:
    """The forked process: within limits, and quiet."""
    end = 1
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    signal.alarm(WAITING)
    try:
        wrong = attempt(kind, model, broken, rng, folder)
        print(wrong, flush=True)
        end = int(bool(wrong))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end)


def seeds_of(given: argparse.Namespace) -> set[int]:
    """The seeds of a run."""
    return set(range(given.seed, given.seed + given.count))


def _logged(log: Path | None) -> dict[int, str]:
    """Seed -> end of what was done before; a line that was cut off does not count."""
    done = {}
    for line in log.read_text().splitlines() if log is not None and log.exists() else ():
        with suppress(ValueError):
            entry = json.loads(line)
            done[int(entry["seed"])] = str(entry["end"])
    return done


def _note(log: Path | None, found: dict[str, str], seconds: float) -> None:
    if log is None:
        return
    with log.open("a") as file:
        line = {name: found[name] for name in ("seed", "end", "file")}
        file.write(json.dumps({**line, "seconds": round(seconds, 2)}) + "\n")


def main(arguments: Sequence[str]) -> int:
    """Break files, count the ends, print the findings."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("models", "data", "plans"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--models", nargs="*", type=Path, default=[])
    parser.add_argument("--log", type=Path)
    given = parser.parse_args(arguments)
    import_onnxruntime()
    for name in ("commands.apply", "commands.compress", "commands.inspect", "report.console"):
        import_module(f"onnxslim_snacs.{name}")  # once, before the processes part
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        run(["inspect", os.devnull])  # and so with what the command line builds when it is used
    ends: Counter[str] = Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SNACS_ONNX_DEBUG"] = ""
        pairs = seeds(given.kind, given.models, folder)
        known = _logged(given.log)
        ends.update(known[seed] for seed in known.keys() & seeds_of(given))
        for seed in sorted(seeds_of(given) - known.keys()):
            start = time.monotonic()
            found = once(given.kind, seed, pairs, folder)
            ends[found["end"]] += 1
            _note(given.log, found, time.monotonic() - start)
            if found["end"] in ("fine", "SIGSEGV", "SIGABRT", "SIGFPE"):
                continue  # a library that crashes ends the command with a code of its own
            print(json.dumps(found), flush=True)
            if given.keep is not None:
                suffix = Path(found["file"]).suffix
                (given.keep / f"{given.kind}_{seed}{suffix}").write_bytes(
                    (folder / f"broken{suffix}").read_bytes()
                )
    ends["seconds"] = round(time.monotonic() - began)
    print(json.dumps({"ends": dict(ends)}), flush=True)
    return int(set(ends) - {"fine", "seconds", "SIGSEGV", "SIGABRT", "SIGFPE"} != set())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
