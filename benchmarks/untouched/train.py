"""Three networks that no constant of this project was tuned to, trained on 10,000 labelled images.

    python -m benchmarks.untouched.train ../shared/data/cifar10 OUT [--epochs 12] [--only vgg]

A VGG-like, a MobileNetV2-like and a small vision transformer, small enough that one core trains
each in minutes; each goes to OUT/NAME.onnx with its accuracy on the test images beside it.
Everything is seeded; a run that was ended goes on after its last epoch.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

RECORD = 3073
MEAN, SPREAD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def images(path: Path) -> tuple[Tensor, Tensor]:
    """((image, channel, row, column), label), images centred and scaled."""
    raw = np.fromfile(path, np.uint8).reshape(-1, RECORD)
    pixels = raw[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255
    centred = (pixels - np.array(MEAN, np.float32)[:, None, None]) / np.array(SPREAD, np.float32)[
        :, None, None
    ]
    return torch.from_numpy(centred), torch.from_numpy(raw[:, 0].astype(np.int64))


def conv(
    before: int, after: int, size: int = 3, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution and its normalisation."""
    layer = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(after)]


def vgg() -> nn.Module:
    """Seven convolutions in four sizes, two dense layers."""
    parts: list[nn.Module] = []
    before = 3
    for width, count in ((16, 2), (32, 2), (64, 2), (96, 1)):
        for _ in range(count):
            parts += [*conv(before, width), nn.ReLU()]
            before = width
        parts.append(nn.MaxPool2d(2))
    head = [nn.Flatten(), nn.Linear(384, 96), nn.ReLU(), nn.Linear(96, 10)]
    return nn.Sequential(*parts, *head)


class Inverted(nn.Module):
    """An inverted residual: wide, by channel, narrow."""

    def __init__(self, before: int, after: int, stride: int, factor: int) -> None:
        super().__init__()
        wide = before * factor
        self.body = nn.Sequential(
            *conv(before, wide, 1),
            nn.ReLU6(),
            *conv(wide, wide, 3, stride, wide),
            nn.ReLU6(),
            *conv(wide, after, 1),
        )
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """(image, channel, row, column)."""
        made: Tensor = self.body(x)
        return x + made if self.adds else made


def mobile() -> nn.Module:
    """Nine inverted residuals in two sizes."""
    parts: list[nn.Module] = [*conv(3, 32, 3, 2), nn.ReLU6()]
    before = 32
    for width, count, stride, factor in ((24, 3, 1, 3), (40, 3, 2, 4), (64, 3, 1, 4)):
        for number in range(count):
            parts.append(Inverted(before, width, stride if number == 0 else 1, factor))
            before = width
    head = [*conv(before, 160, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*parts, *head, nn.Linear(160, 10))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.packed, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(image, token, channel)."""
        count, tokens, width = x.shape
        packed = self.packed(self.first(x)).reshape(count, tokens, 3, self.heads, -1)
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(count, tokens, width))
        made: Tensor = self.mlp(self.second(x))
        return x + made


class Transformer(nn.Module):
    """Three blocks behind two convolutions (Xiao et al. 2021); the mean of the tokens is read."""

    def __init__(self, width: int = 64, blocks: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.patch = nn.Sequential(*conv(3, 32, 3, 2), nn.GELU(), nn.Conv2d(32, width, 3, 2, 1))
        self.places = nn.Parameter(torch.zeros(1, 64, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(image, channel, row, column)."""
        tokens = self.patch(x).flatten(2).transpose(1, 2) + self.places
        answers: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return answers


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vgg": vgg,
    "mobile": mobile,
    "vit": Transformer,
}


def moved(batch: Tensor, draw: torch.Generator) -> Tensor:
    """Images flipped and shifted by up to four pixels."""
    flip = torch.rand(len(batch), generator=draw) < 0.5
    batch = torch.where(flip[:, None, None, None], batch.flip(3), batch)
    padded = functional.pad(batch, (4, 4, 4, 4), mode="reflect")
    rows, columns = torch.randint(0, 9, (2, len(batch)), generator=draw)
    down = rows[:, None] + torch.arange(32)
    right = columns[:, None] + torch.arange(32)
    numbers = torch.arange(len(batch))[:, None, None]
    return padded.permute(0, 2, 3, 1)[numbers, down[:, :, None], right[:, None, :]].permute(
        0, 3, 1, 2
    )


def train(net: nn.Module, x: Tensor, y: Tensor, epochs: int, note: Path, batch: int = 64) -> None:
    """AdamW, one cycle, smoothed labels; goes on from what was noted after the last epoch."""
    draw = torch.Generator().manual_seed(0)
    each = len(x) // batch
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.02)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * each)
    parts = {"net": net, "optimizer": optimizer, "pace": pace}
    begin = 0
    if note.exists():
        state = torch.load(note)
        begin = state["epoch"]
        draw.set_state(state["draw"])
        for name, part in parts.items():
            part.load_state_dict(state[name])
    net.train().to(memory_format=torch.channels_last)
    for epoch in range(begin, epochs):
        order = torch.randperm(len(x), generator=draw).split(batch)[:each]
        total = 0.0
        for chosen in order:
            shown = moved(x[chosen], draw).contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(net(shown), y[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pace.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1}/{epochs}: loss {total / len(order):.3f}", flush=True)
        states = {name: part.state_dict() for name, part in parts.items()}
        torch.save({"epoch": epoch + 1, "draw": draw.get_state(), **states}, note)


def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of right answers."""
    net.eval().to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        said = torch.cat([net(part).argmax(1) for part in x.split(200)])
    return float((said == y).float().mean())


def main() -> None:
    """Train, export, note."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--only", choices=list(NETWORKS))
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.set_flush_denormal(True)
    asked.out.mkdir(parents=True, exist_ok=True)
    x, y = images(asked.data / "data_batch_1.bin")
    test = images(asked.data / "test_batch_first1017_lossless.bin")
    for name in [asked.only] if asked.only else NETWORKS:
        torch.manual_seed(0)
        net = NETWORKS[name]()
        place = asked.out / f"{name}.onnx"
        train(net, x, y, asked.epochs, place.with_suffix(".pt"))
        right = accuracy(net, *test)
        torch.onnx.export(
            net,
            (x[:2],),
            place,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
            dynamo=False,
        )
        params = sum(p.numel() for p in net.parameters())
        note = {"top1": right, "images": len(test[1]), "params": params, "epochs": asked.epochs}
        place.with_suffix(".json").write_text(json.dumps(note) + "\n")
        print(name, note, flush=True)


if __name__ == "__main__":
    main()
