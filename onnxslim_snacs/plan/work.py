"""What every stage of a run reads."""

from __future__ import annotations

from dataclasses import dataclass

from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.plan.cost import CostModel
from onnxslim_snacs.progress import Clock, Progress


@dataclass(frozen=True, slots=True)
class Work:
    """A model that has been read and understood, and how to work on it.

    Attributes:
        path: where it was read from, for the report.
        graph: the model as it was read.
        analysis: the same model as it is worked on, perhaps in other bases, with its dependency IR.
        costs: what each of its units costs.
        session: how to run it.
        seed: for everything that is drawn.
        clock: notes how long each stage takes.
        progress: told (stage, done, total).
    """

    path: str
    graph: ModelGraph
    analysis: Analysis
    costs: CostModel
    session: SessionConfig
    seed: int
    clock: Clock
    progress: Progress
