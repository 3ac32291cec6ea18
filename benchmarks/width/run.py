"""The width of transformers: what is left at equal parameters, by way of cutting.

    python -m benchmarks.width.run [--budgets 0.7 0.5 0.35] [--criteria snacs random]
        [--by params | latency]

Trains a small transformer on the digits of scikit-learn (pre-norm, three layers, width 64), and
takes the CIFAR-10 transformer of the shared models where it lies beside the checkout.  `exact`
removes heads, head dimensions and hidden units alone, `refit` lets normalisations lose channels and
re-fits what reads them, `rotate` turns the stream into its principal components first.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.common import SHARED, cifar_images
from onnxslim_snacs import CompressConfig, DataConfig, SnacsError, compress
from onnxslim_snacs.judge.stopwatch import compare_latency
from onnxslim_snacs.model.session import SessionConfig

WIDTHS = ("exact", "refit", "rotate")


@dataclass(frozen=True)
class Case:
    name: str
    model: Path
    calibration: Path
    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def digits(folder: Path) -> Case:
    """A transformer over sixteen patches of 2 x 2 pixels, trained for about a minute."""
    import torch
    from sklearn.datasets import load_digits
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            n, t, c = x.shape
            parts = self.qkv(self.first(x)).reshape(n, t, 3, self.heads, c // self.heads)
            q, k, v = parts.permute(2, 0, 3, 1, 4)
            mixed = (q @ k.transpose(-1, -2) * (c // self.heads) ** -0.5).softmax(-1) @ v
            x = x + self.out(mixed.transpose(1, 2).reshape(n, t, c))
            return x + self.down(functional.gelu(self.up(self.second(x))))

    class Net(nn.Module):
        def __init__(self, width: int = 64, heads: int = 4, layers: int = 3) -> None:
            super().__init__()
            self.embed, self.place = nn.Linear(4, width), nn.Parameter(torch.zeros(1, 16, width))
            self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

        def forward(self, x: Any) -> Any:
            x = x.reshape(-1, 4, 2, 4, 2).permute(0, 1, 3, 2, 4).reshape(-1, 16, 4)
            x = self.embed(x) + self.place
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x).mean(1))

    torch.manual_seed(0)
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.images))
    images = (bunch.images[order] / 8 - 1).astype(np.float32)
    labels = bunch.target[order].astype(np.int64)
    train = slice(0, 1000)
    net = Net()
    steps = 1500
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps)
    x, y = torch.from_numpy(images[train]), torch.from_numpy(labels[train])
    for _ in range(steps):
        chosen = torch.randint(0, len(x), (64,))
        shift = torch.randint(-1, 2, (2,)).tolist()
        batch = torch.roll(x[chosen], shift, (1, 2))
        loss = functional.cross_entropy(net(batch), y[chosen], label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    path = folder / "digits_transformer.onnx"
    torch.onnx.export(
        net.eval(),
        (x[:2],),
        str(path),
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}},
        opset_version=17,
        dynamo=False,
    )
    calibration = folder / "digits.npz"
    np.savez(calibration, x=images[1000:1300])  # not trained on
    return Case("digits transformer", path, calibration, images[1300:], labels[1300:])


def cifar(folder: Path) -> Case:
    """The transformer of the shared models: calibrated on 1,000 images, judged on 1,017 others."""
    calibration = folder / "cifar.npy"
    np.save(calibration, cifar_images("train", "cifar", 1000)[0])
    images, labels = cifar_images("test", "cifar")
    model = SHARED / "models" / "cifar10_vit_pgd_2_3_16.onnx"
    return Case("CIFAR-10 ViT", model, calibration, images, labels)


def logits(model: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model)
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: part})[0] for part in np.array_split(images, 20)]
    return np.concatenate(parts)


def rows(
    case: Case, budgets: list[float], criteria: list[str], by: str
) -> Iterator[dict[str, Any]]:
    whole = case.model.read_bytes()
    wanted = logits(whole, case.images)
    base = float((wanted.argmax(1) == case.labels).mean())
    yield {"network": case.name, "width": "original", "params": 1.0, "top1": base, "agreement": 1.0}
    for budget in budgets:
        for criterion in criteria:
            for width in WIDTHS:
                yield row(case, wanted, (by, budget), criterion, width)


def row(
    case: Case, wanted: NDArray[np.float32], asked: tuple[str, float], criterion: str, width: str
) -> dict[str, Any]:
    import onnx

    told: dict[str, Any] = {"network": case.name, "width": width, "criterion": criterion}
    told["budget"] = "{} {:g}".format(*asked)
    config = CompressConfig(
        data=DataConfig(str(case.calibration)),
        target=dict([asked]),
        criterion=criterion,
        width=width,
    )
    try:
        done = compress(case.model, config)
    except SnacsError as error:
        return {**told, "refused": str(error)[:120]}
    got = logits(done.model.SerializeToString(), case.images)
    feeds = {done.model.graph.input[0].name: case.images[:1]}
    time = compare_latency(
        onnx.load(case.model), done.model, feeds, SessionConfig(), seconds=6.0
    ).ratio
    cost = done.report
    return {
        **told,
        "params": cost.after.params / cost.before.params,
        "macs": cost.after.macs / cost.before.macs,
        "latency": time,
        "top1": float((got.argmax(1) == case.labels).mean()),
        "agreement": float((got.argmax(1) == wanted.argmax(1)).mean()),
        "logit_error": float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.7, 0.5, 0.35])
    parser.add_argument("--criteria", nargs="+", default=["snacs-refit", "random"])
    parser.add_argument("--by", choices=("params", "latency"), default="params")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        cases = [digits(Path(name))]
        if SHARED.is_dir():
            cases.append(cifar(Path(name)))
        for case in cases:
            for told in rows(case, options.budgets, options.criteria, options.by):
                print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
