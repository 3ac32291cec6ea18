"""What the benchmarks share: the real data that lie beside a checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHARED = Path(__file__).resolve().parents[2] / "shared"
_FILES = {"train": "data_batch_1.bin", "test": "test_batch_first1017_lossless.bin"}

#: Preprocessing -> per-channel mean and standard deviation of pixels in 0 ... 1, NCHW.
_SCALES = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # the akamaster ResNets
    "cifar": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),  # the ViT
    "own": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),  # benchmarks/untouched/train.py
}


def cifar_images(
    which: str, preprocessing: str, n: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """CIFAR-10 images as a model takes them.

    Args:
        which: "train" (10,000 images, for calibration) or "test" (1,017 images, to report).
        preprocessing: "imagenet" or "cifar": pixels / 255, minus mean, by standard deviation,
            (n, 3, 32, 32); "raw": 0 ... 255, (n, 32, 32, 3).
        n: how many, from the first; None for all.

    Returns:
        The images and their labels (n,).
    """
    records = np.fromfile(SHARED / "data" / "cifar10" / _FILES[which], np.uint8).reshape(-1, 3073)
    records = records[:n]
    images = records[:, 1:].reshape(-1, 3, 32, 32)
    labels = records[:, 0].astype(np.int64)
    if preprocessing == "raw":
        return images.transpose(0, 2, 3, 1).astype(np.float32), labels
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in _SCALES[preprocessing])
    return (images.astype(np.float32) / np.float32(255) - mean) / std, labels
