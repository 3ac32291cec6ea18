"""Pruning at initialisation: the bundled architecture with random weights, pruned, then trained.

Scores are taken before any training, with the labels of the training images (SNIP, GraSP), or at
random; what is left is trained, and so is the whole network, each by the same number of steps.

    python -m benchmarks.initialisation [--seeds 3] [--steps 600] [--shares ...] [--ways ...]
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch.nn import functional

from models.train_digits_resnet import BATCH, DigitsResNet, shifted, split_digits
from onnxslim_snacs.commands.compress import compress
from onnxslim_snacs.config import CompressConfig, DataConfig
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.torch_graph.network import Network, open_network, run

SHARES = (0.5, 0.25, 0.1)
#: Name -> criterion and its options.
WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "snip": ("snip", {"loss": "labels"}),
    "snip, by weight": ("snip", {"loss": "labels", "per": "weight"}),
    "snip, gates": ("snip", {"loss": "labels", "form": "gate"}),
    "grasp": ("grasp", {"loss": "labels"}),
    "l1": ("l1", {}),
    "random": ("random", {}),
}
RATE, LENGTH = 3e-3, 1.0


def fresh(seed: int, images: torch.Tensor, path: Path) -> None:
    """Write the architecture with random weights, its batch statistics those of the images."""
    torch.manual_seed(seed)
    model = DigitsResNet()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    model.train()
    with torch.no_grad():
        model(images)
    torch.onnx.export(
        model.eval(),
        (torch.zeros(1, 1, 8, 8),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        opset_version=17,
        dynamo=False,
    )


def trained(model: ModelProto, splits: Any, steps: int, seed: int) -> float:
    """Per cent of the test images that are right after training."""
    network = open_network(ModelGraph(model))
    images, labels = (torch.from_numpy(a) for a in splits["train"])
    generator = torch.Generator().manual_seed(seed)
    values = list(network.parameters.values())
    optimizer = torch.optim.AdamW(values, lr=RATE, weight_decay=1e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 + math.cos(math.pi * step / steps)) / 2
        chosen = torch.randint(0, len(images), (BATCH,), generator=generator)
        logits = answer(network, shifted(images[chosen], generator))
        loss = functional.cross_entropy(logits, labels[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(values, LENGTH)
        optimizer.step()
    tested, classes = splits["test"]
    with torch.no_grad():
        right = answer(network, torch.from_numpy(tested)).argmax(1).numpy() == classes
    return 100.0 * float(right.mean())


def answer(network: Network, images: torch.Tensor) -> torch.Tensor:
    """(n, 10) logits."""
    return run(network, {"image": images}).outputs["logits"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    splits = split_digits()
    found: dict[tuple[str, float], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        data, whole = Path(name, "train.npz"), Path(name, "whole.onnx")
        np.savez(data, image=splits["train"][0], labels=splits["train"][1])
        for seed in range(given.seeds):
            fresh(seed, torch.from_numpy(splits["train"][0]), whole)
            model = compressed(whole, data, "whole", 1.0, seed)
            note(found, "whole", 1.0, trained(model, splits, given.steps, seed))
            for share in given.shares:
                for way in given.ways:
                    cut = compressed(whole, data, way, share, seed)
                    note(found, way, share, trained(cut, splits, given.steps, seed))
    heads = (f"{share:.0%} of the weights" for share in given.shares)
    print("| pruned by | " + " | ".join(heads) + " |")
    print("|---|" + "---|" * len(given.shares))
    print(f"| nothing: {told(found['whole', 1.0])} |" + " |" * len(given.shares))
    for way in given.ways:
        print(f"| {way} | " + " | ".join(told(found[way, share]) for share in given.shares) + " |")


def compressed(whole: Path, data: Path, way: str, share: float, seed: int) -> ModelProto:
    """The network with so much of its weights, one threshold on the scores of all units."""
    if way == "whole":
        return onnx.load(whole)
    criterion, options = WAYS[way]
    config = CompressConfig(
        data=DataConfig(str(data)),
        target={"params": share},
        criterion=criterion,
        options=options,
        allocation="scores",
        recover="none",
        tries=0,
        seed=seed,
    )
    return compress(whole, config).model


def note(found: dict[tuple[str, float], list[float]], way: str, share: float, top1: float) -> None:
    found.setdefault((way, share), []).append(top1)
    print(f"{way} {share:g}: {top1:.2f}", flush=True)


def told(values: list[float]) -> str:
    return f"{np.mean(values):.1f} ({min(values):.1f} - {max(values):.1f})"


if __name__ == "__main__":
    main()
