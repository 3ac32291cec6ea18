"""Sparse training (OTO) beside channel pruning and fine-tuning, at the same multiply-accumulates.

Both take the same samples and the same number of steps: `finetune --sparse SHARE` drives units to
zero and removes them; `compress --target macs=SHARE` cuts and re-fits, then `finetune` trains what
is left.  Accuracy is that on images that neither has seen.

    python -m benchmarks.sparse MODEL DATA.npz TEST.npz [--shares 0.5] [--steps 300]

DATA and TEST hold images under the name of the model's input, TEST also `labels`.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.commands.finetune import finetune
from onnxslim_snacs.config import CompressConfig, DataConfig, FinetuneConfig
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.plan.cost import cost_model

BATCH = 100


def top1(model: ModelProto, tested: Any) -> float:
    """Per cent of the test images that are right."""
    session = create_session(model, SessionConfig())
    name = session.get_inputs()[0].name
    images, labels = tested[name], tested["labels"]
    parts = [
        session.run(None, {name: images[k : k + BATCH]})[0] for k in range(0, len(images), BATCH)
    ]
    return 100.0 * float((np.concatenate(parts).argmax(1) == labels).mean())


def macs(model: ModelProto) -> int:
    """Multiply-accumulates for one sample."""
    return cost_model(analyse(ModelGraph(model))).cost(KeepMap({})).macs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--augment", default="flip,shift,mix")
    given = parser.parse_args()
    whole = onnx.load(given.model)
    tested, work = np.load(given.test), macs(whole)
    print(f"original: {top1(whole, tested):.2f} % of {len(tested['labels'])}")
    print(
        "| way | MACs | top-1 | units that came to zero | outputs apart from those with the zeros |"
    )
    print("|---|---|---|---|---|")
    training = FinetuneConfig(
        data=DataConfig(str(given.data)),
        steps=given.steps,
        rate=given.rate,
        augment=tuple(given.augment.split(",")),
    )
    for share in given.shares:
        compare(given.model, training, share, tested, work)


def compare(path: Path, training: FinetuneConfig, share: float, tested: Any, work: int) -> None:
    """Print the rows of one share."""

    model, report = finetune(path, path, replace(training, sparse=share))
    removed = report.removed
    assert removed is not None
    gone = sum(removed.units.values())
    row = f"| finetune --sparse {share:g} | {macs(model) / work:.3f} | {top1(model, tested):.2f} "
    print(f"{row}| {gone} of {len(removed.units)} groups | {removed.difference:.1e} |", flush=True)
    with tempfile.TemporaryDirectory() as name:
        cut = Path(name, "cut.onnx")
        config = CompressConfig(data=training.data, target={"macs": share}, tries=0)
        made = compress(path, config, out=cut).model
        print(f"| compress {share:g} | {macs(made) / work:.3f} | {top1(made, tested):.2f} | | |")
        made, _ = finetune(cut, path, training)
    print(f"| and finetune | {macs(made) / work:.3f} | {top1(made, tested):.2f} | | |", flush=True)


if __name__ == "__main__":
    main()
