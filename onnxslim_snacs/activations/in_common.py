"""What every process knows that takes part in a run."""

from __future__ import annotations

from dataclasses import dataclass

from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis


@dataclass(frozen=True, slots=True)
class Common:
    """A model that is understood, its samples, and how to run it.

    Attributes:
        analysis: the model and its dependency IR.
        samples: to decide by, and to judge by.
        session: how to run the model.
    """

    analysis: Analysis
    samples: Samples
    session: SessionConfig
