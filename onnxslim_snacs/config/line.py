"""What a configuration is on the command line: the way back from values to options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from onnxslim_snacs.config.fields import in_files

#: Fields whose option has another name.
NAMES = {
    "path": "--data",
    "input_shapes": "--input-shape",
    "sample_axes": "--sample-axis",
    "options": "--option",
}
#: Fields that hold several values of one option, with commas between them.
_TOGETHER = ("mean", "std", "size", "augment")


def option_of(field: str) -> str:
    """The option that fills a field."""
    return NAMES.get(field, f"--{field.replace('_', '-')}")


def as_options(config: Any) -> tuple[str, ...]:
    """The options that make a configuration, without those that say what is so anyhow."""
    return tuple(_options(config, type(config)()))


def _options(config: Any, default: Any) -> Iterator[str]:
    for field in filter(in_files, fields(config)):
        value, usual = getattr(config, field.name), getattr(default, field.name)
        if is_dataclass(value):
            yield from _options(value, usual)
        elif value != usual:
            yield from _option(field.name, value)


def _option(field: str, value: Any) -> Iterator[str]:
    name = option_of(field)
    if isinstance(value, bool):
        yield name if value else name.replace("--", "--no-", 1)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from (name, f"{key}={_text(each)}")
    elif isinstance(value, tuple) and field not in _TOGETHER:
        for each in value:
            yield from (name, _text(each))
    else:
        yield from (name, "auto" if value is None else _text(value) or "none")


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)
