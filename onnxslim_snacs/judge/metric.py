"""A measure of the user's own: how good a model is, as a number that grows with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

from onnx import ModelProto

from onnxslim_snacs.activations.users import answered_for, find_function
from onnxslim_snacs.errors import InputRefused, LimitExceeded, foreign
from onnxslim_snacs.judge.drift import Drift
from onnxslim_snacs.model.external import is_external
from onnxslim_snacs.model.mapped import read_in
from onnxslim_snacs.model.stored import stored_tensors

#: How good a model is: from its bytes to a number, the larger the better.
Measure = Callable[[bytes], float]
#: Protocol Buffers writes no message beyond this.
_MAX_BYTES = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Metric:
    """What the user measures, and what the original comes to.

    Attributes:
        name: what it is called in messages.
        measure: model -> number.
        base_dir: the folder of external data to which models refer.
        before: the number of the original.
    """

    name: str
    measure: Measure
    base_dir: Path | None
    before: float

    def of(self, model: ModelProto) -> float:
        """How good a model is.

        Raises:
            InputRefused: the measure fails, or gives no finite number.
            LimitExceeded: the model is too large to be handed over as bytes.
        """
        return _measured(self.name, self.measure, model, self.base_dir)

    def beside(self, model: ModelProto, moved: Drift) -> Drift:
        """The distance of a model from the original with both numbers in it."""
        return replace(moved, metric_before=self.before, metric_after=self.of(model))


def open_metric(asked: str | Measure, original: ModelProto, base_dir: Path | None) -> Metric:
    """Find the measure, and apply it to the original.

    Args:
        asked: `module:function`, or the function.
        original: the model before the cut.
        base_dir: the folder of its external data.

    Raises:
        UsageError: there is no such function.
        InputRefused: it fails, or gives no finite number.
    """
    if isinstance(asked, str):
        name, measure = f"--judge {asked}", find_function("--judge", asked)
    else:
        name, measure = "CompressConfig.metric", asked
    return Metric(name, measure, base_dir, _measured(name, measure, original, base_dir))


def _measured(name: str, measure: Measure, model: ModelProto, base_dir: Path | None) -> float:
    data = model_bytes(model, base_dir)
    with answered_for(name):
        found: Any = measure(data)
        if hasattr(found, "item"):  # an array of one number, a tensor
            found = found.item()
    truth: Any = isinstance(found, bool)
    if truth or not isinstance(found, Real) or not math.isfinite(found):
        shown = foreign(f"{found!r} ({type(found).__name__})")
        raise InputRefused(f"{foreign(name)} gave {shown}, expected a finite number")
    return float(found)


def model_bytes(model: ModelProto, base_dir: Path | None) -> bytes:
    """A model as bytes that stand for themselves, weights in files read in.

    Raises:
        LimitExceeded: they are more than Protocol Buffers can write.
    """
    if any(is_external(tensor) for _, tensor in stored_tensors(model)):
        whole = ModelProto()
        whole.CopyFrom(model)
        for _, tensor in stored_tensors(whole):
            if is_external(tensor):
                tensor.CopyFrom(read_in(tensor, base_dir))
        model = whole
    if model.ByteSize() > _MAX_BYTES:
        raise LimitExceeded(
            "the model is larger than 2 GiB, so that it cannot be handed to a function as bytes"
        )
    data: bytes = model.SerializeToString()
    return data
