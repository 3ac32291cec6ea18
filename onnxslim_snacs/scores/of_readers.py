"""Criteria on the second moments of what the layers that read a unit see: full patches, not means.

With x the features (channel and tap) that a layer reads, W its weight and G = E[x x'], what the
channels c and c' add to its outputs together is M[c, c'] = trace(W_c' G_cc' W_c'); its diagonal is
what taking out one channel costs, and with the covariance in the place of G, what it costs where a
bias takes over the mean (method 7.3).
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.layers.consumers import Consumer, readers_of
from onnxslim_snacs.layers.moments import FloatArray
from onnxslim_snacs.scores.criterion import Option, ScoreContext, ScoreResult
from onnxslim_snacs.scores.fallback import completed
from onnxslim_snacs.scores.parts import Part, one_of, together
from onnxslim_snacs.scores.refit import moments_for

#: Said of groups whose readers have no moments.
NO_READERS = "no layer with stored weights reads them, or one with too many features"
MOMENTS = Option(
    "moments",
    one_of("second", "centred"),
    "of what is read: second, or centred, where a bias takes over the mean",
)


def of_readers(
    context: ScoreContext,
    measure: Callable[[Consumer, IntArray], Part],
    reduce: str,
    normalise: str,
) -> ScoreResult:
    """Every layer that reads a group says something of its units.

    Args:
        context: the model and its samples.
        measure: a layer, and the (units, channels of a unit) that it sees of the group.
        reduce: over the layers.
        normalise: of each layer.
    """
    consumers = moments_for(context)
    found = {}
    for group in context.analysis.ir.groups:
        parts = [measure(consumer, index) for consumer, index in readers_of(group, consumers)]
        if parts:
            found[group.id] = together(parts, reduce, normalise)
    return completed(context, found, NO_READERS)


def blocks_of(consumer: Consumer, index: IntArray) -> IntArray:
    """(units, features of a unit) the features that a layer reads of each unit."""
    taps = np.arange(len(consumer.mean) // consumer.channels)[:, None]
    found: IntArray = (taps * consumer.channels + index[:, None, :]).reshape(len(index), -1)
    return found


def moment_matrix(consumer: Consumer, moments: str) -> FloatArray:
    """(features, features) G, or the covariance."""
    if moments == "centred":
        return consumer.covariance
    found: FloatArray = consumer.covariance + np.outer(consumer.mean, consumer.mean)
    return found


def energies(consumer: Consumer, moments: str) -> FloatArray:
    """(features,) mean squares, or variances."""
    means = np.square(consumer.mean) if moments == "second" else 0.0
    found: FloatArray = np.maximum(np.diag(consumer.covariance) + means, 0.0)
    return found


def contributions(consumer: Consumer, index: IntArray, moments: str) -> FloatArray:
    """(units, units) M: what two units add to the squared output together."""
    at = blocks_of(consumer, index)
    flat = at.reshape(-1)
    weight = consumer.weight[flat]
    product = moment_matrix(consumer, moments)[flat[:, None], flat] * (weight @ weight.T)
    found: FloatArray = product.reshape(*at.shape, *at.shape).sum(axis=(1, 3))
    return found


def own_contributions(consumer: Consumer, index: IntArray, moments: str) -> FloatArray:
    """(units,) the diagonal of M."""
    at = blocks_of(consumer, index)
    weight = consumer.weight[at]
    inner = moment_matrix(consumer, moments)[at[:, :, None], at[:, None, :]]
    found: FloatArray = ((inner @ weight) * weight).sum(axis=(1, 2))
    return found


def spread(consumer: Consumer) -> float:
    """Standard deviation of what the layer runs into."""
    return sqrt(consumer.variance)
