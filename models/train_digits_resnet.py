"""Train the bundled model: a small residual network on scikit-learn's 8x8 digits.

    python models/train_digits_resnet.py

writes beside itself digits_resnet.onnx, digits_calibration.npz and digits_test.npz.  The network
never sees the calibration and the test images.  Half a minute on one core.  The seed is fixed, but
other versions of PyTorch and other processors round differently, so that the weights may differ
in the last digits (README.md has the checksums of the files that are bundled).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
SEED = 0
EPOCHS = 40
BATCH = 64
WIDTHS = (16, 32, 64)
CALIBRATION = TEST = 400

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class DigitsResNet(nn.Module):
    """Three stages of one block each, global average pooling, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        first, *others = WIDTHS
        self.stem = nn.Sequential(
            nn.Conv2d(1, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU()
        )
        blocks = [Block(first, first, 1)]
        for inputs, outputs in zip(WIDTHS, others, strict=False):
            blocks.append(Block(inputs, outputs, 2))
        self.stages = nn.Sequential(*blocks)
        self.classifier = nn.Linear(WIDTHS[-1], 10)

    def forward(self, image: Tensor) -> Tensor:
        """(n, 1, 8, 8) images in 0..1 -> (n, 10) logits."""
        logits: Tensor = self.classifier(self.stages(self.stem(image)).mean((2, 3)))
        return logits


def split_digits() -> dict[str, tuple[FloatArray, IntArray]]:
    """Images (n, 1, 8, 8) in 0..1 and labels (n,) of the three splits, in a seeded order."""
    bunch = load_digits()
    order = np.random.default_rng(SEED).permutation(len(bunch.target))
    images = (bunch.images[order, None] / 16).astype(np.float32)
    labels = bunch.target[order].astype(np.int64)
    ends = np.cumsum([0, CALIBRATION, TEST, len(order) - CALIBRATION - TEST])
    return {
        name: (images[start:stop], labels[start:stop])
        for name, start, stop in zip(
            ("calibration", "test", "train"), ends[:-1], ends[1:], strict=True
        )
    }


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to one pixel in each direction."""
    n = len(images)
    padded = functional.pad(images, (1, 1, 1, 1))
    rows = torch.randint(0, 3, (n, 1, 1), generator=generator) + torch.arange(8)[:, None]
    columns = torch.randint(0, 3, (n, 1, 1), generator=generator) + torch.arange(8)
    return padded[torch.arange(n)[:, None, None], 0, rows, columns][:, None]


def train(images: Tensor, labels: Tensor) -> DigitsResNet:
    """SGD with a cosine schedule."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    model = DigitsResNet()
    steps = EPOCHS * (len(images) // BATCH)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        for batch in order[: len(order) // BATCH * BATCH].split(BATCH):
            loss = functional.cross_entropy(
                model(shifted(images[batch], generator)), labels[batch], label_smoothing=0.05
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def main() -> None:
    """Train, save, and say how well it does."""
    torch.set_num_threads(1)  # results depend on how sums are shared out to threads
    torch.use_deterministic_algorithms(True)
    splits = split_digits()
    model = train(*(torch.from_numpy(a) for a in splits["train"]))
    for name in ("calibration", "test"):
        images, labels = splits[name]
        np.savez_compressed(HERE / f"digits_{name}.npz", image=images, labels=labels)
        with torch.no_grad():
            right = (model(torch.from_numpy(images)).argmax(1).numpy() == labels).mean()
        print(f"{name}: {100 * right:.2f} % of {len(labels)} images")
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    torch.onnx.export(
        model,
        (torch.zeros(1, 1, 8, 8),),
        str(HERE / "digits_resnet.onnx"),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        opset_version=17,
        dynamo=False,
    )


if __name__ == "__main__":
    main()
