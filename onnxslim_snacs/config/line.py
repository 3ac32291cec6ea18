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
    "metric": "--judge",
}
#: Fields that hold several values of one option, with commas between them.
_TOGETHER = ("mean", "std", "size", "augment")


def option_of(field: str) -> str:
    """The option that fills a field."""
    return NAMES.get(field, f"--{field.replace('_', '-')}")


def as_options(config: Any) -> tuple[str, ...]:
    """The options that make a configuration, without those that say what is so anyhow.

    What depends on the machine is said in any case.
    """
    return tuple(word for pair in as_pairs(config) for word in pair if word is not None)


def as_pairs(config: Any) -> tuple[tuple[str, str | None], ...]:
    """The same as (option, its text), None for one that stands alone."""
    return tuple(_pairs(config, type(config)()))


def _pairs(config: Any, default: Any) -> Iterator[tuple[str, str | None]]:
    for field in filter(in_files, fields(config)):
        value, usual = getattr(config, field.name), getattr(default, field.name)
        if is_dataclass(value):
            yield from _pairs(value, usual)
        elif value != usual or field.metadata.get("machine"):
            yield from _option(field.name, value)


def _option(field: str, value: Any) -> Iterator[tuple[str, str | None]]:
    name = option_of(field)
    if isinstance(value, bool):
        yield (name if value else name.replace("--", "--no-", 1)), None
    elif isinstance(value, Mapping):
        yield from ((name, f"{key}={_text(each)}") for key, each in value.items())
    elif isinstance(value, tuple) and field not in _TOGETHER:
        yield from ((name, _text(each)) for each in value)
    else:
        yield name, "auto" if value is None else _text(value) or "none"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)
