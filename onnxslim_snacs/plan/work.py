"""What every stage of a run reads."""

from __future__ import annotations

from dataclasses import dataclass

from onnxslim_snacs.cluster.spread import Spread
from onnxslim_snacs.config.spending import EFFORTS, Spending
from onnxslim_snacs.layers.aims import Aims
from onnxslim_snacs.layers.branches import Branch
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
        ready: the model that is analysed, before that made it ready: `graph`, but for its bases and
            the blocks that have been dropped.
        costs: what each of its units costs.
        session: how to run it.
        seed: for everything that is drawn.
        clock: notes how long each stage takes.
        progress: told (stage, done, total).
        effort: a key of `config.spending.EFFORTS`.
        spread: where tasks run that can be shared out, by what knows the same model; None for this
            process.
        reduced: the whole model, if this one is without some of its blocks; None if it is whole.
    """

    path: str
    graph: ModelGraph
    analysis: Analysis
    ready: ModelGraph
    costs: CostModel
    session: SessionConfig
    seed: int
    clock: Clock
    progress: Progress
    effort: str = "normal"
    spread: Spread | None = None
    reduced: Reduced | None = None

    @property
    def spending(self) -> Spending:
        """What the run may spend."""
        return EFFORTS[self.effort]

    @property
    def whole(self) -> Work:
        """The model with all its blocks."""
        return self if self.reduced is None else self.reduced.whole

    @property
    def aims(self) -> Aims | None:
        """What recovery aims at, where that is not the model itself."""
        return None if self.reduced is None else self.reduced.aims


@dataclass(frozen=True, slots=True)
class Reduced:
    """What was done to a model that is without some of its blocks.

    Attributes:
        whole: the model with all of them.
        dropped: the blocks that went.
        aims: what the layers of what is left are to come to.
    """

    whole: Work
    dropped: tuple[Branch, ...]
    aims: Aims
