"""One run in a process of its own: the plain forward pass, or `compress`, stage by stage.

    python -m benchmarks.speed.stages plain|whole MODEL DATA.npz THREADS [recover]

Prints seconds, CPU seconds (summed over threads: they tell what is due to other work on the
machine) and peak memory as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping, Sequence
from time import perf_counter, process_time
from typing import Any

import numpy as np

BATCH = 32


def plain(model: str, data: str, threads: int) -> dict[str, float]:
    """The model over all images, nothing else."""
    from pathlib import Path

    from onnxslim_snacs.model.load import load_model
    from onnxslim_snacs.model.session import SessionConfig, create_session

    with np.load(data) as arrays:
        name, images = next(iter(arrays.items()))
    session = create_session(load_model(Path(model)).proto, SessionConfig(threads=threads))
    fixed = session.get_inputs()[0].shape[0]
    size = fixed if isinstance(fixed, int) else BATCH
    session.run(None, {name: images[:size]})
    wall, cpu = perf_counter(), process_time()
    for start in range(0, len(images), size):
        session.run(None, {name: images[start : start + size]})
    return {"total": perf_counter() - wall, "cpu": process_time() - cpu}


def whole(model: str, data: str, threads: int, recover: str = "auto") -> dict[str, float]:
    """`compress`, by stage, in a process that keeps its pages as that of the command does."""
    from onnxslim_snacs.commands.compress import compress
    from onnxslim_snacs.config import CompressConfig, DataConfig
    from onnxslim_snacs.model.pages import keep_pages

    keep_pages()
    ran = running()
    wall, cpu = perf_counter(), process_time()
    config = CompressConfig(
        data=DataConfig(data), target={"macs": 0.5}, threads=threads, recover=recover
    )
    report = compress(model, config).report
    total = {"total": perf_counter() - wall, "cpu": process_time() - cpu}
    return {**total, "in ONNX Runtime": ran["seconds"], **report.timings}


def running() -> dict[str, float]:
    """Seconds that sessions run from now on, whoever asks for it."""
    from onnxslim_snacs.model.session import Session

    plain_run, ran = Session.run, {"seconds": 0.0}

    def run(session: Session, names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[Any]:
        start = perf_counter()
        found = plain_run(session, names, feeds)
        ran["seconds"] += perf_counter() - start
        return found

    Session.run = run  # type: ignore[method-assign]
    return ran


def main() -> None:
    what, model, data, threads, *rest = sys.argv[1:]
    if what == "plain":
        found = plain(model, data, int(threads))
    else:
        found = whole(model, data, int(threads), *rest)
    found["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main()
