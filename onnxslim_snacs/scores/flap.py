"""FLAP: how much what a unit adds fluctuates, standardised within its layer (method 7.3).

An et al. 2024: Var(x) |w|^2, for a bias takes over what does not vary; the scores of each layer,
less their mean and over their standard deviation, compare between layers.  Variances are those of
whole patches at all positions, not of averages over a sample.
"""

from __future__ import annotations

from functools import partial

from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.layers.consumers import Consumer
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext, ScoreResult
from onnxslim_snacs.scores.energy import FORM, squared
from onnxslim_snacs.scores.of_readers import of_readers
from onnxslim_snacs.scores.parts import NORMALISE_READERS, REDUCE, Part


def score(
    context: ScoreContext,
    reduce: str = "mean",
    normalise: str = "standard",
    form: str = "diagonal",
) -> ScoreResult:
    """Variance of what each unit adds to the layers that read it."""
    return of_readers(context, partial(_measure, form=form), reduce, normalise)


def _measure(consumer: Consumer, index: IntArray, *, form: str) -> Part:
    return Part(squared(consumer, index, "centred", form), consumer.variance)


FLAP = Criterion(
    "flap",
    "variance of a unit times the squared weights that read it, standardised (An et al. 2024)",
    score,
    needs=("weights", "activations"),
    options=(REDUCE, NORMALISE_READERS, FORM),
)
