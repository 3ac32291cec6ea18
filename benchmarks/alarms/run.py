"""Cuts at random: does the proof ever blame a cut that is right?

    python -m benchmarks.alarms.run DIR_OR_FILE ... --out RESULT_DIR [--seeds 300] [--limit SECONDS]
        [--skip NAME ...] [--readme README.md]

Run k is `compress MODEL --ratio R --criterion C --seed k`: models in turn, R one of 0.1 ... 0.9, C
random channels in two of three runs and L1 norms in the third, without recovery but for every
fourth run.  Each is a process of its own.  What RESULT_DIR/runs.json holds is not run again.  Exit
codes 0, 3 and 4 are right; 5 is a false alarm, and anything else a fault: the sweep ends with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and ONNX Runtime are there
os.environ["COLUMNS"] = "400"

import numpy as np
import onnxruntime  # noqa: F401

from benchmarks.children import child
from benchmarks.hints import HINTS, Hint
from benchmarks.marked import put_into
from onnxslim_snacs.cli.app import run as run_command

ACCEPTED = (0, 3, 4)
MEANINGS = {
    0: "cut, proved, written",
    3: "refused",
    4: "nothing to cut",
    5: "**false alarm**",
    "time": "no result within the limit",
}


def main() -> None:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    saved = options.out / "runs.json"
    rows: dict[str, Any] = json.loads(saved.read_text()) if saved.exists() else {}
    files = [f for p in options.paths for f in (sorted(p.glob("*.onnx")) if p.is_dir() else [p])]
    files = [f for f in files if f.stem not in options.skip]
    for seed in range(options.seeds):
        if str(seed) in rows:
            continue
        row = run(files[seed % len(files)], seed, options.limit)
        rows[str(seed)] = row
        print(
            f"{seed} {' '.join(row['command'])}: {row['exit']} {row['message'][:160]}", flush=True
        )
        saved.write_text(json.dumps(rows, indent=1))
    table = markdown(list(rows.values()))
    if options.readme:
        put_into(options.readme, "table", table)
    print(table)
    sys.exit(any(row["exit"] not in ACCEPTED for row in rows.values()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--limit", type=float, default=120.0)
    parser.add_argument("--skip", nargs="*", default=[])
    parser.add_argument("--readme", type=Path)
    return parser.parse_args()


def run(path: Path, seed: int, limit: float) -> dict[str, Any]:
    """One cut at random."""
    ratio = float(np.random.default_rng(seed).integers(1, 10)) / 10
    hint = HINTS.get(path.stem, Hint())
    asked = ["--ratio", f"{ratio:.1f}", "--seed", str(seed)]
    asked += ["--criterion", "l1" if seed % 3 == 2 else "random"]
    asked += [] if seed % 4 == 3 else ["--recover", "none"]
    for name, shape in hint.shapes.items():
        asked += ["--input-shape", f"{name}={','.join(map(str, shape))}"]
    with tempfile.TemporaryDirectory() as folder:
        out, report = Path(folder) / "out.onnx", Path(folder) / "report.json"
        command = ["compress", str(path), *asked, "-o", str(out), "--report", str(report)]
        row = child(lambda: run_command(command), limit)
        if row["exit"] == 0:
            proof = json.loads(report.read_text())["proof"]
            row.update({k: proof[k] for k in ("max_rel_diff", "noise", "tolerance") if k in proof})
            row["message"] = ""
    return {"file": path.stem, "command": [path.stem, *asked], **row}


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """How many runs ended how, and each that was neither right nor a refusal."""
    lines = [
        f"{len(rows)} runs on {len({row['file'] for row in rows})} files.",
        "",
        "| exit code | meaning | runs |",
        "|---|---|---|",
    ]
    for code, count in sorted(Counter(r["exit"] for r in rows).items(), key=lambda i: str(i[0])):
        lines.append(f"| {code} | {MEANINGS.get(code, '**fault**')} | {count} |")
    differences = [r["max_rel_diff"] / r["tolerance"] for r in rows if r.get("tolerance")]
    if differences:
        lines += ["", f"Largest difference as a share of what was allowed: {max(differences):.2g}."]
    wrong = [r for r in rows if r["exit"] not in ACCEPTED]
    if wrong:
        lines += ["", "| run | exit code | said |", "|---|---|---|"]
    for row in wrong:
        said = row["message"].replace("|", "/")[:300]
        lines.append(f"| {' '.join(row['command'])} | {row['exit']} | {said} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
