"""Whole blocks of ResNet-56 on CIFAR-10: what they cost, alone and beside channels.

    python -m benchmarks.blocks.run removal [--orders error energy correlation] [--drops 4 8 12]
    python -m benchmarks.blocks.run together [--target macs=0.6]

`removal` drops so many of the 27 residual branches, and compares the rest with the original with
and without re-fitted layers.  `together` meets a budget by channels alone and by blocks and
channels; of a latency the two results are timed beside the original in alternating runs.  1,000
training images without labels; reported are the 1,017 test images.  One JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.common import SHARED, cifar_images
from onnxslim_snacs import CompressConfig, DataConfig, compress
from onnxslim_snacs.judge.stopwatch import compare_latency
from onnxslim_snacs.model.session import SessionConfig, create_session

MODEL = SHARED / "models" / "cifar10_akamaster_resnet56_ts11.onnx"
CALIBRATION = 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["removal", "together"])
    parser.add_argument("--orders", nargs="+", default=["error", "energy", "correlation"])
    parser.add_argument("--drops", nargs="+", type=int, default=[4, 8, 12])
    parser.add_argument("--target", default="macs=0.6")
    parser.add_argument("--model", type=Path, default=MODEL)
    options = parser.parse_args()
    images, _ = cifar_images("train", "imagenet", CALIBRATION)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calibration.npz"
        np.savez(path, **{given(onnx.load(options.model)): images})
        runs = removal if options.what == "removal" else together
        for row in runs(options, CompressConfig(data=DataConfig(str(path)), blocks=True)):
            print(json.dumps(row), flush=True)


def removal(options: argparse.Namespace, config: CompressConfig) -> Iterator[dict[str, Any]]:
    for order in options.orders:
        for drop in options.drops:
            for recover in ("none", "auto"):
                asked = replace(
                    config,
                    criterion="l1",
                    ratio=0.0,
                    drop=drop,
                    block_order=order,
                    recover=recover,
                )
                yield {"order": order, "recover": recover, **told(options, asked)}


def together(options: argparse.Namespace, config: CompressConfig) -> Iterator[dict[str, Any]]:
    name, share = options.target.split("=")
    for blocks in (False, True):
        asked = replace(config, target={name: float(share)}, blocks=blocks)
        yield {"target": options.target, "blocks": blocks, **told(options, asked)}


def told(options: argparse.Namespace, config: CompressConfig) -> dict[str, Any]:
    start = perf_counter()
    done = compress(options.model, config)
    seconds = perf_counter() - start
    images, labels = cifar_images("test", "imagenet")
    before, after = (answers(m, images) for m in (onnx.load(options.model), done.model))
    dropped = done.report.dropped
    feeds = {given(done.model): images[:1]}
    time = compare_latency(onnx.load(options.model), done.model, feeds, SessionConfig())
    return {
        "dropped": 0 if dropped is None else len(dropped.blocks),
        "ends": [] if dropped is None else [end for end, _ in dropped.blocks],
        "tried": [] if dropped is None else dropped.tried,
        "macs": done.report.after.macs / done.report.before.macs,
        "latency": time.ratio,
        "original": float((before == labels).mean()),
        "top1": float((after == labels).mean()),
        "agreement": float((after == before).mean()),
        "seconds": seconds,
    }


def answers(model: onnx.ModelProto, images: NDArray[np.float32]) -> NDArray[np.int64]:
    session = create_session(model, SessionConfig())
    name = given(model)
    parts = [session.run(None, {name: images[k : k + 128]})[0] for k in range(0, len(images), 128)]
    found: NDArray[np.int64] = np.concatenate(parts).argmax(axis=1)
    return found


def given(model: onnx.ModelProto) -> str:
    stored = {tensor.name for tensor in model.graph.initializer}
    return next(value.name for value in model.graph.input if value.name not in stored)


if __name__ == "__main__":
    main()
