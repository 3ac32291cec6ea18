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
        ridges: those that are tried, relative to the mean variance of the features, ascending.
    """

    each: int
    least: int
    most: int
    steps: int
    ridges: tuple[float, ...]


#: For a model that will be written.
WHOLE = Effort(each=32, least=1 << 15, most=1 << 16, steps=4, ridges=(1e-5, 1e-4, 1e-3, 1e-2, 1e-1))
#: For models that are only compared with each other: of twelve pairs of allocations of ResNet-8
#: and ResNet-20, ten came out in the order of twice the work, and two that were nearly as good as
#: each other did not.
LIGHT = Effort(each=8, least=1 << 12, most=1 << 13, steps=0, ridges=(1e-3,))
