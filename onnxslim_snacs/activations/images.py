"""A folder of images as samples of a model with one image input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.arrays import Rows
from onnxslim_snacs.activations.inputs import LABELS, InputSpec
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.errors import InputRefused, LimitExceeded, UsageError, foreign

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"})
#: What Pillow may take a file for, whatever its name; it starts Ghostscript on PostScript.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
#: The border of a letterbox.
_GREY = 114
#: Pixels of one image: where Pillow itself begins to warn of a decompression bomb.
MAX_PIXELS = 89_478_485


@dataclass(frozen=True)
class ImageTable:
    """Images, decoded when they are asked for.

    Attributes:
        paths: the files.
        spec: the model's input.
        size: height and width to which they are resized, bilinearly.
        mean: (channel,) subtracted from values in 0 ... 1.
        std: (channel,) by which they are then divided.
        channels_last: whether the channel is the last dimension.
        fit: how images of another shape are brought to the size, see `config.FITS`.
        bgr: whether blue is the first channel.
        labels: (image,) numbers of classes, if they are known.
    """

    paths: tuple[Path, ...]
    spec: InputSpec
    size: tuple[int, int]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    channels_last: bool
    fit: str = "stretch"
    bgr: bool = False
    labels: NDArray[np.int64] | None = None
    whole: bool = False

    @property
    def length(self) -> int:
        """Number of images."""
        return len(self.paths)

    @property
    def names(self) -> frozenset[str]:
        """The name of the input, and that of the labels if there are any."""
        return frozenset({self.spec.name, *(() if self.labels is None else (LABELS,))})

    @property
    def is_plain(self) -> bool:
        """Whether values are taken as 0 ... 1, since nobody has said what the model wants."""
        whole = self.spec.dtype.kind in "iu"
        return not whole and not self.mean.any() and bool((self.std == 1).all())

    @property
    def seeks(self) -> bool:
        """Each image is a file."""
        return True

    def alike(self, rows: Rows) -> Sequence[Rows]:
        """The images `rows`, which are all resized to the same size."""
        return [rows]

    def blocks(self, rows: Rows, size: int) -> Iterator[dict[str, NDArray[Any]]]:
        """The images `rows` in blocks of `size`."""
        for at in range(0, len(rows), size):
            images = np.stack([self._read(self.paths[row]) for row in rows[at : at + size]])
            block: dict[str, NDArray[Any]] = {self.spec.name: self._scaled(images)}
            if self.labels is not None:
                block[LABELS] = self.labels[rows[at : at + size]]
            yield block

    def _read(self, path: Path) -> NDArray[np.uint8]:
        """One image, (height, width, channel)."""
        from PIL import Image

        try:
            with Image.open(path, formats=_known_formats()) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise LimitExceeded(
                        f"{foreign(path)}: {image.width} x {image.height} pixels, at most "
                        f"{MAX_PIXELS} are decoded"
                    )
                plain = image.convert("L" if len(self.mean) == 1 else "RGB")
                resized = fitted(plain, self.size, self.fit)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputRefused(f"{foreign(path)}: cannot be decoded: {foreign(error)}") from error
        pixels = np.asarray(resized, dtype=np.uint8).reshape(*self.size, len(self.mean))
        return pixels[:, :, ::-1] if self.bgr else pixels

    def _scaled(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """(sample, height, width, channel) bytes as the model takes them."""
        if not self.channels_last:
            images = images.transpose(0, 3, 1, 2)
        if self.spec.dtype.kind in "iu":
            return images
        shape = (-1,) if self.channels_last else (-1, 1, 1)
        scaled = (images / np.float32(255) - self.mean.reshape(shape)) / self.std.reshape(shape)
        return scaled.astype(np.float32)


def fitted(image: Picture, size: tuple[int, int], fit: str) -> Picture:
    """An image at a size (height, width).

    "crop" takes the middle of the image at 8/7 of the size (256 for 224, as ImageNet is judged),
    "letterbox" shows it whole on grey (114), as detectors of the YOLO family take it.
    """
    from PIL import Image, ImageOps

    height, width = size
    if fit == "crop":
        larger = (round(width * 8 / 7), round(height * 8 / 7))
        whole = ImageOps.fit(image, larger, Image.Resampling.BILINEAR)
        left, top = (larger[0] - width) // 2, (larger[1] - height) // 2
        return whole.crop((left, top, left + width, top + height))
    if fit == "letterbox":
        grey = _GREY if image.mode == "L" else (_GREY,) * 3
        return ImageOps.pad(image, (width, height), Image.Resampling.BILINEAR, color=grey)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def class_numbers(paths: Sequence[Path], folder: Path, classes: int | None) -> NDArray[np.int64]:
    """(image,) the number of the folder in which each image lies, in the order of names.

    Raises:
        InputRefused: an image lies in none, or there are not as many as the model has classes.
    """
    first = [path.relative_to(folder).parts for path in paths]
    for path, parts in zip(paths, first, strict=True):
        if len(parts) < 2:
            raise InputRefused(f"--class-folders: {foreign(path)} lies in no folder of a class")
    names = sorted({parts[0] for parts in first})
    if classes is not None and len(names) != classes:
        raise InputRefused(
            f"--class-folders: {foreign(folder)} has {len(names)} folders with images "
            f"({foreign(', '.join(names[:3]))}, ...), the model has {classes} classes; their order "
            "by names has to be the model's"
        )
    number = {name: k for k, name in enumerate(names)}
    return np.array([number[parts[0]] for parts in first], dtype=np.int64)


def image_table(
    paths: tuple[Path, ...],
    specs: tuple[InputSpec, ...],
    data: DataConfig,
    classes: int | None = None,
) -> ImageTable:
    """Images for a model with one input of four dimensions.

    Files that are none, whatever their name, are left out.

    Args:
        paths: files that may be images.
        specs: the model's inputs.
        data: how images are prepared.
        classes: number of the model's classes, if it has any.

    Raises:
        UsageError: an option does not fit, or Pillow is not installed.
        InputRefused: the model does not take images.
    """
    _require_pillow()
    if data.layout not in ("NCHW", "NHWC"):
        raise UsageError(f"--layout {foreign(data.layout)}: expected NCHW or NHWC")
    if len(specs) != 1 or len(specs[0].dims) != 4:
        raise InputRefused(
            "a folder of images fits a model with one input of four dimensions, got "
            + foreign({s.name: s.dims for s in specs})
        )
    spec, last = specs[0], data.layout == "NHWC"
    channels, height, width = (spec.dims[3], spec.dims[1], spec.dims[2]) if last else spec.dims[1:]
    channels = channels or 3
    if channels not in (1, 3):
        raise InputRefused(
            f"{foreign(spec.name)} has {channels} channels in layout {data.layout}, images have 1 "
            "or 3: is it --layout " + ("NCHW" if last else "NHWC") + "?"
        )
    if data.size is None and (height is None or width is None):
        raise UsageError(f"the model leaves the size of {foreign(spec.name)} open: give --size")
    size = data.size or (height or 0, width or 0)
    mean, std = (_per_channel(n, v, channels) for n, v in (("mean", data.mean), ("std", data.std)))
    if not (std > 0).all():
        raise UsageError(f"--std {data.std}: expected positive numbers")
    images = tuple(path for path in paths if _is_image(path))
    if not images:
        raise InputRefused(f"{foreign(paths[0])} and the files beside it are no images")
    labels = None
    if data.class_folders:
        labels = class_numbers(images, Path(str(data.path)), classes)
    if data.bgr and channels == 1:
        raise UsageError("--bgr: the model takes grey images")
    return ImageTable(
        paths=images,
        spec=spec,
        size=size,
        mean=mean,
        std=std,
        channels_last=last,
        fit=data.fit,
        bgr=data.bgr,
        labels=labels,
    )


def _is_image(path: Path) -> bool:
    """Whether a file begins as an image does; the rest of it is read when it is needed."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=_known_formats()):
            return True
    except UnidentifiedImageError:
        return False
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return True  # an image that cannot be decoded is told of by name


def _known_formats() -> list[str]:
    from PIL import Image

    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _per_channel(name: str, values: tuple[float, ...], channels: int) -> NDArray[np.float32]:
    if len(values) not in (1, channels):
        raise UsageError(
            f"--{name}: got {len(values)} numbers, the images have {channels} channels"
        )
    return np.broadcast_to(np.asarray(values, dtype=np.float32), (channels,)).copy()


def _require_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "a folder of images needs Pillow: pip install 'onnxslim-snacs[images]'"
        ) from error
