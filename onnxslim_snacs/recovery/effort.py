"""How much work a recovery is given: rows of its regressions, and steps behind activations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """What a recovery may take.

    Attributes:
        each: rows of a regression for each of its features.
        least: rows at the least.
        most: rows at the most.
        steps: steps that refine a fit for what an activation behind the layer leaves free; none
            leaves least squares as they are.
    """

    each: int
    least: int
    most: int
    steps: int


#: For a model that will be written.
WHOLE = Effort(each=32, least=1 << 15, most=1 << 16, steps=4)
#: For models that are only compared with each other.
LIGHT = Effort(each=16, least=1 << 12, most=1 << 14, steps=0)
