"""Energy times weight: what taking out a unit alone adds to its readers' error (method 7.3).

`diagonal` is sqrt(sum over its features of E[x^2] |w|^2), as if they were uncorrelated; `block`
takes the taps and channels of the unit together, which is exact: trace(W_c' E[x x'] W_c).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.layers.consumers import Consumer
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.of_readers import (
    MOMENTS,
    blocks_of,
    energies,
    of_readers,
    own_contributions,
    spread,
)
from onnxslim_snacs.scores.parts import NORMALISE_READERS, REDUCE, Part, one_of

FORM = Option(
    "form", one_of("diagonal", "block"), "diagonal, or block: taps of a unit taken together"
)


def score(
    context: ScoreContext,
    reduce: str = "sum",
    normalise: str = "output",
    moments: str = "second",
    form: str = "diagonal",
) -> ScoreResult:
    """Root of the mean square of what each unit adds to the layers that read it."""
    return of_readers(context, partial(_measure, moments=moments, form=form), reduce, normalise)


def _measure(consumer: Consumer, index: IntArray, *, moments: str, form: str) -> Part:
    return Part(np.sqrt(squared(consumer, index, moments, form)), spread(consumer))


def squared(consumer: Consumer, index: IntArray, moments: str, form: str) -> FloatArray:
    """(units,) mean square of what each unit adds to the output of a layer."""
    if form == "block":
        return np.maximum(own_contributions(consumer, index, moments), 0.0)
    sizes = energies(consumer, moments) * np.square(consumer.weight).sum(axis=1)
    found: FloatArray = sizes[blocks_of(consumer, index)].sum(axis=1)
    return found


ENERGY = Criterion(
    "energy",
    "energy of a unit times the norm of the weights that read it",
    score,
    needs=("weights", "activations"),
    options=(REDUCE, NORMALISE_READERS, MOMENTS, FORM),
)
