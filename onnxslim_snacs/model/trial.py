"""One run of a model at given sizes, for the shapes of all its tensors."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from numpy.typing import NDArray

from onnxslim_snacs.errors import LimitExceeded, RuntimeRefused, foreign
from onnxslim_snacs.model.extents import InputExtents, Values
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.inferred import inferred, told_alike
from onnxslim_snacs.model.probes import ProbeSession
from onnxslim_snacs.model.sizes import Sizes, random_inputs

#: Numbers of all inputs together that are worth trying, unless the user asks for more.
MOST_NUMBERS = 1 << 24


@dataclass(frozen=True, slots=True)
class Trial:
    """A run.

    Attributes:
        numbers: the number of each symbol.
        sizes: the shapes of all inputs.
        shapes: tensor -> shape.
        values: tensor -> value, for small tensors that follow from shapes and constants.
    """

    numbers: Values
    sizes: dict[str, tuple[int, ...]]
    shapes: dict[str, tuple[int, ...]]
    values: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Bench:
    """What trials are made on.

    Attributes:
        graph: the model.
        session: answers with the shape of every tensor.
        threads: threads within an operator.
        most: numbers of all inputs together that are worth trying.
        by_shape: tensors that follow from shapes and constants.
        trusting: whether what static inference says is taken for a run of a large model.
        until: when to give up on a model that has not run yet, on the monotonic clock.
    """

    graph: ModelGraph
    session: ProbeSession
    threads: int = 0
    most: int = MOST_NUMBERS
    by_shape: frozenset[str] = frozenset()
    trusting: bool = False
    until: float = math.inf

    def is_late(self) -> bool:
        """Whether sizes have been looked for long enough."""
        return time.monotonic() >= self.until

    def affords(self, sizes: Sizes) -> bool:
        """Whether these are sizes, and not too large to be tried."""
        negative = any(extent < 0 for shape in sizes.values() for extent in shape)
        return not negative and sum(map(prod, sizes.values())) <= self.most

    def run(self, layout: InputExtents, numbers: Values) -> Trial | Exception:
        """Run once; what ONNX Runtime raises is a value."""
        sizes = layout.sizes(numbers)
        if not self.affords(sizes):
            return LimitExceeded(f"inputs of these sizes are too large to try: {foreign(sizes)}")
        try:
            if self.trusting or not layout.symbols():  # else what fails to run teaches something
                told = self._inferred(sizes)
                if told is not None:
                    return Trial(dict(numbers), sizes, *told)
            shapes, values = self.session.probe(random_inputs(self.graph, sizes, seed=0))
        except (RuntimeRefused, LimitExceeded) as error:  # other sizes may need less
            return error
        return Trial(dict(numbers), sizes, shapes, values)

    def after(self, first: Trial) -> Bench:
        """The same bench for more runs: inference that was right once is trusted."""
        told = None if self.trusting else self._inferred(first.sizes)
        right = told is not None and told_alike(told, (first.shapes, first.values))
        return replace(self, trusting=True) if right else self

    def _inferred(
        self, sizes: Sizes
    ) -> tuple[dict[str, tuple[int, ...]], dict[str, NDArray[Any]]] | None:
        return inferred(self.graph, sizes, self.by_shape, frozenset(self.session.valued))
