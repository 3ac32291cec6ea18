"""Where training stands, in a file that is there whole or not at all."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.model.atomic import new_file, sync_folder
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Progressed:
    """Where training stands.

    Attributes:
        step: steps that are done.
        seconds: that they took.
        weights: trained weights by key.
        average: their moving average.
        optimizer: the optimizer's state.
        best: the best average so far; empty while that is the start.
        best_value: its value.
        curve: (step, error, agreement) of each examination.
    """

    step: int
    seconds: float
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_value: float = float("inf")
    curve: list[tuple[int, float, float | None]] = field(default_factory=list)


_FIELDS = ("step", "seconds", "weights", "average", "optimizer", "best", "best_value", "curve")


def save_checkpoint(path: Path, identity: str, state: Progressed) -> None:
    """Write where training stands.

    Args:
        path: the file.
        identity: of the models, the data and the settings.
        state: where it stands.
    """
    buffer = io.BytesIO()
    torch.save({"identity": identity, **{name: getattr(state, name) for name in _FIELDS}}, buffer)
    with new_file(path) as file:
        file.write(buffer.getvalue())
        file.finish(path)
        os.replace(file.path, path)
    sync_folder(path.parent)


def load_checkpoint(path: Path, identity: str) -> Progressed:
    """Read where training stood.

    Raises:
        InputRefused: the file is none of ours, or belongs to another training.
    """
    try:
        found = torch.load(path, weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch's errors share no class
        raise InputRefused(f"{foreign(path)} is no checkpoint: {foreign(error)}") from error
    if not isinstance(found, dict) or {"identity", *_FIELDS} - set(found):
        raise InputRefused(f"{foreign(path)} is no checkpoint")
    if found["identity"] != identity:
        raise InputRefused(
            f"{foreign(path)} belongs to a training with other models, data or settings: give the "
            "same ones, or leave out --resume"
        )
    return Progressed(**{name: found[name] for name in _FIELDS})
