"""The options that say where samples come from, and what they are."""

from __future__ import annotations

from typing import Annotated

import typer

from onnxslim_snacs.cli import options
from onnxslim_snacs.cli.option_groups import Gathered
from onnxslim_snacs.cli.panels import DATA_PANEL, one_of
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.config.checks import FITS, LAYOUTS

#: How images are prepared for families of models.
PRESETS = {
    "imagenet": DataConfig(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit="crop"),
    "yolo": DataConfig(fit="letterbox"),
    "yolox": DataConfig(std=(1 / 255,), fit="letterbox", bgr=True),
}
_USUAL = DataConfig()
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help=".npz, .npy, a folder of them or of images, module:function or file.py:function; "
        "without it: seeded random inputs.",
        rich_help_panel=DATA_PANEL,
    ),
]
Samples = Annotated[
    int | None, typer.Option(help="Use at most so many samples.", rich_help_panel=DATA_PANEL)
]
Mean = Annotated[
    str | None,
    typer.Option(help="Of images, e.g. 0.485,0.456,0.406.", rich_help_panel=DATA_PANEL),
]
Std = Annotated[
    str | None,
    typer.Option(help="Of images, e.g. 0.229,0.224,0.225.", rich_help_panel=DATA_PANEL),
]
Size = Annotated[
    str | None, typer.Option(metavar="H,W", help="Of images.", rich_help_panel=DATA_PANEL)
]
Layout = Annotated[str, one_of("--layout", LAYOUTS, "Of images.", DATA_PANEL)]
Fit = Annotated[
    str,
    one_of(
        "--fit",
        FITS,
        "How images of another shape are brought to the size: stretched, their middle, or whole "
        "with a grey border.",
        DATA_PANEL,
    ),
]
Bgr = Annotated[
    bool,
    typer.Option("--bgr", help="Images as blue, green, red.", rich_help_panel=DATA_PANEL),
]
ClassFolders = Annotated[
    bool,
    typer.Option(
        "--class-folders",
        help="Labels from the folders of images: one for each class, in the order of names.",
        rich_help_panel=DATA_PANEL,
    ),
]
Preset = Annotated[
    str | None,
    one_of(
        "--preset",
        tuple(PRESETS),
        "How images are prepared: mean and std of ImageNet and its middle; letterbox, 0 ... 1; "
        "letterbox, BGR, 0 ... 255. Other options go before.",
        DATA_PANEL,
    ),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="NAME=1,3,H,W",
        help="Sizes of an input whose dynamic dimensions cannot be guessed (repeatable).",
        rich_help_panel=DATA_PANEL,
    ),
]
SampleAxis = Annotated[
    list[str] | None,
    typer.Option(
        "--sample-axis",
        metavar="NAME=1",
        help="The axis of an input along which its samples lie, if not the first (repeatable).",
        rich_help_panel=DATA_PANEL,
    ),
]


def data_config(
    data: Data = None,
    samples: Samples = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    layout: Layout = _USUAL.layout,
    fit: Fit = _USUAL.fit,
    bgr: Bgr = _USUAL.bgr,
    class_folders: ClassFolders = _USUAL.class_folders,
    preset: Preset = None,
    input_shape: InputShape = None,
    sample_axis: SampleAxis = None,
) -> DataConfig:
    """Where samples come from, by what was typed."""
    usual = _USUAL if preset is None else PRESETS[preset]
    return DataConfig(
        path=data,
        samples=samples,
        mean=options.floats("--mean", mean, usual.mean),
        std=options.floats("--std", std, usual.std),
        size=options.size("--size", size),
        layout=layout,
        fit=usual.fit if fit == _USUAL.fit else fit,
        bgr=bgr or usual.bgr,
        class_folders=class_folders,
        input_shapes=options.shapes(input_shape),
        sample_axes=options.axes(sample_axis),
    )


DataOptions = Annotated[DataConfig, Gathered(data_config)]
