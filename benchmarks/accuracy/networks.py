"""The networks of the benchmark, with images to calibrate on and images to report on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

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
        labels: (test,) their classes; None for images of another kind than the network is made for,
            on which only agreement can be told.
        unseen: more images that compression has not seen, for agreement with the original; the
            networks were trained on some of them, so that accuracy would say nothing there.
    """

    calibration: Images
    test: Images
    labels: NDArray[np.int64] | None
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

    @property
    def given(self) -> str:
        """The name of its input; old files list their weights among the inputs."""
        graph = onnx.load(self.path).graph
        weights = {tensor.name for tensor in graph.initializer}
        return next(value.name for value in graph.input if value.name not in weights)


def cifar_samples(preprocessing: str) -> Callable[[], Samples]:
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


def _resized(
    height: int, width: int, layout: str, dtype: str, count: int = CALIBRATION
) -> Callable[[], Samples]:
    """CIFAR-10 images as images of any kind, for networks whose own images are not at hand.

    Args:
        height: of the images.
        width: of the images.
        layout: "NCHW", "NHWC", or "N1HW" for their brightness.
        dtype: "float32" and "float16" are pixels / 255, "int8" pixels - 128.
        count: of calibration images, and of others.
    """

    def prepare(images: Images) -> Any:
        resized = np.stack([
            np.asarray(Image.fromarray(x.astype(np.uint8)).resize((width, height))) for x in images
        ])  # fmt: skip
        if layout == "N1HW":
            resized = resized.mean(axis=3, keepdims=True)
        if layout != "NHWC":
            resized = resized.transpose(0, 3, 1, 2)
        scaled = resized / 255 if "float" in dtype else resized - 128.0
        return scaled.astype(dtype)

    def read() -> Samples:
        train, _ = cifar_images("train", "raw", 2 * count)
        test, _ = cifar_images("test", "raw", count)
        return Samples(prepare(train[:count]), prepare(test), None, prepare(train[count:]))

    return read


def _noise(shape: tuple[int, ...], scale: float) -> Callable[[], Samples]:
    """Noise, for networks that take sound."""

    def read() -> Samples:
        drawn = np.random.default_rng(0).standard_normal((3000, *shape), np.float32) * scale
        return Samples(drawn[:1000], drawn[1000:2000], None, drawn[2000:])

    return read


def _text() -> Samples:
    """Pieces of this project's own sources, as bytes."""
    sources = b"".join(path.read_bytes() for path in sorted(BUNDLED.parent.rglob("*.py")))
    starts = np.random.default_rng(0).integers(0, len(sources) - 4096, 1600)
    flat = np.frombuffer(sources, np.uint8)
    pieces: Any = flat[starts[:, None] + np.arange(4096)].astype(np.int32)
    return Samples(pieces[:800], pieces[800:1200], None, pieces[1200:])


def _shared(name: str) -> Path:
    return SHARED / "models" / f"{name}.onnx"


NETWORKS = {
    network.name: network
    for network in (
        Network(
            "ResNet-56", _shared("cifar10_akamaster_resnet56_ts17_bn"), cifar_samples("imagenet")
        ),
        Network(
            "ResNet-56 folded",
            _shared("cifar10_akamaster_resnet56_ts11"),
            cifar_samples("imagenet"),
        ),
        Network(
            "ResNet-20", _shared("cifar10_akamaster_resnet20_ts17_bn"), cifar_samples("imagenet")
        ),
        Network(
            "ResNet-20 dynamo",
            _shared("cifar10_akamaster_resnet20_dynamo20"),
            cifar_samples("imagenet"),
        ),
        Network("ResNet-8", _shared("mlctiny_pretrainedResnet_keras_op15"), cifar_samples("raw")),
        Network("ViT", _shared("cifar10_vit_pgd_2_3_16"), cifar_samples("cifar")),
        Network("bundled digits", BUNDLED / "digits_resnet.onnx", _digits),
    )
}
#: Classifiers whose own samples are not at hand: for the automatic decision, which is held against
#: what the original says about whatever it is given.
STAND_INS = {
    name: Network(name, _shared(file), samples)
    for name, file, samples in (
        ("MNIST (CNTK)", "mnist_cntk_winml", _resized(28, 28, "N1HW", "float32")),
        ("MNIST (rten)", "mnist_rten", _resized(28, 28, "N1HW", "float32")),
        ("traffic signs", "gtsrb_bnn_48", _resized(48, 48, "NHWC", "float32")),
        ("wake words, seen", "mlctiny_vww_96_keras_op15", _resized(96, 96, "NHWC", "float32")),
        ("the same in int8", "mlctiny_vww_96_int8_tflite", _resized(96, 96, "NHWC", "int8")),
        (
            "text direction",
            "ocr_ch_ppocr_mobile_v20_cls_infer",
            _resized(48, 192, "NCHW", "float32"),
        ),
        ("SqueezeNet", "squeezenet_fp16_winml", _resized(224, 224, "NCHW", "float16", 192)),
        ("keywords", "mlctiny_kws_ref_model_float32_tflite", _noise((49, 10, 1), 10.0)),
        ("wake words, heard", "mlctiny_str_ww_ref_model_keras_op15", _noise((30, 1, 40), 1.0)),
        ("file types", "text_magika_standard_v2_1", _text),
        ("trees", "tract_xgb_classifier", _noise((13,), 1.0)),
    )
}
