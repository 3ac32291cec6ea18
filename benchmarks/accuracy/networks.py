"""The networks of the benchmark, with images to calibrate on and images to report on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import SHARED, cifar_images

BUNDLED = Path(__file__).resolve().parents[2] / "models"
#: CIFAR-10 images for calibration, and those beyond them on which agreement is taken.
CALIBRATION, UNSEEN = 1000, 5000

Images = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Samples:
    """What a network is calibrated on and judged by.

    Attributes:
        calibration: the only images that compression sees.
        test: images with labels, for accuracy.
        labels: (test,) their classes.
        unseen: more images that compression has not seen, for agreement with the original; the
            networks were trained on some of them, so that accuracy would say nothing there.
    """

    calibration: Images
    test: Images
    labels: NDArray[np.int64]
    unseen: Images


@dataclass(frozen=True, slots=True)
class Network:
    """One network.

    Attributes:
        name: how the table calls it.
        path: the file.
        samples: reads its images.
    """

    name: str
    path: Path
    samples: Callable[[], Samples]


def _cifar(preprocessing: str) -> Callable[[], Samples]:
    def read() -> Samples:
        train, _ = cifar_images("train", preprocessing, UNSEEN)
        test, labels = cifar_images("test", preprocessing)
        return Samples(train[:CALIBRATION], test, labels, train[CALIBRATION:])

    return read


def _digits() -> Samples:
    def arrays(which: str) -> Any:
        return np.load(BUNDLED / f"digits_{which}.npz")

    test = arrays("test")
    return Samples(arrays("calibration")["image"], test["image"], test["labels"], test["image"])


def _shared(name: str) -> Path:
    return SHARED / "models" / f"{name}.onnx"


NETWORKS = {
    network.name: network
    for network in (
        Network("ResNet-56", _shared("cifar10_akamaster_resnet56_ts17_bn"), _cifar("imagenet")),
        Network("ResNet-56 folded", _shared("cifar10_akamaster_resnet56_ts11"), _cifar("imagenet")),
        Network("ResNet-20", _shared("cifar10_akamaster_resnet20_ts17_bn"), _cifar("imagenet")),
        Network(
            "ResNet-20 dynamo", _shared("cifar10_akamaster_resnet20_dynamo20"), _cifar("imagenet")
        ),
        Network("ResNet-8", _shared("mlctiny_pretrainedResnet_keras_op15"), _cifar("raw")),
        Network("ViT", _shared("cifar10_vit_pgd_2_3_16"), _cifar("cifar")),
        Network("bundled digits", BUNDLED / "digits_resnet.onnx", _digits),
    )
}
