"""Small models of structures that people bring: each command, its exit code and what is left.

    python -m benchmarks.field.run FOLDER [--only NAME] [--limit 120]

FOLDER holds the models with their samples (`NAME.onnx`, `NAME.npz`) and a README whose table says
of each how it is run (`L1`: half of every group by weights alone; `MAIN`: by samples to 0.5 of the
multiply-accumulates).  Prints a row for each: exit code, share of the parameters kept, proof, or
the last line of what was said.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PROGRAM = [sys.executable, "-m", "onnxslim_snacs"]
L1 = "--ratio 0.5 --criterion l1 --recover none"


def cases(folder: Path) -> Iterator[tuple[str, str]]:
    """(name of a model, options of `compress`)."""
    for line in (folder / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) < 3 or cells[0] in ("file", "---"):
            continue
        for name in re.split(r",\s*", cells[0]):
            if (folder / f"{name}.onnx").exists():
                yield from ((name, how) for how in ways(folder, name, cells[1]))


def ways(folder: Path, name: str, told: str) -> list[str]:
    data = folder / f"{name}.npz"
    given = f"--data {shlex.quote(str(data))}" if data.exists() else ""
    main = f"{given} --target macs=0.5"
    plain = told.replace("`", "")
    if plain.startswith("inspect"):
        return ["inspect"]
    if "FOLDER" in plain:
        return [f"--data {shlex.quote(str(folder / 'D8_ragged_folder'))} --target macs=0.5"]
    if plain.startswith("MAIN"):
        return [main + plain.removeprefix("MAIN")]
    if plain.startswith("defaults"):
        return [main]
    if plain.startswith("--data"):
        return [plain.replace("--data ...", given)]
    if plain.startswith("--criterion"):
        return [f"{given} --ratio 0.5 {plain}"]
    if "allow-inexact" in plain:
        return [L1, f"{L1} --allow-inexact"]
    extra = plain.removeprefix("L1").replace("with data", given)
    return [L1 + extra]


def run(folder: Path, name: str, how: str, limit: float) -> dict[str, object]:
    model = folder / f"{name}.onnx"
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "out.onnx"
        line = ["inspect", str(model), "--json"]
        if how != "inspect":
            line = ["compress", str(model), *shlex.split(how), "-o", str(out), "--json"]
        try:
            done = subprocess.run(
                [*PROGRAM, *line], capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return {"name": name, "how": how, "code": 124}
    told: dict[str, object] = {"name": name, "how": how, "code": done.returncode}
    if done.returncode:
        return {**told, "said": done.stderr.strip().splitlines()[-1][:200]}
    report = json.loads(done.stdout)
    if how == "inspect":
        return {**told, "macs": report["cost"]["macs"]}
    proof = report["proof"]
    kept = report["after"]["params"] / max(1, report["before"]["params"])
    return {**told, "kept": round(kept, 3), "proof": proof["passed"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--limit", type=float, default=300.0)
    options = parser.parse_args()
    codes = []
    for name, how in cases(options.folder.resolve()):
        if options.only in name:
            told = run(options.folder.resolve(), name, how, options.limit)
            codes.append(told["code"])
            shown = str(how).replace(str(options.folder.resolve()), "FOLDER")
            print(json.dumps({**told, "how": shown}), flush=True)
    bad = sum(code in (1, 5, 124) for code in codes)
    print(f"{len(codes)} runs, {bad} ended in an internal error, a failed proof or too late")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
