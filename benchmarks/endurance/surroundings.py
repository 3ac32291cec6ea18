"""The same plan wherever and on however many threads it is made."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.endurance.setting import COMMAND, ENVIRONMENT

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
