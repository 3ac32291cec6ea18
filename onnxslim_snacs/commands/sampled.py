"""The samples of a run: those that are named before the model is understood, the others after."""

from __future__ import annotations

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.plan.work import Work


def named_samples(data: DataConfig, graph: ModelGraph, seed: int) -> CalibrationSource | None:
    """What the user gives, whose shapes tell how large inputs are; None for random samples.

    Raises:
        InputRefused: the data do not fit the model.
        FileSystemError: they cannot be read.
    """
    return None if data.path is None else open_source(data, graph, seed=seed)


def settled_samples(
    given: CalibrationSource | None, data: DataConfig, work: Work
) -> CalibrationSource:
    """The samples in the sizes at which the model was understood.

    Args:
        given: see `named_samples`; if there are none, random ones are drawn.
        data: how they are described.
        work: the model.
    """
    facts = work.analysis.facts
    source = given or open_source(data, work.graph, seed=work.seed, facts=facts)
    return source.settled(facts)
