"""Wanda in structured form: |weight| times the size of what it is multiplied with (method 7.3).

Sun, Liu, Bair, Kolter 2024 rank a connection by |w| sqrt(E[x^2]); a unit's score is the sum over
the connections by which layers read it (Wanda-sp in An et al. 2024).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.layers.consumers import Consumer
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.of_readers import MOMENTS, blocks_of, energies, of_readers, spread
from onnxslim_snacs.scores.parts import NORMALISE_READERS, REDUCE, Part


def score(
    context: ScoreContext,
    reduce: str = "sum",
    normalise: str = "output",
    moments: str = "second",
) -> ScoreResult:
    """Sum of |w| sqrt(E[x^2]) over the connections that read a unit."""
    return of_readers(context, partial(_measure, moments=moments), reduce, normalise)


def _measure(consumer: Consumer, index: IntArray, *, moments: str) -> Part:
    sizes = np.sqrt(energies(consumer, moments)) * np.abs(consumer.weight).sum(axis=1)
    return Part(sizes[blocks_of(consumer, index)].sum(axis=1), spread(consumer))


WANDA = Criterion(
    "wanda",
    "weights that read a unit times the size of what they read (Sun et al. 2024), summed",
    score,
    needs=("weights", "activations"),
    options=(REDUCE, NORMALISE_READERS, MOMENTS),
)
