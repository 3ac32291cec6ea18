"""Optimal brain surgeon in blocks: what a unit costs once its readers are re-fitted (method 4.2).

For a layer with weight W on features of covariance S the squared error rises by
trace(W_c' ((S^-1)_cc)^-1 W_c) when the features c of a unit go and the others take over what they
can (Hassibi and Stork 1993): exact for each layer that reads the unit, the sum over them counts.
`refit` goes on from there, one unit after the other; here each is the first to go.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.layers.consumers import RIDGE, Consumer
from onnxslim_snacs.scores.criterion import Criterion, Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.of_readers import MOMENTS, blocks_of, moment_matrix, of_readers
from onnxslim_snacs.scores.parts import NORMALISE_READERS, REDUCE, Part


def _read_ridge(text: str) -> float:
    number = float(text)
    if not 0.0 <= number < np.inf:
        raise ValueError("expected a number that is not negative")
    return number


def score(
    context: ScoreContext,
    reduce: str = "sum",
    normalise: str = "output",
    moments: str = "centred",
    ridge: float = RIDGE,
) -> ScoreResult:
    """Rise of the readers' squared error as each unit alone goes, the others re-fitted."""
    return of_readers(context, partial(_measure, moments=moments, ridge=ridge), reduce, normalise)


def _measure(consumer: Consumer, index: IntArray, *, moments: str, ridge: float) -> Part:
    matrix = moment_matrix(consumer, moments)
    level = max(float(np.trace(matrix)) / len(matrix), 1e-30)
    damped = matrix + max(ridge, 1e-12) * level * np.eye(len(matrix))
    blocks = blocks_of(consumer, index)
    reader = arithmetic().open_reader(damped, consumer.weight, blocks)
    costs = reader.costs(np.arange(len(blocks)))
    return Part(costs, consumer.variance)


OBS = Criterion(
    "obs",
    "rise of the error of the layers that read a unit as it alone goes and they are re-fitted",
    score,
    needs=("weights", "activations"),
    options=(
        REDUCE,
        NORMALISE_READERS,
        MOMENTS,
        Option("ridge", _read_ridge, "added to the covariance, relative to its mean diagonal"),
    ),
)
